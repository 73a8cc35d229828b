"""Base of the operators that only move elements, each described as strided views of its inputs and outputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from clnn.devices.model import Work
from clnn.graph import CHANNELS_LAST, PLAIN, Node, TensorType
from clnn.kernels.copy import COPY
from clnn.ops.base import Cost, Layouts, LowerContext, Lowered, Operator
from clnn.ops.strided import View, copy, movable


@dataclass(frozen=True)
class Move:
    """``sizes`` elements go from one view to the other."""

    sizes: tuple[int, ...]
    source: View
    target: View

    @property
    def is_still(self) -> bool:
        """Whether the elements would stay where they are, if both views were of the same memory."""
        strides = zip(self.sizes, self.source.strides, self.target.strides, strict=True)
        return self.source.offset == self.target.offset and all(a == b for size, a, b in strides if size != 1)


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

    def takes_region(self, ctx: LowerContext, index: int) -> bool:
        return type(self).lower is Movement.lower

    def gives_region(self, ctx: LowerContext, index: int) -> bool:
        return type(self).lower is Movement.lower

    def lower(self, ctx: LowerContext) -> Lowered:
        moves = [_placed(ctx, move) for move in self.moves(ctx)]
        if len(moves) == 1 and moves[0].is_still and _are_whole(ctx, moves[0]):
            return Lowered(alias={ctx.node.outputs[0]: moves[0].source.name}, choice="shares the input's memory")
        left = [move for move in moves if not (move.is_still and _share_memory(ctx, move))]
        launches = (copy(ctx.device, ctx.output().dtype, move.sizes, move.source, move.target) for move in left)
        in_place = f"{len(moves) - len(left)} of {len(moves)} parts in place" if len(left) < len(moves) else ""
        choice = ", ".join(filter(None, (in_place, "strided copy" if left else "")))
        moved = sum(math.prod(move.sizes) for move in left)
        work = Work(COPY.name, moved, 2.0 * moved * ctx.output().itemsize)
        return Lowered(tuple(launch for group in launches for launch in group), choice=choice, work=work)


def _placed(ctx: LowerContext, move: Move) -> Move:
    """The move with offsets counted from the beginning of the memory in which the tensors lie."""

    def shift(view: View) -> View:
        return replace(view, offset=view.offset + ctx.types[view.name].offset)

    return replace(move, source=shift(move.source), target=shift(move.target))


def _are_whole(ctx: LowerContext, move: Move) -> bool:
    """Whether the move is from all of a tensor to all of another, each with memory of its own."""
    source, target = ctx.types[move.source.name], ctx.types[move.target.name]
    return source.region is None and target.region is None and source.size == target.size


def _share_memory(ctx: LowerContext, move: Move) -> bool:
    return ctx.types[move.source.name].home(move.source.name) == ctx.types[move.target.name].home(move.target.name)


def following(target: TensorType, sources: Sequence[TensorType]) -> str:
    """Channels last if any of the sources of the target's rank is; so the layout flows through."""
    flows = any(source.layout == CHANNELS_LAST and source.rank == target.rank for source in sources)
    return CHANNELS_LAST if flows and target.rank > 2 else PLAIN
