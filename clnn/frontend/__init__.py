"""From an ONNX file, which nobody vouches for, to a graph."""

from clnn.frontend.load import load

__all__ = ["load"]
