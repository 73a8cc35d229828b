"""QuantizeLinear and DequantizeLinear, per tensor or per axis, and DynamicQuantizeLinear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from clnn.graph import TensorType
from clnn.ops.base import InferContext, Layouts, LowerContext, Lowered, Operator, operator
from clnn.ops.dtypes import dtype_attribute
from clnn.ops.elementwise import Elementwise, Operand, Operation, apply, dtype_obstacle, inputs, output
from clnn.ops.groups import groups
from clnn.ops.indexing import normalize_axis, too_large
from clnn.ops.normalize import same_layout
from clnn.ops.reduce import Reduction, reduce
from clnn.ops.settings import integer, invalid


class _Linear(Elementwise):
    """Base: x, its scale and its zero point; the latter two are scalars or belong to the indices of one axis."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        ctx.type(1)  # the scale has to be there
        return (TensorType(ctx.type(0).shape, self.result_dtype(ctx)),)

    def zero_dtype(self, ctx: LowerContext) -> str:
        """The dtype of a zero point that is not given."""
        raise NotImplementedError

    def operands(self, ctx: LowerContext) -> tuple[Operand, ...]:
        operands = [inputs(ctx)[0], self._along_axis(ctx, 1)]
        if ctx.node.input(2):
            operands.append(self._along_axis(ctx, 2))
        else:
            operands.append(Operand(ctx.local_name("zero_point"), TensorType((), self.zero_dtype(ctx))))
        return tuple(operands)

    @staticmethod
    def _along_axis(ctx: LowerContext, index: int) -> Operand:
        """Input ``index`` with a shape that broadcasts to x."""
        data, tensor = ctx.type(0), ctx.type(index)
        if tensor.size == 1:
            return Operand(ctx.node.inputs[index], replace(tensor, shape=()))
        axis = normalize_axis(integer(ctx.node, "axis", ctx.node.attrs.get("axis", 1)), data.rank, ctx.node)
        if tensor.shape != (data.shape[axis],):
            wanted = f"a scalar or {data.shape[axis]} values"
            invalid(ctx.node, f"input {index} has the shape {list(tensor.shape)}, not that of {wanted}")
        return Operand(ctx.node.inputs[index], replace(tensor, shape=tensor.shape + (1,) * (data.rank - 1 - axis)))

    def obstacle(self, ctx: LowerContext) -> str | None:
        # Integers of less than a byte have numbers of their own, which the kernels' types do not include.
        tensors = [ctx.types[name] for name in (*ctx.node.inputs, *ctx.node.outputs) if name]
        if ctx.node.attrs.get("block_size", 0):
            return "scales per block have no kernel"
        return dtype_obstacle(ctx, *tensors) or too_large(tensors)

    def constants(self, ctx: LowerContext) -> Mapping[str, np.ndarray]:
        return {} if ctx.node.input(2) else {ctx.local_name("zero_point"): np.zeros((), self.zero_dtype(ctx))}

    def takes_region(self, ctx: LowerContext, index: int) -> bool:
        return index == 0 and super().takes_region(ctx, index)


@operator("QuantizeLinear")
class QuantizeLinear(_Linear):
    """saturate(round(x / scale) + zero point), halves rounded to even."""

    def result_dtype(self, ctx: InferContext) -> str:
        if ctx.node.input(2):
            return ctx.type(2).dtype
        return dtype_attribute(ctx.node, "output_dtype") or "uint8"

    def zero_dtype(self, ctx: LowerContext) -> str:
        return ctx.output().dtype

    def obstacle(self, ctx: LowerContext) -> str | None:
        if dtype_attribute(ctx.node, "precision") not in ("", "float32"):
            return "a precision other than float32 has no kernel"
        found = super().obstacle(ctx)
        # float32 holds every value of these types.
        if found is None and ctx.output().dtype not in ("uint8", "int8", "uint16", "int16"):
            return f"dtype {ctx.output().dtype} has no kernel"
        return found

    def operation(self, ctx: LowerContext) -> Operation:
        limits = np.iinfo(ctx.output().dtype)
        return Operation("QUANTIZE", "float32", limits.min, limits.max)


@operator("DequantizeLinear")
class DequantizeLinear(_Linear):
    """(x - zero point)·scale."""

    def result_dtype(self, ctx: InferContext) -> str:
        return dtype_attribute(ctx.node, "output_dtype") or ctx.type(1).dtype

    def zero_dtype(self, ctx: LowerContext) -> str:
        return ctx.type(0).dtype

    def operation(self, ctx: LowerContext) -> Operation:
        return Operation("DEQUANTIZE", "float32")


@operator("DynamicQuantizeLinear")
class DynamicQuantizeLinear(Operator):
    """QuantizeLinear to uint8 with the scale and zero point that fit the range of the input, which are outputs."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        return (TensorType(ctx.type(0).shape, "uint8"), TensorType((), "float32"), TensorType((), "uint8"))

    def obstacle(self, ctx: LowerContext) -> str | None:
        data = ctx.type(0)
        if data.size == 0:
            return "an empty tensor has no range"
        return f"dtype {data.dtype} has no kernel" if data.dtype != "float32" else too_large([data])

    def layouts(self, ctx: LowerContext) -> Layouts:
        return same_layout(ctx)

    def lower(self, ctx: LowerContext) -> Lowered:
        source, target = inputs(ctx)[0], output(ctx)
        scalar = TensorType((), "float32")
        outputs = (*ctx.node.outputs, "", "")
        scale = Operand(outputs[1] or ctx.local_name("scale"), scalar)
        zero = Operand(outputs[2] or ctx.local_name("zero"), TensorType((), "uint8"))
        low, high = (Operand(ctx.local_name(name), scalar) for name in ("min", "max"))
        found = groups(source.tensor, range(source.tensor.rank))
        find_low, scratch = reduce(ctx, Reduction("MIN"), source.name, "float32", found, low.name)
        find_high, more = reduce(ctx, Reduction("MAX"), source.name, "float32", found, high.name)
        launches = (
            *(*find_low, *find_high),
            *apply(ctx.device, Operation("RANGE_SCALE"), (low, high), scale),
            *apply(ctx.device, Operation("RANGE_ZERO"), (low, scale), zero),
            *apply(ctx.device, Operation("QUANTIZE", alpha=0, beta=255), (source, scale, zero), target),
        )
        own = (operand for operand in (low, high, scale, zero) if operand.name not in outputs)
        sizes = {operand.name: operand.tensor.nbytes for operand in own}
        return Lowered(launches, scratch={**sizes, **scratch, **more})
