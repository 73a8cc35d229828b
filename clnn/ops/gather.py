"""Picking elements by indices, and putting them where indices say."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from clnn.errors import UnsupportedError
from clnn.graph import PLAIN, TensorType
from clnn.kernels.copy import GATHER, INDEX_TYPES
from clnn.ops.base import InferContext, Layouts, LowerContext, Lowered, operator
from clnn.ops.movement import Movement
from clnn.ops.settings import axis, integer, invalid, known
from clnn.ops.strided import View, copy, element_type, grid, local_size, movable, row_blocks


@dataclass(frozen=True)
class Rows:
    """``count`` rows of ``length`` elements and where they lie in the table; see ``gather.cl``.

    ``sizes`` and ``strides`` (in elements) are those of the table's dimensions that the indices go through.
    """

    count: int
    length: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    group: int
    group_stride: int
    lane: int = 1
    period: int = 0
    depth: int = 1


class _Indexed(Movement):
    """Base: input 0 is the table, input 1 the indices, all in plain layout."""

    def rows(self, ctx: LowerContext) -> Rows:
        """What is moved; called for static shapes."""
        raise NotImplementedError

    def obstacle(self, ctx: LowerContext) -> str | None:
        data, indices = ctx.type(0), ctx.type(1)
        if indices.dtype not in INDEX_TYPES:
            return f"indices of dtype {indices.dtype} have no kernel"
        if data.size == 0 and ctx.output().size:
            return "it picks from an empty tensor"
        return movable(data, indices, ctx.output())

    def layouts(self, ctx: LowerContext) -> Layouts:
        return Layouts((PLAIN,) * len(ctx.node.inputs), (PLAIN,))

    def launch(self, ctx: LowerContext, picked: str, table: str, direction: str) -> Lowered:
        """Move the rows between tensors ``picked`` and ``table``."""
        rows = self.rows(ctx)
        if rows.count * rows.length == 0:
            return Lowered()
        extents = (rows.count, rows.length)
        _, *blocks = row_blocks(ctx.device, 1, *extents)
        dims = ctx.local_name("dims")
        args = (
            *(picked, table, ctx.node.inputs[1], dims, *extents, *blocks),
            *(rows.group, rows.group_stride, rows.lane, rows.period or rows.count, rows.depth),
        )
        launch = GATHER.launch(
            args,
            grid(extents, blocks),
            local_size(ctx.device, 2),
            TYPE=element_type(ctx.output().dtype),
            INDEX=INDEX_TYPES[ctx.type(1).dtype],
            DIRECTION=direction,
        )
        table_dims = np.array([rows.sizes, rows.strides], np.int32).T
        return Lowered((launch,), {dims: np.ascontiguousarray(table_dims)}, choice="rows by index")

    def lower(self, ctx: LowerContext) -> Lowered:
        return self.launch(ctx, ctx.node.outputs[0], ctx.node.inputs[0], "GATHER")


@operator("Gather")
class Gather(_Indexed):
    """Slices along ``axis``, in the shape of the indices."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data, indices = ctx.type(0), ctx.type(1)
        along = self._axis(ctx)
        shape = (*data.shape[:along], *indices.shape, *data.shape[along + 1 :])
        return (TensorType(shape, data.dtype),)

    @staticmethod
    def _axis(ctx: InferContext) -> int:
        if ctx.type(0).rank == 0:
            invalid(ctx.node, "it gathers from a scalar")
        return axis(ctx.node, ctx.node.attrs.get("axis", 0), ctx.type(0).rank)

    def rows(self, ctx: LowerContext) -> Rows:
        data, count, along = ctx.type(0), ctx.type(1).size, self._axis(ctx)
        inner = math.prod(data.shape[along + 1 :])
        outer = math.prod(data.shape[:along])
        size = data.shape[along]
        return Rows(outer * count, inner, (size,), (inner,), count, size * inner, period=count)


