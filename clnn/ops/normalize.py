"""The mechanism under softmax and the normalisations: statistics of groups applied to their elements."""

from __future__ import annotations

from dataclasses import dataclass

from clnn.graph import CHANNELS_LAST, PLAIN, TensorType
from clnn.kernels import Launch
from clnn.kernels.reduce import NORMALIZE
from clnn.kernels.types import FLOATS, cl_type
from clnn.ops.base import Layouts, LowerContext
from clnn.ops.elementwise import Operand, dtype_obstacle
from clnn.ops.groups import MAX_DIMS, Groups, launching
from clnn.ops.indexing import too_large

_WEIGHTS = {"SOFTMAX": 8, "LOG_SOFTMAX": 8}
"""How much dearer an element is than in a sum: two exponentials."""


@dataclass(frozen=True)
class Statistics:
    """Names of the tensors that receive each group's mean and inverse deviation; ``None`` where nobody wants them."""

    means: str | None = None
    inverses: str | None = None


def normalize(
    ctx: LowerContext,
    norm: str,
    found: Groups,
    source: Operand,
    target: Operand,
    *,
    inner: float = 0.0,
    outer: float = 0.0,
    statistics: Statistics = Statistics(),
) -> tuple[Launch, ...]:
    """The launch that normalises the groups of ``source``; ``target`` has the same shape and layout.

    ``norm`` is a value of the kernel parameter NORM, ``inner`` and ``outer`` are its epsilons.
    """
    if found.count * found.length == 0:
        return ()
    how = launching(ctx.device, found, _WEIGHTS.get(norm, 3))
    launch = NORMALIZE.launch(
        (
            *(source.name, target.name, statistics.means, statistics.inverses),
            *(*how.arguments, found.length, float(inner), float(outer)),
        ),
        how.global_size,
        how.local_size,
        NORM=norm,
        TYPE=cl_type(source.tensor.dtype),
        **how.params,
    )
    return (launch,)


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
