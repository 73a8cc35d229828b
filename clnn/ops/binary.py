"""Operators of two or more tensors, element by element, with NumPy's broadcasting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from clnn.graph import TensorType
from clnn.ops.base import InferContext, LowerContext, Lowered, operator
from clnn.ops.elementwise import Elementwise, Operand, Operation, apply, inputs, kind_obstacle, output
from clnn.ops.settings import integer, invalid


class _SameDtype(Elementwise):
    """Base: all inputs have one dtype, of a kind that the operation takes."""

    def kinds(self, ctx: InferContext) -> str:
        """NumPy's kinds of the dtypes that the operation takes."""
        return "fiu"

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        dtypes = {ctx.types[name].dtype for name in ctx.node.inputs if name}
        if len(dtypes) > 1:
            invalid(ctx.node, f"its inputs are of different types ({', '.join(sorted(dtypes))})")
        return super().infer(ctx)

    def obstacle(self, ctx: LowerContext) -> str | None:
        return kind_obstacle(ctx, self.kinds(ctx)) or super().obstacle(ctx)


@dataclass(frozen=True)
class _Entry:
    """The kernel's operation on floats, that on integers where it differs, and the kinds of dtypes it takes."""

    op: str
    on_integers: str = ""
    kinds: str = "fiu"


_ARITHMETIC: Mapping[str, _Entry] = {
    "Add": _Entry("ADD"),
    "And": _Entry("BIT_AND", kinds="b"),
    "BitwiseAnd": _Entry("BIT_AND", kinds="iu"),
    "BitwiseOr": _Entry("BIT_OR", kinds="iu"),
    "BitwiseXor": _Entry("BIT_XOR", kinds="iu"),
    "Div": _Entry("DIV", "INT_DIV"),
    "Mul": _Entry("MUL"),
    "Or": _Entry("BIT_OR", kinds="b"),
    "Sub": _Entry("SUB"),
    "Xor": _Entry("BIT_XOR", kinds="b"),
}

_COMPARISONS = {
    "Equal": "EQUAL",
    "Greater": "GREATER",
    "GreaterOrEqual": "GREATER_OR_EQUAL",
    "Less": "LESS",
    "LessOrEqual": "LESS_OR_EQUAL",
}

_FOLDS = {"Max": "MAX", "Mean": "ADD", "Min": "MIN", "Sum": "ADD"}


@operator(*_ARITHMETIC)
class Arithmetic(_SameDtype):
    """Two inputs of one dtype, which is that of the result."""

    def kinds(self, ctx: InferContext) -> str:
        return _ARITHMETIC[ctx.node.op].kinds

    def operation(self, ctx: LowerContext) -> Operation:
        dtype, entry = ctx.type(0).dtype, _ARITHMETIC[ctx.node.op]
        integers = np.dtype(dtype).kind in "iu"
        return Operation(entry.on_integers if integers and entry.on_integers else entry.op, dtype)


@operator(*_COMPARISONS)
class Comparison(_SameDtype):
    """Two inputs of one dtype, compared."""

    def kinds(self, ctx: InferContext) -> str:
        return "fiub"

    def result_dtype(self, ctx: InferContext) -> str:
        return "bool"

    def operation(self, ctx: LowerContext) -> Operation:
        return Operation(_COMPARISONS[ctx.node.op], ctx.type(0).dtype)


@operator("Mod")
class Mod(_SameDtype):
    """Remainder: with the sign of the divisor, or (``fmod``) of the dividend."""

    def operation(self, ctx: LowerContext) -> Operation:
        dtype = ctx.type(0).dtype
        op = "FMOD" if integer(ctx.node, "fmod", ctx.node.attrs.get("fmod", 0)) else "MOD"
        return Operation(op if np.dtype(dtype).kind == "f" else f"INT_{op}", dtype)


@operator("BitShift")
class BitShift(_SameDtype):
    def kinds(self, ctx: InferContext) -> str:
        return "iu"

    def operation(self, ctx: LowerContext) -> Operation:
        direction = ctx.node.attrs.get("direction")
        if direction not in ("LEFT", "RIGHT"):
            invalid(ctx.node, f"direction '{direction}' is neither 'LEFT' nor 'RIGHT'")
        return Operation(f"SHIFT_{direction}", ctx.type(0).dtype)


@operator("PRelu")
class PRelu(_SameDtype):
    """x where it is positive, else x·slope; the slope broadcasts to x, never the reverse."""

    def kinds(self, ctx: InferContext) -> str:
        return "fi"

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        (result,) = super().infer(ctx)
        data, slope = ctx.type(0), ctx.type(1)
        repeats = data.is_static and slope.is_static and result.shape != data.shape
        if result.shape is not None and (slope.rank > data.rank or repeats):
            invalid(ctx.node, f"slope {list(slope.shape)} does not broadcast to {list(data.shape)}")
        return (TensorType(data.shape, data.dtype),)

    def operation(self, ctx: LowerContext) -> Operation:
        return Operation("PRELU", ctx.type(0).dtype)


@operator("Pow")
class Pow(Elementwise):
    """xʸ with the dtype of x; the exponent may have another."""

    def operation(self, ctx: LowerContext) -> Operation:
        base = ctx.type(0).dtype
        if np.dtype(base).kind == "f":
            exponent = ctx.constant(1)
            squares = exponent is not None and exponent.size == 1 and exponent.item() == 2
            return Operation("SQUARE" if squares else "POW", base)
        # One program for all integers: the result keeps the low bits, which do not depend on the width.
        return Operation("INT_POW", "int64")

    def obstacle(self, ctx: LowerContext) -> str | None:
        found = kind_obstacle(ctx, "fiu") or super().obstacle(ctx)
        if found is None and "float" in ctx.type(1).dtype and "float" not in ctx.type(0).dtype:
            return "an integer base with a float exponent has no kernel"
        return found


@operator("Where")
class Where(Elementwise):
    """The second input where the first is true, else the third."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        if ctx.type(0).dtype != "bool" or ctx.type(1).dtype != ctx.type(2).dtype:
            invalid(ctx.node, "its inputs are not a condition and two tensors of one type")
        return super().infer(ctx)

    def result_dtype(self, ctx: InferContext) -> str:
        return ctx.type(1).dtype

    def operation(self, ctx: LowerContext) -> Operation:
        return Operation("WHERE", ctx.type(1).dtype)


@operator(*_FOLDS)
class Fold(_SameDtype):
    """Any number of inputs, taken one after the other: sum, mean, smallest, largest."""

    def operation(self, ctx: LowerContext) -> Operation:
        return Operation(_FOLDS[ctx.node.op], ctx.type(0).dtype)

    def lower(self, ctx: LowerContext) -> Lowered:
        operation, result = self.operation(ctx), output(ctx)
        first, *others = inputs(ctx)
        if not others:
            return Lowered(alias={result.name: first.name})
        launches = []
        for other in others:
            launches += apply(ctx.device, operation, (first, other), result)
            first = result
        if ctx.node.op != "Mean":
            return Lowered(tuple(launches))
        count = Operand(ctx.local_name("count"), TensorType((), result.tensor.dtype))
        launches += apply(ctx.device, Operation("DIV", operation.compute), (result, count), result)
        number = np.array(len(others) + 1, result.tensor.dtype)
        return Lowered(tuple(launches), constants={count.name: number})
