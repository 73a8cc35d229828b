"""What makes a graph smaller and simpler before anything is known of the device: from graph to graph."""

from clnn.passes.bind import bind
from clnn.passes.pipeline import NAMES, PASSES, run

__all__ = ["NAMES", "PASSES", "bind", "run"]
