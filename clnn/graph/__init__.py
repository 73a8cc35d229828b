"""The layer graph: plain, immutable data that every stage reads and returns."""

from clnn.graph.extract import extract
from clnn.graph.graph import Graph, Node, Subgraph
from clnn.graph.types import CHANNELS_LAST, PLAIN, Dim, Region, TensorType

__all__ = ["CHANNELS_LAST", "PLAIN", "Dim", "Graph", "Node", "Region", "Subgraph", "TensorType", "extract"]
