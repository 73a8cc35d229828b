"""Operators that give the same elements another shape: an alias wherever memory allows it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from clnn.graph import CHANNELS_LAST, PLAIN, Dim, Node, TensorType
from clnn.ops.base import Cost, InferContext, Layouts, LowerContext, Lowered, Operator, operator
from clnn.ops.settings import UNKNOWN, axes, computed, integers, invalid, known
from clnn.ops.strided import View, copy, movable


def reshaped_strides(shape: Sequence[int], strides: Sequence[int], target: Sequence[int]) -> tuple[int, ...] | None:
    """Strides that give a tensor another shape without moving an element, or ``None`` if none do.

    Both shapes hold the same number of elements, at least one. Dimensions of size 1 get stride 0. After NumPy's
    ``_attempt_nocopy_reshape``: runs of dimensions of equal size on both sides are matched, and each run of the
    source must be one even progression.
    """
    old = [(size, stride) for size, stride in zip(shape, strides, strict=True) if size != 1]
    result = [0] * len(target)
    new = [axis for axis, size in enumerate(target) if size != 1]
    while old:
        run, group = [old.pop(0)], [new.pop(0)]
        while (have := math.prod(size for size, _ in run)) != (want := math.prod(target[a] for a in group)):
            if have < want:
                run.append(old.pop(0))
            else:
                group.append(new.pop(0))
        for (_, outer), (size, inner) in zip(run, run[1:], strict=False):
            if outer != size * inner:
                return None
        step = run[-1][1]
        for axis in reversed(group):
            result[axis], step = step, step * target[axis]
    return tuple(result)


def free_layout(source: TensorType, target: TensorType) -> str | None:
    """The layout in which ``target``, a reshaped ``source``, is the same memory; ``None`` if there is none."""
    if target.size == 0:
        return PLAIN
    strides = reshaped_strides(source.shape, source.strides, target.shape)
    for layout in (PLAIN, CHANNELS_LAST) if target.rank > 2 else (PLAIN,):
        wanted = target.with_layout(layout).strides
        if strides and all(a == b for a, b, n in zip(strides, wanted, target.shape, strict=True) if n != 1):
            return layout
    return PLAIN if target.size == 1 else None


class _Alias(Operator):
    """Base: the first output is the first input, in the layout in which that takes no work."""

    def cost(self, node: Node, types) -> Cost:
        return Cost(0, 0)

    def obstacle(self, ctx: LowerContext) -> str | None:
        return movable(ctx.type(0))

    def layouts(self, ctx: LowerContext) -> Layouts:
        layout = free_layout(ctx.type(0), ctx.output())
        inputs: list[str | None] = [None] * len(ctx.node.inputs)
        if layout is None:
            inputs[0] = PLAIN
        return Layouts(tuple(inputs), (layout or PLAIN,) * len(ctx.node.outputs))

    def takes_region(self, ctx: LowerContext, index: int) -> bool:
        """Whether the output is the same elements in the same larger tensor."""
        data, result = ctx.type(0), ctx.output()
        if index or result.region is None or (data.home(""), data.offset) != (result.home(""), result.offset):
            return False
        strides = reshaped_strides(data.shape, data.strides, result.shape)
        return strides is not None and all(
            a == b for a, b, n in zip(strides, result.strides, result.shape, strict=True) if n != 1
        )

    def lower(self, ctx: LowerContext) -> Lowered:
        return Lowered(alias={ctx.node.outputs[0]: ctx.node.inputs[0]}, choice="shares the input's memory")


@operator("Reshape")
class Reshape(_Alias):
    """The shape is given: 0 keeps a dimension (unless ``allowzero``), one -1 takes what is left."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data = ctx.type(0)
        wanted = integers(ctx.node, "shape", ctx.setting("shape", 1))
        return (TensorType(self._resolve(ctx.node, data.shape, wanted), data.dtype),)

    @staticmethod
    def _resolve(node: Node, shape: tuple[Dim, ...], wanted: tuple[int, ...]) -> tuple[Dim, ...]:
        if wanted.count(-1) > 1 or min(wanted, default=0) < -1:
            invalid(node, f"{list(wanted)} is not a shape")
        keeps_zero = bool(node.attrs.get("allowzero", 0))
        result: list[Dim] = []
        for axis, dim in enumerate(wanted):
            if dim == 0 and not keeps_zero:
                if axis >= len(shape):
                    invalid(node, f"the shape {list(wanted)} keeps dimension {axis} of {len(shape)}")
                dim = shape[axis]
            result.append(dim)
        if -1 in result:
            where = result.index(-1)
            result[where] = _remaining(node, shape, result[:where] + result[where + 1 :])
        if known(shape) and known(result) and math.prod(shape) != math.prod(result):
            invalid(node, f"{list(shape)} cannot take the shape {list(wanted)}")
        return tuple(result)


