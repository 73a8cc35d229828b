"""The largest or smallest elements along an axis."""

from __future__ import annotations

import math

from clnn.devices.info import DeviceInfo
from clnn.graph import TensorType
from clnn.kernels.topk import TOPK_MERGE, TOPK_SELECT, TOPK_TYPES
from clnn.ops.base import InferContext, LowerContext, Lowered, Operator, operator
from clnn.ops.indexing import too_large
from clnn.ops.settings import axis, computed_obstacle, integer, invalid
from clnn.ops.strided import local_size

_MIN_CHUNK = 1 << 12
"""Elements; less is not worth a work-item and a heap of its own."""


@operator("TopK")
class TopK(Operator):
    """Values and positions of the ``k`` best, in order; among equals the first in the input is ahead."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data = ctx.type(0)
        along = self._axis(ctx)
        shape = list(data.shape)
        shape[along] = self._k(ctx)
        result = tuple(shape)
        return (TensorType(result, data.dtype), TensorType(result, "int64"))[: len(ctx.node.outputs)]

    @staticmethod
    def _axis(ctx: InferContext) -> int:
        if ctx.type(0).rank == 0:
            invalid(ctx.node, "its input is a scalar")
        return axis(ctx.node, ctx.node.attrs.get("axis", -1), ctx.type(0).rank)

    def _k(self, ctx: InferContext) -> int:
        k, length = integer(ctx.node, "k", ctx.setting("k", 1)), ctx.type(0).shape[self._axis(ctx)]
        if k < 0 or (isinstance(length, int) and k > length):
            invalid(ctx.node, f"it wants {k} of {length} elements")
        return k

    def obstacle(self, ctx: LowerContext) -> str | None:
        data = ctx.type(0)
        if data.dtype not in TOPK_TYPES:
            return f"dtype {data.dtype} has no kernel"
        return computed_obstacle(ctx, 1) or too_large((data,))

    def lower(self, ctx: LowerContext) -> Lowered:
        data, along, k = ctx.type(0), self._axis(ctx), self._k(ctx)
        if data.size == 0 or k == 0:
            return Lowered()
        n, inner = data.shape[along], math.prod(data.shape[along + 1 :])
        rows = data.size // n
        chunks = _chunks(ctx.device, rows, n, k)
        chunk = -(-n // chunks)
        chunks = -(-n // chunk)
        config = {"TYPE": TOPK_TYPES[data.dtype], "LARGEST": int(bool(ctx.node.attrs.get("largest", 1)))}
        x, heaps = ctx.node.inputs[0], ctx.local_name("heaps")
        values, indices = (name or None for name in (*ctx.node.outputs, "")[:2])
        select = TOPK_SELECT.launch((x, heaps, n, inner, k, chunk), (chunks, rows), local_size(ctx.device, 2), **config)
        merge = TOPK_MERGE.launch(
            (x, heaps, values, indices, n, inner, k, chunks), (rows,), local_size(ctx.device, 1), **config
        )
        return Lowered((select, merge), scratch={heaps: 8 * rows * chunks * k}, choice=f"{chunks} chunks, merged")


def _chunks(device: DeviceInfo, rows: int, n: int, k: int) -> int:
    """Pieces of a row that are searched side by side; each adds k elements to those that one work-item merges."""
    least = max(_MIN_CHUNK, 8 * k)
    wanted = 4 * device.compute_units // rows
    return max(1, min(wanted, n // least))
