"""Repeating elements: Expand and Tile."""

from __future__ import annotations

from collections.abc import Iterable

from clnn.graph import Dim, TensorType
from clnn.ops.base import InferContext, LowerContext, operator
from clnn.ops.indexing import broadcast_strides
from clnn.ops.movement import Move, Movement
from clnn.ops.settings import UNKNOWN, computed_obstacle, integers, invalid
from clnn.ops.strided import View


class _Repeat(Movement):
    """Base: what is repeated, and how often, is constant input 1."""

    def obstacle(self, ctx: LowerContext) -> str | None:
        return computed_obstacle(ctx, 1) or super().obstacle(ctx)


@operator("Expand")
class Expand(_Repeat):
    """NumPy's broadcast of the input with a shape, in both directions."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data = ctx.type(0)
        wanted = integers(ctx.node, "shape", ctx.setting("shape", 1))
        rank = max(data.rank, len(wanted))
        own = (1,) * (rank - data.rank) + data.shape
        wanted = (1,) * (rank - len(wanted)) + wanted
        dims = (self._broadcast(ctx, *pair) for pair in zip(own, wanted, strict=True))
        return (TensorType(tuple(dims), data.dtype),)

    @staticmethod
    def _broadcast(ctx: InferContext, own: Dim, wanted: int) -> Dim:
        if wanted == 1 or own == wanted:
            return own
        if own == 1:
            return wanted
        if isinstance(own, int) or wanted < 0:
            invalid(ctx.node, f"{list(ctx.type(0).shape)} does not broadcast with {ctx.constant(1)}")
        return wanted  # a symbol: it has to be 1 or this

    def moves(self, ctx: LowerContext) -> Iterable[Move]:
        data, result = ctx.type(0), ctx.output()
        source = View(ctx.node.inputs[0], broadcast_strides(data, result.shape))
        yield Move(result.shape, source, View.of(ctx.node.outputs[0], result))


@operator("Tile")
class Tile(_Repeat):
    """The whole tensor, ``repeats[i]`` times along dimension i."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data = ctx.type(0)
        dims = zip(data.shape, self._repeats(ctx), strict=True)
        return (TensorType(tuple(self._times(dim, count) for dim, count in dims), data.dtype),)

    @staticmethod
    def _repeats(ctx: InferContext) -> tuple[int, ...]:
        repeats = integers(ctx.node, "repeats", ctx.setting("repeats", 1))
        if len(repeats) != ctx.type(0).rank or min(repeats, default=0) < 0:
            invalid(ctx.node, f"repeats {list(repeats)} do not fit a tensor of {ctx.type(0).rank} dimensions")
        return repeats

    @staticmethod
    def _times(dim: Dim, count: int) -> Dim:
        if count in (0, 1):
            return dim if count else 0
        return dim * count if isinstance(dim, int) else UNKNOWN

    def moves(self, ctx: LowerContext) -> Iterable[Move]:
        data, result = ctx.type(0), ctx.output()
        sizes, source, target = [], [], []
        axes = zip(self._repeats(ctx), data.shape, data.strides, result.strides, strict=True)
        for count, size, stride, result_stride in axes:
            sizes += [count, size]
            source += [0, stride]
            target += [size * result_stride, result_stride]
        yield Move(
            tuple(sizes),
            View(ctx.node.inputs[0], tuple(source)),
            View(ctx.node.outputs[0], tuple(target)),
        )
