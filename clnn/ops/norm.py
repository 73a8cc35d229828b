"""Batch, instance, group, layer and RMS normalisation and their kin, in inference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from clnn.graph import Node, TensorType
from clnn.ops.base import Cost, InferContext, Layouts, LowerContext, Lowered, Operator, operator
from clnn.ops.elementwise import Elementwise, Operand, Operation, apply, broadcast, following, inputs, output
from clnn.ops.groups import groups_obstacle
from clnn.ops.normalize import Statistics, normalize, normalize_obstacle, same_layout
from clnn.ops.settings import axes as read_axes
from clnn.ops.settings import axis, integer, invalid, real


def _epsilon(ctx: InferContext) -> float:
    return real(ctx.node, "epsilon", ctx.node.attrs.get("epsilon", 1e-5))


def _per_channel(ctx: InferContext, index: int) -> Operand:
    """Input ``index``, one value per channel of input 0, with a shape that broadcasts to it."""
    data, tensor = ctx.type(0), ctx.type(index)
    if data.rank < 2:
        invalid(ctx.node, f"its input {list(data.shape)} has no channels")
    if tensor.shape != (data.shape[1],):
        invalid(ctx.node, f"input {index} has the shape {list(tensor.shape)}; it needs {data.shape[1]} values")
    return Operand(ctx.node.inputs[index], replace(tensor, shape=tensor.shape + (1,) * (data.rank - 2)))


class _Normalization(Operator):
    """Base of operators whose first output has the type of their first input."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        return (TensorType(ctx.type(0).shape, ctx.type(0).dtype),)

    def axes(self, ctx: InferContext) -> tuple[int, ...]:
        """The axes along which elements form a group."""
        raise NotImplementedError

    def cost(self, node: Node, types: Mapping[str, TensorType]) -> Cost:
        """Two sums, a subtraction and a product per element."""
        data = types[node.inputs[0]]
        return Cost(4 * data.size, 2 * data.nbytes)

    def obstacle(self, ctx: LowerContext) -> str | None:
        tensors = [ctx.types[name] for name in ctx.node.inputs if name]
        return normalize_obstacle(ctx, *tensors) or groups_obstacle(ctx.type(0), self.axes(ctx))

    def layouts(self, ctx: LowerContext) -> Layouts:
        return same_layout(ctx)


