"""The mechanism under softmax and the normalisations: statistics of groups applied to their elements."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from clnn.graph import CHANNELS_LAST, PLAIN, TensorType
from clnn.kernels import Launch
from clnn.kernels.reduce import NORMALIZE
from clnn.kernels.types import FLOATS, cl_type, vector_width
from clnn.ops.base import Layouts, LowerContext
from clnn.ops.elementwise import Operand, Operation, apply, dtype_obstacle
from clnn.ops.groups import MAX_DIMS, Groups, groups, launching
from clnn.ops.indexing import broadcast_strides, too_large, walk

_WEIGHTS = {"SOFTMAX": 8, "LOG_SOFTMAX": 8}
"""How much dearer an element is than in a sum: two exponentials."""

_AFFINE = ("NONE", "SCALE", "SCALE_BIAS")
"""Values of the kernel parameter AFFINE, by the number of tensors that it takes."""


@dataclass(frozen=True)
class Statistics:
    """Names of the tensors that receive each group's mean and inverse deviation; ``None`` where nobody wants them."""

    means: str | None = None
    inverses: str | None = None


def normalize(
    ctx: LowerContext,
    norm: str,
    axes: Collection[int],
    source: Operand,
    target: Operand,
    affine: Sequence[Operand] = (),
    *,
    inner: float = 0.0,
    outer: float = 0.0,
    statistics: Statistics = Statistics(),
) -> tuple[Launch, ...]:
    """The launches that normalise ``source`` along ``axes``; ``target`` has the same shape and layout.

    ``norm`` is a value of the kernel parameter NORM, ``inner`` and ``outer`` are its epsilons. ``affine`` are the scale
    and the bias, or the scale alone, where there are any; they broadcast to ``source``.
    """
    found = groups(source.tensor, axes)
    if found.count * found.length == 0:
        return ()
    together = _with_affine(ctx, found, axes, source, affine)
    how = launching(ctx.device, together or found, _WEIGHTS.get(norm, 3))
    beside = affine if together else ()
    steps = [stride for nest in _beside(together) for stride in nest]
    launch = NORMALIZE.launch(
        (
            *(source.name, target.name, statistics.means, statistics.inverses),
            *(*(operand.name for operand in beside), *(None,) * (2 - len(beside))),
            *(*how.arguments, found.length, float(inner), float(outer)),
            *(*steps, *(0,) * (4 * MAX_DIMS - len(steps))),
        ),
        how.global_size,
        how.local_size,
        NORM=norm,
        AFFINE=_AFFINE[len(beside)],
        TYPE=cl_type(source.tensor.dtype),
        **how.params,
    )
    if together or not affine:
        return (launch,)
    operation = Operation("FMA" if len(affine) == 2 else "MUL", target.tensor.dtype)
    return (launch, *apply(ctx.device, operation, (target, *affine), target))


def _with_affine(
    ctx: LowerContext, found: Groups, axes: Collection[int], source: Operand, affine: Sequence[Operand]
) -> Groups | None:
    """The groups with the strides of the scale and bias too; ``None`` if those make the walk longer or slower."""
    if not affine or any(operand.tensor.dtype != source.tensor.dtype for operand in affine):
        return None
    shape, order = source.tensor.shape, source.tensor.order
    strides = (source.tensor.strides, *(broadcast_strides(operand.tensor, shape) for operand in affine))
    kept, reduced = (
        walk(shape, [axis for axis in order if (axis in axes) == is_reduced], *strides) for is_reduced in (False, True)
    )
    together, width = Groups(kept, reduced), vector_width(ctx.device.kind)
    return together if together.fits and together.access(width) == found.access(width) else None


def _beside(together: Groups | None) -> list[tuple[int, ...]]:
    """The strides of the scale along the groups and along the elements of one, then those of the bias."""
    if together is None:
        return []
    kept, reduced = together.kept.pad(MAX_DIMS), together.reduced.pad(MAX_DIMS)
    pairs = zip(kept.strides[1:], reduced.strides[1:], strict=True)
    return [strides for pair in pairs for strides in pair]


def normalize_obstacle(ctx: LowerContext, *tensors: TensorType) -> str | None:
    """Why the kernels cannot normalise tensors of these types, or ``None``."""
    for tensor in tensors:
        if tensor.dtype not in FLOATS:
            return f"dtype {tensor.dtype} has no kernel"
    return dtype_obstacle(ctx, *tensors) or too_large(tensors)


def same_layout(ctx: LowerContext) -> Layouts:
    """Layouts of a node whose first output lies as its first input does; all others are plain."""
    data = ctx.type(0)
    layout = CHANNELS_LAST if data.layout == CHANNELS_LAST and data.rank <= MAX_DIMS + 1 else PLAIN
    others = (PLAIN,) * (len(ctx.node.outputs) - 1)
    return Layouts((layout, *(PLAIN,) * (len(ctx.node.inputs) - 1)), (layout, *others))
