"""Operators of one tensor, element by element."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from clnn.graph import TensorType
from clnn.ops.base import InferContext, LowerContext, operator
from clnn.ops.elementwise import Elementwise, Operand, Operation, inputs, kind_obstacle
from clnn.ops.settings import integer, invalid, real


@dataclass(frozen=True)
class _Entry:
    """The kernel's operation, the attributes that become its constants with their defaults, the dtypes it takes."""

    op: str
    alpha: tuple[str, float] | float = 0.0
    beta: tuple[str, float] | float = 0.0
    kinds: str = "f"


_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875

_UNARY: Mapping[str, _Entry] = {
    "Abs": _Entry("ABS", kinds="fiu"),
    "Acos": _Entry("ACOS"),
    "Acosh": _Entry("ACOSH"),
    "Asin": _Entry("ASIN"),
    "Asinh": _Entry("ASINH"),
    "Atan": _Entry("ATAN"),
    "Atanh": _Entry("ATANH"),
    "BitwiseNot": _Entry("BIT_NOT", kinds="iu"),
    "Ceil": _Entry("CEIL"),
    "Celu": _Entry("CELU", ("alpha", 1.0)),
    "Cos": _Entry("COS"),
    "Cosh": _Entry("COSH"),
    "Elu": _Entry("ELU", ("alpha", 1.0)),
    "Erf": _Entry("ERF"),
    "Exp": _Entry("EXP"),
    "Floor": _Entry("FLOOR"),
    "HardSigmoid": _Entry("HARD_SIGMOID", ("alpha", 0.2), ("beta", 0.5)),
    "HardSwish": _Entry("HARD_SWISH", 1 / 6),
    "LeakyRelu": _Entry("LEAKY_RELU", ("alpha", 0.01)),
    "Log": _Entry("LOG"),
    "Mish": _Entry("MISH"),
    "Neg": _Entry("NEG", kinds="fi"),
    "Reciprocal": _Entry("RECIPROCAL"),
    "Relu": _Entry("RELU", kinds="fi"),
    "Round": _Entry("ROUND"),
    "Selu": _Entry("SELU", ("alpha", _SELU_ALPHA), ("gamma", _SELU_GAMMA)),
    "Shrink": _Entry("SHRINK", ("lambd", 0.5), ("bias", 0.0)),
    "Sigmoid": _Entry("SIGMOID"),
    "Sign": _Entry("SIGN", kinds="fiu"),
    "Sin": _Entry("SIN"),
    "Sinh": _Entry("SINH"),
    "Softplus": _Entry("SOFTPLUS"),
    "Softsign": _Entry("SOFTSIGN"),
    "Sqrt": _Entry("SQRT"),
    "Swish": _Entry("SWISH", ("alpha", 1.0)),
    "Tan": _Entry("TAN"),
    "Tanh": _Entry("TANH"),
    "ThresholdedRelu": _Entry("THRESHOLDED_RELU", ("alpha", 1.0)),
    "clnn.HardSwish": _Entry("HARD_SWISH", ("alpha", 1 / 6)),
    "clnn.Silu": _Entry("SWISH", 1.0),
}


class _OneInput(Elementwise):
    """Base: exactly one input, of a dtype whose kind the operation takes."""

    def kinds(self, ctx: InferContext) -> str:
        """NumPy's kinds of the dtypes that the operation takes."""
        return "f"

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        return (TensorType(ctx.type(0).shape, self.result_dtype(ctx)),)

    def obstacle(self, ctx: LowerContext) -> str | None:
        return kind_obstacle(ctx, self.kinds(ctx)) or super().obstacle(ctx)


@operator(*_UNARY)
class Unary(_OneInput):
    """Operators that the table describes completely."""

    def kinds(self, ctx: InferContext) -> str:
        return _UNARY[ctx.node.op].kinds

    def operation(self, ctx: LowerContext) -> Operation:
        entry = _UNARY[ctx.node.op]
        constants = (self._constant(ctx, entry.alpha), self._constant(ctx, entry.beta))
        return Operation(entry.op, ctx.type(0).dtype, *constants)

    @staticmethod
    def _constant(ctx: LowerContext, source: tuple[str, float] | float) -> float:
        if isinstance(source, float):
            return source
        name, default = source
        return real(ctx.node, name, ctx.node.attrs.get(name, default))


@operator("Gelu")
class Gelu(_OneInput):
    """x·Φ(x), exactly or with Φ approximated by tanh."""

    def operation(self, ctx: LowerContext) -> Operation:
        approximate = ctx.node.attrs.get("approximate", "none")
        if approximate not in ("none", "tanh"):
            invalid(ctx.node, f"approximate '{approximate}' is neither 'none' nor 'tanh'")
        return Operation("GELU_TANH" if approximate == "tanh" else "GELU", ctx.type(0).dtype)


class _Test(_OneInput):
    """Base: the result is a truth value."""

    def result_dtype(self, ctx: InferContext) -> str:
        return "bool"


@operator("Not")
class Not(_Test):
    def kinds(self, ctx: InferContext) -> str:
        return "b"

    def operation(self, ctx: LowerContext) -> Operation:
        return Operation("NOT", "bool")


@operator("IsNaN")
class IsNaN(_Test):
    def operation(self, ctx: LowerContext) -> Operation:
        return Operation("IS_NAN", ctx.type(0).dtype)


@operator("IsInf")
class IsInf(_Test):
    """Whether an element is one of the infinities that the attributes ask for."""

    def operation(self, ctx: LowerContext) -> Operation:
        # NaN equals nothing, and so stands for an infinity that is not asked for.
        wanted = (
            sign if integer(ctx.node, name, ctx.node.attrs.get(name, 1)) else math.nan
            for name, sign in (("detect_positive", math.inf), ("detect_negative", -math.inf))
        )
        return Operation("IS_EITHER", ctx.type(0).dtype, *wanted)


@operator("Clip")
class Clip(Elementwise):
    """min(max(x, low), high); the bounds are attributes before opset 11, then optional scalar inputs."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        return (TensorType(ctx.type(0).shape, ctx.type(0).dtype),)

    def obstacle(self, ctx: LowerContext) -> str | None:
        return kind_obstacle(ctx, "fiu") or super().obstacle(ctx)

    def operation(self, ctx: LowerContext) -> Operation:
        return Operation("CLIP", ctx.type(0).dtype)

    def operands(self, ctx: LowerContext) -> tuple[Operand, ...]:
        bounds = self._bounds(ctx)
        low, high = (
            Operand(ctx.node.input(index), ctx.type(index))
            if name not in bounds
            else Operand(ctx.local_name(name), TensorType((), ctx.type(0).dtype))
            for index, name in ((1, "min"), (2, "max"))
        )
        return (inputs(ctx)[0], low, high)

    @staticmethod
    def _bounds(ctx: LowerContext) -> dict[str, np.ndarray]:
        """The bounds that are not inputs; by default the limits of the dtype."""
        dtype = np.dtype(ctx.type(0).dtype)
        limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
        defaults = {"min": limits.min, "max": limits.max}
        if dtype.kind == "f" and ctx.node.version >= 11:
            defaults = {"min": -np.inf, "max": np.inf}
        given = {name: real(ctx.node, name, ctx.node.attrs[name]) for name in defaults if name in ctx.node.attrs}
        bounds = {**defaults, **given}.items()
        return {name: np.array(bound, dtype) for i, (name, bound) in enumerate(bounds, 1) if not ctx.node.input(i)}

    def constants(self, ctx: LowerContext) -> Mapping[str, np.ndarray]:
        return {ctx.local_name(name): array for name, array in self._bounds(ctx).items()}
