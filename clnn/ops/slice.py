"""Taking every n-th element of a range along some dimensions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from clnn.graph import Dim, TensorType
from clnn.ops.base import InferContext, LowerContext, operator
from clnn.ops.movement import Move, Movement
from clnn.ops.rows import ROW_AXIS, Rows, row_by_row
from clnn.ops.settings import UNKNOWN, axes, computed_obstacle, integers, invalid
from clnn.ops.strided import View

_SETTINGS = (1, 2, 3, 4)
_ENDLESS = np.iinfo(np.int32).max
"""Ends from here on mean "to the end", as exporters write it where the length is not known."""


@operator("Slice")
class Slice(Movement):
    """``starts`` to ``ends`` in ``steps`` along ``axes``, with Python's rules for negative and too large values."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data = ctx.type(0)
        shape = list(data.shape)
        for axis, start, end, step in self.cuts(ctx, data.rank):
            shape[axis] = self._length(shape[axis], start, end, step)
        return (TensorType(tuple(shape), data.dtype),)

    @staticmethod
    def _length(dim: Dim, start: int, end: int, step: int) -> Dim:
        if isinstance(dim, int):
            return len(range(*slice(start, end, step).indices(dim)))
        return dim if (start, step) == (0, 1) and end >= _ENDLESS else UNKNOWN

    @staticmethod
    def cuts(ctx: InferContext, rank: int) -> list[tuple[int, int, int, int]]:
        """Axis, start, end, step of each axis that is cut."""
        node = ctx.node
        starts = integers(node, "starts", ctx.setting("starts", 1))
        ends = integers(node, "ends", ctx.setting("ends", 2))
        cut = axes(node, ctx.setting("axes", 3, range(len(starts))), rank)
        steps = integers(node, "steps", ctx.setting("steps", 4, [1] * len(starts)))
        if not len(starts) == len(ends) == len(cut) == len(steps):
            invalid(node, f"{len(starts)} starts, {len(ends)} ends, {len(cut)} axes and {len(steps)} steps differ")
        if 0 in steps:
            invalid(node, "a step is 0")
        return list(zip(cut, starts, ends, steps, strict=True))

    def obstacle(self, ctx: LowerContext) -> str | None:
        return computed_obstacle(ctx, *_SETTINGS) or super().obstacle(ctx)

    def by_rows(self, ctx: LowerContext) -> Rows | None:
        data, cuts = ctx.type(0), self.cuts(ctx, ctx.type(0).rank)
        rows = row_by_row(ctx.types, ctx.node)
        if rows is None or any(axis in (0, ROW_AXIS) for axis, *_ in cuts):
            return None
        if len(cuts) != 1 or cuts[0][3] != 1:
            return rows
        along, start, end, _ = cuts[0]
        first, stop, _ = slice(start, end).indices(data.shape[along])
        return replace(rows, parts=((along, first, stop),))

    def moves(self, ctx: LowerContext) -> Iterable[Move]:
        data, result = ctx.type(0), ctx.output()
        strides, offset = list(data.strides), 0
        for axis, start, end, step in self.cuts(ctx, data.rank):
            first, _, step = slice(start, end, step).indices(data.shape[axis])
            offset += first * strides[axis]
            strides[axis] *= step
        source = View(ctx.node.inputs[0], tuple(strides), offset)
        yield Move(result.shape, source, View.of(ctx.node.outputs[0], result))
