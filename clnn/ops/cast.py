"""Conversion between element types."""

from __future__ import annotations

import numpy as np

from clnn.graph import TensorType
from clnn.kernels.types import CL_TYPES
from clnn.ops.base import InferContext, LowerContext, Lowered, operator
from clnn.ops.dtypes import dtype_attribute
from clnn.ops.elementwise import Elementwise, Operand, Operation, inputs, output
from clnn.ops.settings import invalid


class _Conversion(Elementwise):
    """Base: every element in another type, as C converts it.

    Floats lose their fraction, integers their high bits; what is not 0 is true. float16 may be read and written.
    """

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        return (TensorType(ctx.type(0).shape, self.result_dtype(ctx)),)

    def operation(self, ctx: LowerContext) -> Operation:
        source, target = ctx.type(0).dtype, ctx.output().dtype
        if target == "bool":
            return Operation("NONZERO", "float32" if source == "float16" else source)
        return Operation("COPY", _between(source, target))

    def operands(self, ctx: LowerContext) -> tuple[Operand, ...]:
        return inputs(ctx)[:1]

    def obstacle(self, ctx: LowerContext) -> str | None:
        for dtype in (ctx.type(0).dtype, ctx.output().dtype):
            if dtype not in CL_TYPES:
                return f"dtype {dtype} has no kernel"
            if dtype == "float64" and not ctx.device.fp64:
                return f"{ctx.device.id} has no float64"
        return None

    def is_one_launch(self, ctx: LowerContext) -> bool:
        return ctx.type(0).dtype != ctx.output().dtype

    def lower(self, ctx: LowerContext) -> Lowered:
        if ctx.type(0).dtype == ctx.output().dtype:
            return Lowered(alias={output(ctx).name: ctx.node.inputs[0]})
        return super().lower(ctx)


def _between(source: str, target: str) -> str:
    """The dtype to go through: the one that loses nothing that the target could hold."""
    kinds = np.dtype(source).kind + np.dtype(target).kind
    if "f" not in kinds:
        return source
    if kinds[1] == "f":
        return "float64" if "float64" in (source, target) else "float32"
    # Out of a small integer's range a float's conversion is undefined in OpenCL; from a larger integer it is not.
    if target == "uint64":
        return target
    return "int64" if target in ("int64", "uint32") else "int32"


@operator("Cast")
class Cast(_Conversion):
    def result_dtype(self, ctx: InferContext) -> str:
        return dtype_attribute(ctx.node, "to") or invalid(ctx.node, "'to' is missing")


@operator("CastLike")
class CastLike(_Conversion):
    def result_dtype(self, ctx: InferContext) -> str:
        return ctx.type(1).dtype
