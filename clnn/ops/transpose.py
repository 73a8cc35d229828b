"""Operators that reorder dimensions: Transpose, the conversion between layouts, DepthToSpace and its inverse."""

from __future__ import annotations

from collections.abc import Iterable

from clnn.graph import CHANNELS_LAST, PLAIN, TensorType
from clnn.ops.base import InferContext, Layouts, LowerContext, operator
from clnn.ops.movement import Move, Movement
from clnn.ops.rows import Rows, row_by_row
from clnn.ops.settings import UNKNOWN, integer, integers, invalid
from clnn.ops.strided import View


@operator("Transpose")
class Transpose(Movement):
    """Dimension i of the output is dimension ``perm[i]`` of the input; all reversed by default."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data = ctx.type(0)
        return (TensorType(tuple(data.shape[axis] for axis in self._perm(ctx)), data.dtype),)

    @staticmethod
    def _perm(ctx: InferContext) -> tuple[int, ...]:
        rank = ctx.type(0).rank
        if "perm" not in ctx.node.attrs:
            return tuple(reversed(range(rank)))
        perm = integers(ctx.node, "perm", ctx.node.attrs["perm"])
        if sorted(perm) != list(range(rank)):
            invalid(ctx.node, f"perm {list(perm)} is no order of {rank} dimensions")
        return perm

    def layouts(self, ctx: LowerContext) -> Layouts:
        """The input as it comes; the output in the layout in which it is the same memory, if there is one."""
        strides, target = self._strides(ctx), ctx.output()
        for layout in (PLAIN, CHANNELS_LAST) if target.rank > 2 else (PLAIN,):
            wanted = target.with_layout(layout).strides
            if all(a == b for a, b, n in zip(strides, wanted, target.shape, strict=True) if n != 1):
                return Layouts((None,), (layout,))
        return Layouts((None,), (PLAIN,))

    def _strides(self, ctx: LowerContext) -> tuple[int, ...]:
        strides = ctx.type(0).strides
        return tuple(strides[axis] for axis in self._perm(ctx))

    def moves(self, ctx: LowerContext) -> Iterable[Move]:
        source = View(ctx.node.inputs[0], self._strides(ctx))
        yield Move(ctx.output().shape, source, View.of(ctx.node.outputs[0], ctx.output()))


@operator("clnn.Relayout")
class Relayout(Movement):
    """The same tensor in another layout; the plan puts it where producer and consumer disagree."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data = ctx.type(0)
        return (TensorType(data.shape, data.dtype),)

    def moves(self, ctx: LowerContext) -> Iterable[Move]:
        data, result = ctx.type(0), ctx.output()
        yield Move(data.shape, View.of(ctx.node.inputs[0], data), View.of(ctx.node.outputs[0], result))

    def by_rows(self, ctx: LowerContext) -> Rows | None:
        return row_by_row(ctx.types, ctx.node)


class _Blocks(Movement):
    """Base of the two operators that trade ``blocksize``² channels for a square of pixels; N, C, H, W only."""

    @staticmethod
    def _block(ctx: InferContext) -> int:
        data, block = ctx.type(0), integer(ctx.node, "blocksize", ctx.node.attrs.get("blocksize"))
        if block < 1:
            invalid(ctx.node, f"blocksize {block} is not positive")
        if data.rank != 4:
            invalid(ctx.node, f"the input has {data.rank} dimensions, not N, C, H, W")
        return block


def _divided(ctx: InferContext, dim: int | str, divisor: int) -> int | str:
    if isinstance(dim, str):
        return dim if divisor == 1 else UNKNOWN
    if dim % divisor:
        invalid(ctx.node, f"{dim} cannot be divided by {divisor}")
    return dim // divisor


def _multiplied(dim: int | str, factor: int) -> int | str:
    return dim * factor if isinstance(dim, int) or factor == 1 else UNKNOWN


@operator("DepthToSpace")
class DepthToSpace(_Blocks):
    """Channels (row, column, c) in mode DCR, or (c, row, column) in mode CRD, become blocks of pixels."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data, block = ctx.type(0), self._block(ctx)
        if ctx.node.attrs.get("mode", "DCR") not in ("DCR", "CRD"):
            invalid(ctx.node, f"mode '{ctx.node.attrs['mode']}' is neither DCR nor CRD")
        n, c, h, w = data.shape
        shape = (n, _divided(ctx, c, block * block), _multiplied(h, block), _multiplied(w, block))
        return (TensorType(shape, data.dtype),)

    def moves(self, ctx: LowerContext) -> Iterable[Move]:
        data, result, block = ctx.type(0), ctx.output(), self._block(ctx)
        depth = result.shape[1]
        sn, sc, sh, sw = data.strides
        tn, tc, th, tw = result.strides
        if ctx.node.attrs.get("mode", "DCR") == "DCR":
            channel, row, column = sc, sc * block * depth, sc * depth
        else:
            channel, row, column = sc * block * block, sc * block, sc
        yield Move(
            (data.shape[0], depth, data.shape[2], block, data.shape[3], block),
            View(ctx.node.inputs[0], (sn, channel, sh, row, sw, column)),
            View(ctx.node.outputs[0], (tn, tc, th * block, th, tw * block, tw)),
        )


@operator("SpaceToDepth")
class SpaceToDepth(_Blocks):
    """Blocks of pixels become channels, in the order (row, column, c)."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data, block = ctx.type(0), self._block(ctx)
        n, c, h, w = data.shape
        shape = (n, _multiplied(c, block * block), _divided(ctx, h, block), _divided(ctx, w, block))
        return (TensorType(shape, data.dtype),)

    def moves(self, ctx: LowerContext) -> Iterable[Move]:
        data, result, block = ctx.type(0), ctx.output(), self._block(ctx)
        n, depth = data.shape[:2]
        sn, sc, sh, sw = data.strides
        tn, tc, th, tw = result.strides
        yield Move(
            (n, depth, result.shape[2], block, result.shape[3], block),
            View(ctx.node.inputs[0], (sn, sc, sh * block, sh, sw * block, sw)),
            View(ctx.node.outputs[0], (tn, tc, th, tc * block * depth, tw, tc * depth)),
        )
