"""Base of the operators that only move elements, each described as strided views of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clnn.graph import CHANNELS_LAST, PLAIN, Node, TensorType
from clnn.ops.base import Cost, Layouts, LowerContext, Lowered, Operator
from clnn.ops.strided import View, copy, movable


@dataclass(frozen=True)
class Move:
    """``sizes`` elements go from one view to the other."""

    sizes: tuple[int, ...]
    source: View
    target: View

    def is_identity(self, source: TensorType, target: TensorType) -> bool:
        """Whether this is all of both tensors, and every element is at its place already."""
        strides = zip(self.sizes, self.source.strides, self.target.strides, strict=True)
        return (
            source.size == target.size
            and self.source.offset == self.target.offset == 0
            and all(a == b for size, a, b in strides if size != 1)
        )


class Movement(Operator):
    """Base: a subclass says which views are copied; memory that is right as it is becomes an alias."""

    def moves(self, ctx: LowerContext) -> Iterable[Move]:
        """The copies that make up the node."""
        raise NotImplementedError

    def cost(self, node: Node, types: Mapping[str, TensorType]) -> Cost:
        """Nothing is computed; what is written was read before."""
        return Cost(0, 2 * sum(types[name].nbytes for name in node.outputs if name))

    def obstacle(self, ctx: LowerContext) -> str | None:
        return movable(*(ctx.types[name] for name in (ctx.node.inputs[0], *ctx.node.outputs) if name))

    def layouts(self, ctx: LowerContext) -> Layouts:
        """Inputs as they come; the outputs follow the first one."""
        layout = following(ctx.output(), (ctx.type(0),))
        return Layouts((None,) * len(ctx.node.inputs), (layout,) * len(ctx.node.outputs))

    def lower(self, ctx: LowerContext) -> Lowered:
        moves = list(self.moves(ctx))
        if len(moves) == 1 and moves[0].is_identity(ctx.types[moves[0].source.name], ctx.output()):
            return Lowered(alias={ctx.node.outputs[0]: moves[0].source.name}, choice="shares the input's memory")
        launches = (copy(ctx.device, ctx.output().dtype, move.sizes, move.source, move.target) for move in moves)
        return Lowered(tuple(launch for group in launches for launch in group), choice="strided copy")


def following(target: TensorType, sources: Sequence[TensorType]) -> str:
    """Channels last if any of the sources of the target's rank is; so the layout flows through."""
    flows = any(source.layout == CHANNELS_LAST and source.rank == target.rank for source in sources)
    return CHANNELS_LAST if flows and target.rank > 2 else PLAIN
