"""ArgMax and ArgMin."""

from __future__ import annotations

from clnn.kernels import Launch
from clnn.kernels.reduce import ARGREDUCE
from clnn.kernels.types import cl_type
from clnn.ops.base import InferContext, LowerContext, Lowered, operator
from clnn.ops.elementwise import Operand, inputs, output
from clnn.ops.groups import Groups, launching
from clnn.ops.reduce import OverAxes
from clnn.ops.settings import axis, integer


def argreduce(
    ctx: LowerContext, source: Operand, found: Groups, target: str, extreme: str = "MAX", *, last: bool = False
) -> tuple[Launch, ...]:
    """The launch that writes the index of each group's extreme element to ``target`` (int64).

    The groups reduce one axis. Among equal elements the first is taken, or the last.
    """
    if found.count == 0:
        return ()
    how = launching(ctx.device, found)
    launch = ARGREDUCE.launch(
        (source.name, target, *how.arguments),
        how.global_size,
        how.local_size,
        EXTREME=extreme,
        AMONG_EQUALS="LAST" if last else "FIRST",
        TYPE=cl_type(source.tensor.dtype),
        **how.params,
    )
    return (launch,)


@operator("ArgMax", "ArgMin")
class ArgReduce(OverAxes):
    """Index (int64) of the largest or smallest element along one axis: the first such, or the last."""

    def axes(self, ctx: InferContext) -> tuple[int, ...] | None:
        return (axis(ctx.node, ctx.node.attrs.get("axis", 0), ctx.type(0).rank),)

    def result_dtype(self, ctx: InferContext) -> str:
        return "int64"

    def obstacle(self, ctx: LowerContext) -> str | None:
        if ctx.type(0).size == 0 and ctx.output().size:
            return "there is no largest element among none"
        return super().obstacle(ctx)

    def lower(self, ctx: LowerContext) -> Lowered:
        last = bool(integer(ctx.node, "select_last_index", ctx.node.attrs.get("select_last_index", 0)))
        extreme = "MAX" if ctx.node.op == "ArgMax" else "MIN"
        return Lowered(argreduce(ctx, inputs(ctx)[0], self.groups(ctx), output(ctx).name, extreme, last=last))
