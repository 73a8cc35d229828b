"""Local response normalisation across channels."""

from __future__ import annotations

from collections.abc import Mapping

from clnn.graph import CHANNELS_LAST, Node, TensorType
from clnn.kernels.lrn import LRN
from clnn.kernels.types import vector_width
from clnn.ops.base import Cost, InferContext, Layouts, LowerContext, Lowered, Operator, operator
from clnn.ops.indexing import too_large
from clnn.ops.settings import integer, invalid, real

_ITEM_ELEMENTS = 1 << 12
"""Elements that a CPU's work-item computes: some 10 µs of work."""


@operator("LRN")
class LocalResponseNormalization(Operator):
    """x / (bias + alpha / size · sum of x² over ``size`` channels around)^beta."""

    def _size(self, ctx: InferContext) -> int:
        size = integer(ctx.node, "size", ctx.node.attrs.get("size", 0))
        if size < 1:
            invalid(ctx.node, f"size is {size}; it has to be at least 1")
        return size

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        self._size(ctx)
        return (TensorType(ctx.type(0).shape, ctx.type(0).dtype),)

    def cost(self, node: Node, types: Mapping[str, TensorType]) -> Cost:
        """A square and a sum per neighbour, and the power as one operation."""
        data = types[node.inputs[0]]
        return Cost((2 * node.attrs.get("size", 1) + 3) * data.size, 2 * data.nbytes)

    def obstacle(self, ctx: LowerContext) -> str | None:
        data = ctx.type(0)
        if data.dtype != "float32":
            return f"dtype {data.dtype} has no kernel"
        return "its input has no channels" if data.rank < 2 else too_large([data])

    def layouts(self, ctx: LowerContext) -> Layouts:
        return Layouts((CHANNELS_LAST,), (CHANNELS_LAST,))

    def lower(self, ctx: LowerContext) -> Lowered:
        data, size, attrs = ctx.type(0), self._size(ctx), ctx.node.attrs
        if data.size == 0:
            return Lowered()
        channels = data.shape[1]
        rows = data.size // channels
        rows_per_item = max(1, _ITEM_ELEMENTS // channels) if ctx.device.kind == "cpu" else 1
        launch = LRN.launch(
            (
                *(ctx.node.inputs[0], ctx.node.outputs[0], rows, channels, rows_per_item),
                *((size - 1) // 2, size // 2),
                real(ctx.node, "alpha", attrs.get("alpha", 1e-4)) / size,
                real(ctx.node, "bias", attrs.get("bias", 1.0)),
                real(ctx.node, "beta", attrs.get("beta", 0.75)),
            ),
            (-(-rows // rows_per_item),),
            (1,) if ctx.device.kind == "cpu" else None,
            WIDTH=vector_width(ctx.device.kind),
        )
        return Lowered((launch,))
