"""What the passes that look for patterns of nodes have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clnn.graph import Node
from clnn.passes.rewriter import Rewriter


def scalar(rewriter: Rewriter, tensor: str) -> float | None:
    """The value of a constant of one element, else ``None``."""
    value = rewriter.constant(tensor)
    return float(value.reshape(())) if value is not None and value.size == 1 and value.dtype.kind in "fiu" else None


def other_input(node: Node, tensor: str) -> str | None:
    """The input of a node of two inputs that is not ``tensor``; ``None`` if it has not exactly one other."""
    if len(node.inputs) != 2 or tensor not in node.inputs or node.inputs[0] == node.inputs[1]:
        return None
    return node.inputs[1 - node.inputs.index(tensor)]


@dataclass(frozen=True)
class Channels:
    """The channels of a tensor: their number, and their axis among ``rank``."""

    count: int
    axis: int
    rank: int

    def vector(self, value: np.ndarray) -> np.ndarray | None:
        """The one value per channel that ``value``, broadcast to the tensor, has, in float64; else ``None``."""
        if value.ndim > self.rank or value.dtype.kind not in "fiu":
            return None
        shape = (1,) * (self.rank - value.ndim) + value.shape
        if any(dim != 1 for axis, dim in enumerate(shape) if axis != self.axis):
            return None
        if shape[self.axis] not in (1, self.count):
            return None
        return np.broadcast_to(value.reshape(-1), (self.count,)).astype(np.float64)


def product_channels(rewriter: Rewriter, node: Node) -> Channels | None:
    """The output channels of a convolution or matrix product on float32.

    ``None`` where it has none, or their number is unknown.
    """
    kind = rewriter.types[node.outputs[0]]
    if kind.shape is None or kind.dtype != "float32":
        return None
    weights = rewriter.types[node.input(1)].shape
    if not kind.rank or weights is None or len(weights) < 2:
        return None
    axis = kind.rank - 1 if node.op == "MatMul" else 1
    count = kind.shape[axis]
    return Channels(count, axis, kind.rank) if isinstance(count, int) and count > 0 else None
