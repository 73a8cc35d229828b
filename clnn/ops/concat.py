"""Joining tensors along a dimension, and cutting them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import accumulate

from clnn.graph import Dim, TensorType
from clnn.ops.base import InferContext, Layouts, LowerContext, operator
from clnn.ops.movement import Move, Movement, following
from clnn.ops.rows import ROW_AXIS, Rows, row_by_row
from clnn.ops.settings import UNKNOWN, axis, integer, integers, invalid, known
from clnn.ops.strided import View


@operator("Concat")
class Concat(Movement):
    """The inputs one after the other along ``axis``; each is one copy to its place."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        types = [ctx.type(index) for index in range(len(ctx.node.inputs))]
        if not types:
            invalid(ctx.node, "it has no input")
        shapes = [tensor.shape for tensor in types]
        rank = types[0].rank
        if any(len(shape) != rank for shape in shapes):
            invalid(ctx.node, f"the inputs have different numbers of dimensions: {_listed(shapes)}")
        along = axis(ctx.node, ctx.node.attrs.get("axis"), rank)
        dims = [self._common(ctx, shapes, index) for index in range(rank)]
        lengths = [shape[along] for shape in shapes]
        dims[along] = sum(lengths) if known(lengths) else UNKNOWN
        return (TensorType(tuple(dims), types[0].dtype),)

    @staticmethod
    def _common(ctx: InferContext, shapes: Sequence[tuple[Dim, ...]], index: int) -> Dim:
        dims = [shape[index] for shape in shapes]
        numbers = {dim for dim in dims if isinstance(dim, int)}
        along = integer(ctx.node, "axis", ctx.node.attrs.get("axis")) % len(shapes[0])
        if len(numbers) > 1 and index != along:
            invalid(ctx.node, f"the inputs differ in dimension {index}: {_listed(shapes)}")
        return numbers.pop() if numbers else dims[0]

    def layouts(self, ctx: LowerContext) -> Layouts:
        """Inputs as they come; channels last if one of them is."""
        inputs = [ctx.types[name] for name in ctx.node.inputs]
        return Layouts((None,) * len(inputs), (following(ctx.output(), inputs),))

    def moves(self, ctx: LowerContext) -> Iterable[Move]:
        result, start = ctx.output(), 0
        along = axis(ctx.node, ctx.node.attrs["axis"], result.rank)
        for name in ctx.node.inputs:
            part = ctx.types[name]
            target = View(ctx.node.outputs[0], result.strides, start * result.strides[along])
            start += part.shape[along]
            if part.size:
                yield Move(part.shape, View.of(name, part), target)


    def by_rows(self, ctx: LowerContext) -> Rows | None:
        along = axis(ctx.node, ctx.node.attrs["axis"], ctx.output().rank)
        return row_by_row(ctx.types, ctx.node) if along not in (0, ROW_AXIS) else None


def _listed(shapes: Sequence[tuple[Dim, ...]]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes)


@operator("Split")
class Split(Movement):
    """Pieces of the given lengths along ``axis``; else equal ones, the last one shorter if need be."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data, count = ctx.type(0), len(ctx.node.outputs)
        along = axis(ctx.node, ctx.node.attrs.get("axis", 0), data.rank)
        before, length, after = data.shape[:along], data.shape[along], data.shape[along + 1 :]
        pieces = self._lengths(ctx, length, count)
        return tuple(TensorType((*before, piece, *after), data.dtype) for piece in pieces)

    @staticmethod
    def _lengths(ctx: InferContext, length: Dim, count: int) -> tuple[Dim, ...]:
        given = ctx.setting("split", 1)
        if given is not None:
            lengths = integers(ctx.node, "split", given)
            total = isinstance(length, int) and sum(lengths) != length
            if len(lengths) != count or min(lengths, default=0) < 0 or total:
                invalid(ctx.node, f"split {list(lengths)} does not cut {length} into {count} pieces")
            return lengths
        parts = integer(ctx.node, "num_outputs", ctx.node.attrs.get("num_outputs", count))
        if parts != count:
            invalid(ctx.node, f"num_outputs is {parts}, but it has {count} outputs")
        if isinstance(length, str):
            return (length if count == 1 else UNKNOWN,) * count
        piece = -(-length // count)
        return tuple(max(0, min(piece, length - index * piece)) for index in range(count))

    def moves(self, ctx: LowerContext) -> Iterable[Move]:
        data = ctx.type(0)
        along = axis(ctx.node, ctx.node.attrs.get("axis", 0), data.rank)
        parts = [ctx.types[name] for name in ctx.node.outputs]
        starts = accumulate((part.shape[along] for part in parts), initial=0)
        for name, part, start in zip(ctx.node.outputs, parts, starts, strict=False):
            source = View(ctx.node.inputs[0], data.strides, start * data.strides[along])
            yield Move(part.shape, source, View.of(name, part))

    def by_rows(self, ctx: LowerContext) -> Rows | None:
        along = axis(ctx.node, ctx.node.attrs.get("axis", 0), ctx.type(0).rank)
        rows = row_by_row(ctx.types, ctx.node)
        if rows is None or along in (0, ROW_AXIS):
            return None
        ends = list(accumulate(ctx.types[name].shape[along] for name in ctx.node.outputs))
        return replace(rows, parts=tuple((along, *ends) for ends in zip((0, *ends), ends, strict=False)))