def _remaining(node: Node, shape: Sequence[Dim], given: Sequence[Dim]) -> Dim:
    """The dimension that ``given`` leaves of ``shape``; a symbol if exactly one is left and the numbers agree."""
    symbols = [dim for dim in shape if isinstance(dim, str)]
    for dim in given:
        if isinstance(dim, str) and dim != UNKNOWN and dim in symbols:
            symbols.remove(dim)
        elif isinstance(dim, str):
            return UNKNOWN
    have = math.prod(dim for dim in shape if isinstance(dim, int))
    want = math.prod(dim for dim in given if isinstance(dim, int))
    if symbols:
        return symbols[0] if len(symbols) == 1 and have == want else UNKNOWN
    if want == 0 or have % want:
        invalid(node, f"{list(shape)} cannot be divided into {list(given)} and a rest")
    return have // want


@operator("Flatten")
class Flatten(_Alias):
    """Two dimensions: those before ``axis`` and those from it on."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data = ctx.type(0)
        (cut,) = integers(ctx.node, "axis", ctx.node.attrs.get("axis", 1))
        if not -data.rank <= cut <= data.rank:
            invalid(ctx.node, f"axis {cut} is outside a tensor of {data.rank} dimensions")
        cut += data.rank if cut < 0 else 0
        return (TensorType((_product(data.shape[:cut]), _product(data.shape[cut:])), data.dtype),)


def _product(dims: Sequence[Dim]) -> Dim:
    if known(dims):
        return math.prod(dims)
    others = [dim for dim in dims if dim != 1]
    return others[0] if len(others) == 1 else UNKNOWN


@operator("Squeeze")
class Squeeze(_Alias):
    """Without the given dimensions of size 1; without all of them if none are given."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data = ctx.type(0)
        given = ctx.setting("axes", 1)
        if given is None:
            # A symbolic dimension might be 1 or not: then not even the rank is known.
            shape = tuple(dim for dim in data.shape if dim != 1) if known(data.shape) else None
            return (TensorType(shape, data.dtype),)
        gone = axes(ctx.node, given, data.rank)
        for axis in gone:
            if isinstance(data.shape[axis], int) and data.shape[axis] != 1:
                invalid(ctx.node, f"dimension {axis} of {list(data.shape)} is not 1")
        return (TensorType(tuple(dim for axis, dim in enumerate(data.shape) if axis not in gone), data.dtype),)


@operator("Unsqueeze")
class Unsqueeze(_Alias):
    """With dimensions of size 1 at the given places of the result."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data = ctx.type(0)
        given = ctx.setting("axes", 1)
        if given is None:
            invalid(ctx.node, "'axes' is missing")
        rank = data.rank + np.size(given)
        new = axes(ctx.node, given, rank)
        rest = iter(data.shape)
        return (TensorType(tuple(1 if axis in new else next(rest) for axis in range(rank)), data.dtype),)


@operator("Identity")
class Identity(_Alias):
    """The input itself."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data = ctx.type(0)
        return (TensorType(data.shape, data.dtype),)


@operator("Dropout")
class Dropout(_Alias):
    """Inference: the input itself, and a mask of ones (of the input's type before opset 10) where it is used."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data = ctx.type(0)
        mask = TensorType(data.shape, "bool" if ctx.node.version >= 10 else data.dtype)
        return (TensorType(data.shape, data.dtype), mask)[: len(ctx.node.outputs)]

    def obstacle(self, ctx: LowerContext) -> str | None:
        training = ctx.constant(2)
        if (training is not None and training.any()) or computed(ctx, 2):
            return "training mode has no kernel"
        return super().obstacle(ctx)

    def lower(self, ctx: LowerContext) -> Lowered:
        lowered = super().lower(ctx)
        if len(ctx.node.outputs) < 2 or not ctx.node.outputs[1]:
            return lowered
        mask, one = ctx.output(1), ctx.local_name("one")
        launches = copy(
            ctx.device, mask.dtype, mask.shape, View(one, (0,) * mask.rank), View.of(ctx.node.outputs[1], mask)
        )
        return Lowered(launches, {one: np.ones(1, mask.dtype)}, alias=lowered.alias, choice=lowered.choice)