@operator("BatchNormalization")
class BatchNormalization(Elementwise):
    """(x - mean)·scale / √(variance + ε) + bias per channel, with the statistics of the training."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data, _scale, _bias, mean, _variance = (ctx.type(index) for index in range(5))
        # Further outputs are statistics per channel, of training.
        return (TensorType(data.shape, data.dtype), *(mean,) * (len(ctx.node.outputs) - 1))

    def obstacle(self, ctx: LowerContext) -> str | None:
        if ctx.node.attrs.get("training_mode", 0) or any(ctx.node.outputs[1:]):
            return "training has no kernel"
        return normalize_obstacle(ctx, *(ctx.types[name] for name in ctx.node.inputs))

    def layouts(self, ctx: LowerContext) -> Layouts:
        return following(ctx)

    def lower(self, ctx: LowerContext) -> Lowered:
        source, target = inputs(ctx)[0], output(ctx)
        scale, bias, mean, variance = (_per_channel(ctx, index) for index in (1, 2, 3, 4))
        dtype = source.tensor.dtype
        factor = Operand(ctx.local_name("factor"), TensorType(scale.tensor.shape, dtype))
        shift = Operand(ctx.local_name("shift"), factor.tensor)
        launches = (
            *apply(ctx.device, Operation("BY_DEVIATION", dtype, _epsilon(ctx)), (scale, variance), factor),
            *apply(ctx.device, Operation("SUB_PRODUCT", dtype), (mean, factor, bias), shift),
            *apply(ctx.device, Operation("FMA", dtype), (source, factor, shift), target),
        )
        return Lowered(launches, scratch={operand.name: operand.tensor.nbytes for operand in (factor, shift)})


@operator("InstanceNormalization")
class InstanceNormalization(_Normalization):
    """Each channel of each image on its own, then scale and bias per channel."""

    def axes(self, ctx: InferContext) -> tuple[int, ...]:
        return tuple(range(2, ctx.type(0).rank))

    def lower(self, ctx: LowerContext) -> Lowered:
        source, target = inputs(ctx)[0], output(ctx)
        affine = _per_channel(ctx, 1), _per_channel(ctx, 2)
        return Lowered(
            normalize(ctx, "MEAN_VARIANCE", self.axes(ctx), source, target, affine, inner=_epsilon(ctx))
        )


@operator("GroupNormalization")
class GroupNormalization(_Normalization):
    """Groups of channels of each image; scale and bias per channel, before opset 21 per group."""

    def _split_shape(self, ctx: InferContext) -> tuple[int, ...]:
        """The shape of input 0 with the channels as two dimensions: groups, channels of a group."""
        shape, number = ctx.type(0).shape, integer(ctx.node, "num_groups", ctx.node.attrs.get("num_groups", 0))
        if len(shape) < 3 or number < 1 or shape[1] % number:
            invalid(ctx.node, f"the channels of {list(shape)} do not make {number} groups")
        return (shape[0], number, shape[1] // number, *shape[2:])

    def obstacle(self, ctx: LowerContext) -> str | None:
        self._split_shape(ctx)
        return normalize_obstacle(ctx, *(ctx.types[name] for name in ctx.node.inputs if name))

    def layouts(self, ctx: LowerContext) -> Layouts:
        # Plain: then a group is one stretch of memory.
        return Operator.layouts(self, ctx)

    def lower(self, ctx: LowerContext) -> Lowered:
        split = TensorType(self._split_shape(ctx), ctx.output().dtype)
        source, target = Operand(ctx.node.inputs[0], split), Operand(ctx.node.outputs[0], split)
        affine = [self._along_channels(ctx, index, split) for index in (1, 2)]
        axes = range(2, split.rank)
        return Lowered(normalize(ctx, "MEAN_VARIANCE", axes, source, target, affine, inner=_epsilon(ctx)))

    @staticmethod
    def _along_channels(ctx: LowerContext, index: int, split: TensorType) -> Operand:
        per_group = ctx.node.version < 21
        wanted = split.shape[1:2] if per_group else split.shape[1:3]
        tensor = ctx.type(index)
        if tensor.shape != (math.prod(wanted),):
            invalid(ctx.node, f"input {index} has the shape {list(tensor.shape)}; it needs {math.prod(wanted)} values")
        shape = wanted + (1,) * (split.rank - 1 - len(wanted))
        return Operand(ctx.node.inputs[index], replace(tensor, shape=shape))


class _BehindAxis(_Normalization):
    """Base: all axes from one on form a group; scale and bias broadcast to the input."""

    def axes(self, ctx: InferContext) -> tuple[int, ...]:
        rank = ctx.type(0).rank
        return tuple(range(axis(ctx.node, ctx.node.attrs.get("axis", -1), rank), rank))

    def obstacle(self, ctx: LowerContext) -> str | None:
        shapes = [ctx.types[name].shape for name in ctx.node.inputs if name]
        if broadcast(ctx.node, shapes) != ctx.type(0).shape:
            invalid(ctx.node, f"scale or bias do not broadcast to its input {list(ctx.type(0).shape)}")
        if ctx.node.attrs.get("stash_type", 1) != 1:
            return "statistics in another type than float32 have no kernel"
        return super().obstacle(ctx)


@operator("LayerNormalization")
class LayerNormalization(_BehindAxis):
    """Normalises to mean 0 and variance 1; the statistics are outputs too."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data = ctx.type(0)
        if data.shape is None:
            kept = None
        else:
            axes = self.axes(ctx)
            kept = tuple(1 if a in axes else dim for a, dim in enumerate(data.shape))
        statistics = TensorType(kept, data.dtype if data.dtype == "float64" else "float32")
        return (TensorType(data.shape, data.dtype), statistics, statistics)[: len(ctx.node.outputs)]

    def layouts(self, ctx: LowerContext) -> Layouts:
        # The statistics, which are plain, lie in the order of the groups.
        return same_layout(ctx) if len(ctx.node.outputs) == 1 else Operator.layouts(self, ctx)

    def lower(self, ctx: LowerContext) -> Lowered:
        source, *affine = inputs(ctx)
        names = (*ctx.node.outputs, "", "")
        launches = normalize(
            ctx,
            "MEAN_VARIANCE",
            self.axes(ctx),
            source,
            output(ctx),
            affine,
            inner=_epsilon(ctx),
            statistics=Statistics(names[1] or None, names[2] or None),
        )
        return Lowered(launches)


@operator("RMSNormalization")
class RMSNormalization(_BehindAxis):
    """Divides by the root mean square."""

    def lower(self, ctx: LowerContext) -> Lowered:
        source, scale = inputs(ctx)
        return Lowered(
            normalize(ctx, "ROOT_MEAN_SQUARE", self.axes(ctx), source, output(ctx), [scale], inner=_epsilon(ctx))
        )


@operator("LpNormalization")
class LpNormalization(_Normalization):
    """x divided by the sum of |x|, or by the root of the sum of x², along one axis."""

    def axes(self, ctx: InferContext) -> tuple[int, ...]:
        return (axis(ctx.node, ctx.node.attrs.get("axis", -1), ctx.type(0).rank),)

    def _p(self, ctx: InferContext) -> int:
        return integer(ctx.node, "p", ctx.node.attrs.get("p", 2))

    def obstacle(self, ctx: LowerContext) -> str | None:
        return super().obstacle(ctx) if self._p(ctx) in (1, 2) else "p is neither 1 nor 2"

    def lower(self, ctx: LowerContext) -> Lowered:
        source, target = inputs(ctx)[0], output(ctx)
        return Lowered(normalize(ctx, f"L{self._p(ctx)}", self.axes(ctx), source, target))


@operator("MeanVarianceNormalization")
class MeanVarianceNormalization(_Normalization):
    """(x - mean) / (√variance + 1e-9) over the given axes."""

    def axes(self, ctx: InferContext) -> tuple[int, ...]:
        return read_axes(ctx.node, ctx.node.attrs.get("axes", (0, 2, 3)), ctx.type(0).rank)

    def lower(self, ctx: LowerContext) -> Lowered:
        source, target = inputs(ctx)[0], output(ctx)
        # The epsilon is that of the function that defines the operator in ONNX.
        return Lowered(normalize(ctx, "MEAN_VARIANCE", self.axes(ctx), source, target, outer=1e-9))
