"""Reductions along axes, and pooling over all of an image, which is the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from clnn.graph import CHANNELS_LAST, PLAIN, Node, TensorType
from clnn.kernels import Launch
from clnn.kernels.reduce import REDUCE
from clnn.kernels.types import cl_type
from clnn.ops.base import Cost, InferContext, Layouts, LowerContext, Lowered, Operator, operator
from clnn.ops.elementwise import Operand, Operation, apply, dtype_obstacle, inputs, kind_obstacle, output
from clnn.ops.groups import MAX_DIMS, Groups, groups, groups_obstacle, launching, parts_wanted
from clnn.ops.indexing import too_large
from clnn.ops.settings import axes as read_axes
from clnn.ops.settings import computed, integer, invalid, unknown_like


@dataclass(frozen=True)
class Reduction:
    """Parameters of the kernel: how elements are folded, what is done to each before, and to the result after."""

    fold_by: str
    before: str = "NONE"
    after: str = "NONE"


_REDUCTIONS: Mapping[str, Reduction] = {
    "ReduceL1": Reduction("SUM", before="ABS"),
    "ReduceL2": Reduction("SUM", before="SQUARE", after="SQRT"),
    "ReduceLogSum": Reduction("SUM", after="LOG"),
    "ReduceMax": Reduction("MAX"),
    "ReduceMean": Reduction("SUM", after="MEAN"),
    "ReduceMin": Reduction("MIN"),
    "ReduceProd": Reduction("PROD"),
    "ReduceSum": Reduction("SUM"),
    "ReduceSumSquare": Reduction("SUM", before="SQUARE"),
}


def reduce(
    ctx: LowerContext, reduction: Reduction, source: str, dtype: str, found: Groups, target: str
) -> tuple[tuple[Launch, ...], dict[str, int]]:
    """Launches that reduce each group of ``source`` to an element of ``target``, and the scratch (bytes) they need.

    Few large groups are cut into parts, which are reduced first.
    """
    if found.count == 0:
        return (), {}
    parts = found.split(parts_wanted(ctx.device, found))
    count = found.length
    if parts.count == found.count or not parts.fits:
        return (_launch(ctx, reduction, source, dtype, found, target, count),), {}
    partial = f"{target}/parts"
    first = _launch(ctx, replace(reduction, after="NONE"), source, dtype, parts, partial, count)
    gathered = Groups.of([(found.count, 1)], [(parts.count // found.count, found.count)])
    second = _launch(ctx, replace(reduction, before="NONE"), partial, dtype, gathered, target, count)
    return (first, second), {partial: parts.count * np.dtype(dtype).itemsize}


def _launch(
    ctx: LowerContext, reduction: Reduction, source: str, dtype: str, found: Groups, target: str, count: int
) -> Launch:
    how = launching(ctx.device, found)
    return REDUCE.launch(
        (source, target, *how.arguments, count),
        how.global_size,
        how.local_size,
        FOLD_BY=reduction.fold_by,
        BEFORE=reduction.before,
        AFTER=reduction.after,
        TYPE=cl_type(dtype),
        **how.params,
    )


class OverAxes(Operator):
    """Base of operators that compute one result, or one per axis, from all elements along some axes.

    A subclass gives ``axes`` and ``keeps``.
    """

    def axes(self, ctx: InferContext) -> tuple[int, ...] | None:
        """The axes, counted from the front; ``None`` if they are computed at run time."""
        raise NotImplementedError

    def keeps(self, ctx: InferContext) -> bool:
        """Whether the result keeps them, with the size 1."""
        return bool(integer(ctx.node, "keepdims", ctx.node.attrs.get("keepdims", 1)))

    def result_dtype(self, ctx: InferContext) -> str:
        return ctx.type(0).dtype

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data, dtype = ctx.type(0), self.result_dtype(ctx)
        if data.shape is None:
            return (TensorType(None, dtype),)
        axes, keeps = self.axes(ctx), self.keeps(ctx)
        if axes is None:
            return (TensorType(unknown_like(data.rank) if keeps else None, dtype),)
        if keeps:
            return (TensorType(tuple(1 if a in axes else dim for a, dim in enumerate(data.shape)), dtype),)
        return (TensorType(tuple(dim for a, dim in enumerate(data.shape) if a not in axes), dtype),)

    def cost(self, node: Node, types: Mapping[str, TensorType]) -> Cost:
        """One operation per element of the input."""
        data = types[node.inputs[0]]
        return Cost(data.size, data.nbytes + sum(types[name].nbytes for name in node.outputs if name))

    def obstacle(self, ctx: LowerContext) -> str | None:
        axes = self.axes(ctx)
        if axes is None:
            return "its axes are computed at run time"
        data = ctx.type(0)
        return dtype_obstacle(ctx, data) or too_large([data]) or groups_obstacle(data, axes)

    def layouts(self, ctx: LowerContext) -> Layouts:
        """Any input; a result of the same rank is in the layout of the input."""
        data, rest = ctx.type(0), (None,) * (len(ctx.node.inputs) - 1)
        if data.rank > MAX_DIMS + 1:
            return Layouts((PLAIN, *rest), (PLAIN,))
        # Without axes to reduce the groups have as many dimensions as there are, unless they are contiguous.
        same = data.layout == CHANNELS_LAST and ctx.output().rank == data.rank
        return Layouts((None, *rest), (CHANNELS_LAST if same else PLAIN,))

    def groups(self, ctx: LowerContext) -> Groups:
        """The groups of input 0, numbered in the order in which the output lies in memory."""
        data, axes = ctx.type(0), self.axes(ctx)
        order = data.order if ctx.output().rank == data.rank else range(data.rank)
        return groups(data, axes, order)


class Reduce(OverAxes):
    """Base of reductions by one launch of the kernel, or two."""

    def reduction(self, ctx: InferContext) -> Reduction:
        raise NotImplementedError

    def obstacle(self, ctx: LowerContext) -> str | None:
        reduction = self.reduction(ctx)
        kinds = "f" if reduction.after in ("SQRT", "LOG") else "fiub" if reduction.fold_by in ("MAX", "MIN") else "fiu"
        return kind_obstacle(ctx, kinds) or super().obstacle(ctx)

    def lower(self, ctx: LowerContext) -> Lowered:
        source, target = inputs(ctx)[0], output(ctx)
        launches, scratch = reduce(
            ctx, self.reduction(ctx), source.name, source.tensor.dtype, self.groups(ctx), target.name
        )
        return Lowered(launches, scratch=scratch)


class _GivenAxes(OverAxes):
    """Base: the axes are an attribute in old opsets, else input 1; by default all."""

    def axes(self, ctx: InferContext) -> tuple[int, ...] | None:
        if computed(ctx, 1):
            return None
        values = ctx.setting("axes", 1)
        if values is None or np.size(values) == 0:
            reduces_all = not ctx.node.attrs.get("noop_with_empty_axes", 0)
            return tuple(range(ctx.type(0).rank)) if reduces_all else ()
        return read_axes(ctx.node, values, ctx.type(0).rank)


@operator(*_REDUCTIONS)
class ReduceAxes(_GivenAxes, Reduce):
    def reduction(self, ctx: InferContext) -> Reduction:
        return _REDUCTIONS[ctx.node.op]


@operator("ReduceLogSumExp")
class ReduceLogSumExp(_GivenAxes):
    """log of the sum of exp(x), by way of the largest element so that nothing overflows."""

    def layouts(self, ctx: LowerContext) -> Layouts:
        # In plain layout the results lie in the same order whether the reduced axes are kept or not.
        return Operator.layouts(self, ctx)

    def obstacle(self, ctx: LowerContext) -> str | None:
        return kind_obstacle(ctx, "f") or super().obstacle(ctx)

    def lower(self, ctx: LowerContext) -> Lowered:
        source, target = inputs(ctx)[0], output(ctx)
        data, dtype, axes = source.tensor, source.tensor.dtype, self.axes(ctx)
        kept_shape = tuple(1 if axis in axes else dim for axis, dim in enumerate(data.shape))
        peak = Operand(ctx.local_name("max"), TensorType(kept_shape, dtype))
        powers = Operand(ctx.local_name("exp"), data)
        total = Operand(ctx.local_name("log"), peak.tensor)
        found = groups(data, axes)
        find, scratch = reduce(ctx, Reduction("MAX"), source.name, dtype, found, peak.name)
        add, more = reduce(ctx, Reduction("SUM", after="LOG"), powers.name, dtype, found, total.name)
        result = Operand(target.name, peak.tensor)
        launches = (
            *find,
            *apply(ctx.device, Operation("EXP_BELOW", dtype), (source, peak), powers),
            *add,
            *apply(ctx.device, Operation("ADD", dtype), (total, peak), result),
        )
        sizes = {operand.name: operand.tensor.nbytes for operand in (peak, powers, total)}
        return Lowered(launches, scratch={**sizes, **scratch, **more})


class _OverImage(Reduce):
    """Base: all axes but the first two are reduced, and kept."""

    def axes(self, ctx: InferContext) -> tuple[int, ...] | None:
        if ctx.type(0).rank < 3:
            invalid(ctx.node, f"its input has {ctx.type(0).rank} dimensions; it needs at least 3")
        return tuple(range(2, ctx.type(0).rank))

    def keeps(self, ctx: InferContext) -> bool:
        return True


@operator("GlobalAveragePool")
class GlobalAveragePool(_OverImage):
    def reduction(self, ctx: InferContext) -> Reduction:
        return Reduction("SUM", after="MEAN")


@operator("GlobalMaxPool")
class GlobalMaxPool(_OverImage):
    def reduction(self, ctx: InferContext) -> Reduction:
        return Reduction("MAX")


@operator("GlobalLpPool")
class GlobalLpPool(_OverImage):
    """(sum of |x|ᵖ)^(1/p), for p = 1 and 2."""

    def _p(self, ctx: InferContext) -> int:
        return integer(ctx.node, "p", ctx.node.attrs.get("p", 2))

    def reduction(self, ctx: InferContext) -> Reduction:
        return Reduction("SUM", before="ABS") if self._p(ctx) == 1 else Reduction("SUM", "SQUARE", "SQRT")

    def obstacle(self, ctx: LowerContext) -> str | None:
        return super().obstacle(ctx) if self._p(ctx) in (1, 2) else "p is neither 1 nor 2"
