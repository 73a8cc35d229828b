"""Softmax, LogSoftmax and Hardmax."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from clnn.graph import Node, TensorType
from clnn.ops.arg import argreduce
from clnn.ops.base import Cost, InferContext, Layouts, LowerContext, Lowered, Operator, operator
from clnn.ops.elementwise import Operand, Operation, apply, inputs, output
from clnn.ops.groups import groups, groups_obstacle
from clnn.ops.normalize import normalize, normalize_obstacle, same_layout
from clnn.ops.settings import axis


class _AlongAxis(Operator):
    """Base: elements along one axis form a group; before opset 13, those along the axis and all behind it."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        if ctx.type(0).shape is not None:
            self.axes(ctx)  # a wrong axis is an error of the model, whatever runs the node
        return (TensorType(ctx.type(0).shape, ctx.type(0).dtype),)

    def axes(self, ctx: InferContext) -> tuple[int, ...]:
        rank = ctx.type(0).rank
        one_axis = ctx.node.version >= 13
        first = axis(ctx.node, ctx.node.attrs.get("axis", -1 if one_axis else 1), rank)
        return (first,) if one_axis else tuple(range(first, rank))

    def obstacle(self, ctx: LowerContext) -> str | None:
        data = ctx.type(0)
        return normalize_obstacle(ctx, data) or groups_obstacle(data, self.axes(ctx))

    def layouts(self, ctx: LowerContext) -> Layouts:
        return same_layout(ctx)


@operator("Softmax", "LogSoftmax")
class Softmax(_AlongAxis):
    """exp(x) ÷ its sum over a group, or the logarithm of that."""

    def cost(self, node: Node, types: Mapping[str, TensorType]) -> Cost:
        """A maximum, a subtraction, an exponential, a sum and a product per element."""
        data = types[node.inputs[0]]
        return Cost(5 * data.size, 2 * data.nbytes)

    def lower(self, ctx: LowerContext) -> Lowered:
        norm = "SOFTMAX" if ctx.node.op == "Softmax" else "LOG_SOFTMAX"
        source, target = inputs(ctx)[0], output(ctx)
        return Lowered(normalize(ctx, norm, self.axes(ctx), source, target))


@operator("Hardmax")
class Hardmax(_AlongAxis):
    """1 for the first of the largest elements of a group, 0 for all others."""

    def obstacle(self, ctx: LowerContext) -> str | None:
        if ctx.node.version < 13:
            return "groups over several axes have no kernel"
        return super().obstacle(ctx)

    def lower(self, ctx: LowerContext) -> Lowered:
        source, target = inputs(ctx)[0], output(ctx)
        if target.tensor.size == 0:
            return Lowered()
        (axis,) = self.axes(ctx)
        length = source.tensor.shape[axis]
        kept = tuple(1 if a == axis else dim for a, dim in enumerate(source.tensor.shape))
        best = Operand(ctx.local_name("best"), TensorType(kept, "int64", source.tensor.layout))
        numbers = Operand(
            ctx.local_name("numbers"), TensorType((length,) + (1,) * (source.tensor.rank - 1 - axis), "int64")
        )
        is_best = Operand(ctx.local_name("is_best"), TensorType(target.tensor.shape, "bool", target.tensor.layout))
        launches = (
            *argreduce(ctx, source, groups(source.tensor, (axis,)), best.name),
            *apply(ctx.device, Operation("EQUAL", "int64"), (numbers, best), is_best),
            *apply(ctx.device, Operation("COPY", target.tensor.dtype), (is_best,), target),
        )
        scratch = {operand.name: operand.tensor.nbytes for operand in (best, is_best)}
        return Lowered(launches, constants={numbers.name: np.arange(length, dtype=np.int64)}, scratch=scratch)
