"""Padding and cropping by constants, edges, reflections or repetition."""

from __future__ import annotations

import numpy as np

from clnn.graph import Dim, Node, TensorType
from clnn.ops.base import InferContext, LowerContext, Lowered, operator
from clnn.ops.movement import Movement
from clnn.ops.remap import OUTSIDE, remap, too_many_dimensions
from clnn.ops.rows import ROW_AXIS, WHOLE, Band, Reach, Rows
from clnn.ops.settings import UNKNOWN, axes, computed_obstacle, integers, invalid

_MODES = ("constant", "reflect", "edge", "wrap")


@operator("Pad")
class Pad(Movement):
    """``pads`` positions are added before and after each of ``axes``, or removed where negative."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data = ctx.type(0)
        if ctx.node.attrs.get("mode", "constant") not in _MODES:
            invalid(ctx.node, f"mode '{ctx.node.attrs['mode']}' is none of {', '.join(_MODES)}")
        dims = zip(data.shape, self.widths(ctx), strict=True)
        return (TensorType(tuple(self._padded(ctx, dim, *pads) for dim, pads in dims), data.dtype),)

    @staticmethod
    def _padded(ctx: InferContext, dim: Dim, before: int, after: int) -> Dim:
        if isinstance(dim, str):
            return dim if before == after == 0 else UNKNOWN
        if dim + before + after < 0:
            invalid(ctx.node, f"pads {before} and {after} leave less than nothing of {dim}")
        if dim == 0 and before + after > 0 and ctx.node.attrs.get("mode", "constant") != "constant":
            invalid(ctx.node, "there is no element to pad an empty dimension with")
        return dim + before + after

    @staticmethod
    def widths(ctx: InferContext) -> list[tuple[int, int]]:
        """Elements before and after along each axis."""
        rank = ctx.type(0).rank
        pads = integers(ctx.node, "pads", ctx.setting("pads", 1))
        padded = axes(ctx.node, ctx.setting("axes", 3, range(rank)), rank)
        if len(pads) != 2 * len(padded):
            invalid(ctx.node, f"{len(pads)} pads are not two for each of {len(padded)} axes")
        result = [(0, 0)] * rank
        for axis, before, after in zip(padded, pads, pads[len(padded) :], strict=False):
            result[axis] = (before, after)
        return result

    def obstacle(self, ctx: LowerContext) -> str | None:
        return computed_obstacle(ctx, 1, 3) or super().obstacle(ctx) or too_many_dimensions(ctx.output().shape)

    def by_rows(self, ctx: LowerContext) -> Rows | None:
        """Only for constants around all of every picture, as a band cannot tell what an edge looks like."""
        value = ctx.node.input(2)
        if (
            ctx.type(0).rank != 4
            or not ctx.output().size
            or ctx.node.attrs.get("mode", "constant") != "constant"
            or (value and value not in ctx.constants)
            or min(min(pair) for pair in self.widths(ctx)) < 0
            or self.widths(ctx)[0] != (0, 0)
        ):
            return None
        others = (None,) * (len(ctx.node.inputs) - 1)
        return Rows((Reach(before=self.widths(ctx)[ROW_AXIS][0]), *others))

    def band(self, ctx: LowerContext, band: Band) -> tuple[Node, dict[str, TensorType]]:
        """A Pad of the opset in which widths and value were attributes."""
        widths = [*self.widths(ctx)]
        widths[ROW_AXIS] = band.padding
        value = ctx.constant(2)
        attrs = {
            "pads": (*(before for before, _ in widths), *(after for _, after in widths)),
            "value": float(ctx.node.attrs.get("value", 0.0) if value is None else value.item()),
            WHOLE: ctx.node,
        }
        return Node(ctx.node.name + band.suffix, "Pad", band.inputs[:1], band.outputs, attrs, 2), {}

    def lower(self, ctx: LowerContext) -> Lowered:
        mode = ctx.node.attrs.get("mode", "constant")
        shape = ctx.type(0).shape
        tables = [_table(size, *pads, mode) for size, pads in zip(shape, self.widths(ctx), strict=True)]
        if ctx.node.input(2) or not ctx.node.attrs.get("value"):
            return remap(ctx, tables, ctx.node.input(2) or None)
        fill = ctx.local_name("fill")
        lowered = remap(ctx, tables, fill)
        value = np.array([ctx.node.attrs["value"]], ctx.output().dtype)
        return Lowered(lowered.launches, {**lowered.constants, fill: value}, choice=lowered.choice)


def _table(size: int, before: int, after: int, mode: str) -> np.ndarray:
    """The source position of each position along an axis (as ``numpy.pad`` has it)."""
    positions = np.arange(-before, size + after)
    if mode == "constant":
        return np.where((positions < 0) | (positions >= size), OUTSIDE, positions)
    if mode == "edge":
        return np.clip(positions, 0, size - 1)
    if mode == "wrap":
        return positions % max(size, 1)
    period = max(2 * (size - 1), 1)
    return (size - 1) - np.abs(positions % period - (size - 1))