@operator("GatherElements")
class GatherElements(_Indexed):
    """Per element of the indices one of the input, at the same place except along ``axis``."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data, indices = ctx.type(0), ctx.type(1)
        if data.rank != indices.rank:
            invalid(ctx.node, f"indices of {indices.rank} dimensions do not fit data of {data.rank}")
        return (TensorType(indices.shape, data.dtype),)

    def obstacle(self, ctx: LowerContext) -> str | None:
        return _uneven(ctx) or super().obstacle(ctx)

    def rows(self, ctx: LowerContext) -> Rows:
        return _elements(ctx)


def _uneven(ctx: LowerContext) -> str | None:
    """Why indices per element do not fit the kernel, or ``None``."""
    data, indices = ctx.type(0), ctx.type(1)
    along = axis(ctx.node, ctx.node.attrs.get("axis", 0), data.rank)
    if any(a != b for i, (a, b) in enumerate(zip(data.shape, indices.shape, strict=True)) if i != along):
        return f"indices of shape {list(indices.shape)} for data of shape {list(data.shape)} have no kernel"
    return None


def _elements(ctx: LowerContext) -> Rows:
    data, indices = ctx.type(0), ctx.type(1)
    along = axis(ctx.node, ctx.node.attrs.get("axis", 0), data.rank)
    inner = math.prod(data.shape[along + 1 :])
    group, size = indices.shape[along] * inner, data.shape[along]
    return Rows(indices.size, 1, (size,), (inner,), group, size * inner, lane=inner)


@operator("GatherND")
class GatherND(_Indexed):
    """Slices at the places that the last dimension of the indices spells out, within each of the batches."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data, indices = ctx.type(0), ctx.type(1)
        batch = integer(ctx.node, "batch_dims", ctx.node.attrs.get("batch_dims", 0))
        depth = _depth(ctx, batch)
        shape = (*indices.shape[:-1], *data.shape[batch + depth :])
        return (TensorType(shape, data.dtype),)

    def rows(self, ctx: LowerContext) -> Rows:
        batch = ctx.node.attrs.get("batch_dims", 0)
        return _spelled(ctx, batch)


def _depth(ctx: InferContext, batch: int) -> int:
    """Dimensions that an index spells out."""
    data, indices = ctx.type(0), ctx.type(1)
    if not known(indices.shape[-1:]):
        raise UnsupportedError(f"{ctx.node}: how many numbers make up an index is not known before running")
    if not indices.shape or not 0 <= batch < min(data.rank, indices.rank):
        invalid(ctx.node, f"batch_dims {batch} does not fit {data} and indices {indices}")
    if known((*data.shape, *indices.shape)) and data.shape[:batch] != indices.shape[:batch]:
        invalid(ctx.node, f"{data} and indices {indices} differ in the first {batch} dimensions")
    if not 1 <= indices.shape[-1] <= data.rank - batch:
        invalid(ctx.node, f"indices of {indices.shape[-1]} numbers do not fit {data}")
    return indices.shape[-1]


def _spelled(ctx: LowerContext, batch: int) -> Rows:
    data, indices = ctx.type(0), ctx.type(1)
    depth = _depth(ctx, batch)
    sizes, strides = data.shape[batch : batch + depth], data.strides[batch : batch + depth]
    per_batch = math.prod(indices.shape[batch:-1])
    count, length = math.prod(indices.shape[:-1]), math.prod(data.shape[batch + depth :])
    return Rows(count, length, sizes, strides, max(per_batch, 1), math.prod(data.shape[batch:]), depth=depth)


class _Scatter(_Indexed):
    """Base: a copy of input 0, in which the rows of input 2 replace those that the indices name."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data = ctx.type(0)
        return (TensorType(data.shape, data.dtype),)

    def obstacle(self, ctx: LowerContext) -> str | None:
        reduction = ctx.node.attrs.get("reduction", "none")
        if reduction != "none":
            return f"reduction {reduction} has no kernel"
        obstacle = super().obstacle(ctx)
        if obstacle is None and ctx.type(2).size != self.rows(ctx).count * self.rows(ctx).length:
            invalid(ctx.node, f"updates {ctx.type(2)} do not fit indices {ctx.type(1)}")
        return obstacle

    def lower(self, ctx: LowerContext) -> Lowered:
        data, result = ctx.type(0), ctx.node.outputs[0]
        whole = copy(
            ctx.device, data.dtype, data.shape, View.of(ctx.node.inputs[0], data), View.of(result, ctx.output())
        )
        lowered = self.launch(ctx, ctx.node.inputs[2], result, "SCATTER")
        return Lowered((*whole, *lowered.launches), lowered.constants, choice="copy, then rows by index")


@operator("ScatterND")
class ScatterND(_Scatter):
    """The places are spelled out as for GatherND."""

    def rows(self, ctx: LowerContext) -> Rows:
        return _spelled(ctx, 0)


@operator("ScatterElements", "Scatter")
class ScatterElements(_Scatter):
    """The places are per element, as for GatherElements."""

    def obstacle(self, ctx: LowerContext) -> str | None:
        return _uneven(ctx) or super().obstacle(ctx)

    def rows(self, ctx: LowerContext) -> Rows:
        return _elements(ctx)
