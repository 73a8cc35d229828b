"""How rows of a node's results depend on rows of what it reads: by that, layers are computed in bands of rows.

Rows are those along axis 2 of tensors of the shape N, C, H, W.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clnn.graph import Node, TensorType

ROW_AXIS = 2

WHOLE = "whole"
"""Attribute of a node that computes a band of rows: the node that computes all of them."""


@dataclass(frozen=True)
class Reach:
    """Result row r sees ``span`` rows of an input, from r ÷ ``repeat`` · ``stride`` − ``before`` on.

    Rows outside of the input are padding.
    """

    span: int = 1
    stride: int = 1
    before: int = 0
    repeat: int = 1

    def first(self, row: int) -> int:
        """The first input row, or padding where it is negative, that result row ``row`` sees."""
        return row // self.repeat * self.stride - self.before

    def rows(self, start: int, stop: int, height: int) -> tuple[int, int]:
        """The rows, of an input of ``height``, that result rows ``start`` to ``stop`` (excluded) see."""
        return max(0, self.first(start)), min(height, self.first(stop - 1) + self.span)

    def seen(self, rows: int) -> int:
        """Input rows, padding included, that so many result rows from a multiple of ``repeat`` on see."""
        return (rows - 1) // self.repeat * self.stride + self.span

    def overlap(self, rows: int) -> float:
        """How many times an input row is seen by bands of so many result rows, in the mean."""
        return max(1.0, self.seen(rows) * self.repeat / (rows * self.stride))

    def padding(self, start: int, stop: int, height: int) -> tuple[int, int]:
        """Rows of padding above and below those of ``rows``."""
        return max(0, -self.first(start)), max(0, self.first(stop - 1) + self.span - height)


@dataclass(frozen=True)
class Rows:
    """How a node reads: the reach into each input, ``None`` for one that every row sees whole.

    Bands begin at multiples of ``tile``: only from there on do kernels compute the same bits as for all rows at once.
    A node that does no more than cut input 0 has ``parts``: of each output the axis, and its first and last + 1
    position along that.
    """

    reaches: tuple[Reach | None, ...]
    tile: int = 1
    parts: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class Band:
    """Some rows of a node's results: what the node that computes them is called, reads and writes.

    ``padding`` are the rows of padding above and below input 0, ``suffix`` makes names inside a node unique.
    """

    suffix: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    padding: tuple[int, int] = (0, 0)

    def node(self, whole: Node, **attrs: object) -> Node:
        """The node that computes the band, with other attributes where they are given."""
        changed = {**whole.attrs, **attrs, WHOLE: whole}
        return Node(whole.name + self.suffix, whole.op, self.inputs, self.outputs, changed, whole.version)


def row_by_row(types: Mapping[str, TensorType], node: Node) -> Rows | None:
    """Each row of the first output sees that row of all inputs, and what is broadcast over rows; else ``None``."""
    result = types[node.outputs[0]]
    if result.rank != 4:
        return None
    reaches: list[Reach | None] = []
    for name in node.inputs:
        shape = types[name].shape if name else ()
        batch = shape[0] if len(shape) == 4 else 1
        if len(shape) < 2 or (shape[-2] == 1 != result.shape[ROW_AXIS] and batch == 1):
            reaches.append(None)
        elif len(shape) == 4 and (batch, shape[ROW_AXIS]) == (result.shape[0], result.shape[ROW_AXIS]):
            reaches.append(Reach())
        else:
            return None
    return Rows(tuple(reaches)) if any(reaches) else None
