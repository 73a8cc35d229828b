"""Removal of nodes whose result is what they were given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clnn.graph import Graph
from clnn.ops import InferContext
from clnn.passes.rewriter import Rewriter


def remove_identities(graph: Graph) -> Graph:
    """Remove nodes that change nothing, such as Identity, Dropout, and Reshape to the shape that is already there."""
    rewriter = Rewriter(graph)
    for node in rewriter.walk(*_CHANGES_NOTHING):
        ctx = InferContext(node, rewriter.types, rewriter.constants)
        same = rewriter.types[node.outputs[0]] == rewriter.types[node.input(0)]
        # A static shape, because two dimensions that are both unknown may differ.
        if same and len(node.outputs) == 1 and ctx.type(0).is_static and _CHANGES_NOTHING[node.op](ctx):
            rewriter.forward(node)
    return rewriter.graph()


def _always(ctx: InferContext) -> bool:
    return True


def _infers(ctx: InferContext) -> bool:
    """Dropout: not in training."""
    training = ctx.node.input(2)
    return not training or (training in ctx.constants and not ctx.constants[training].any())


def _keeps_order(ctx: InferContext) -> bool:
    """Transpose: every axis stays where it is."""
    rank = ctx.type(0).rank
    order = ctx.node.attrs.get("perm", tuple(reversed(range(rank))))
    return list(order) == list(range(rank))


def _goes_forward(ctx: InferContext) -> bool:
    """Slice: of a whole dimension only a step of 1 or -1 leaves the whole."""
    if ctx.node.version < 10 or not ctx.node.input(4):
        return True
    steps = ctx.constant(4)
    return steps is not None and bool((steps > 0).all())


def _pads_nothing(ctx: InferContext) -> bool:
    """Pad: without widths; a positive and a negative one may cancel out in the shape."""
    pads = ctx.node.attrs.get("pads", ctx.constant(1))
    return pads is not None and not np.any(pads)


def _is_alone(ctx: InferContext) -> bool:
    return len(ctx.node.inputs) == 1


_CHANGES_NOTHING: dict[str, Callable[[InferContext], bool]] = {
    **dict.fromkeys(("Identity", "Cast", "CastLike", "Reshape", "Flatten", "Squeeze", "Unsqueeze"), _always),
    **dict.fromkeys(("Expand", "Tile"), _always),
    **dict.fromkeys(("Concat", "Sum", "Max", "Min", "Mean"), _is_alone),
    "Dropout": _infers,
    "Pad": _pads_nothing,
    "Slice": _goes_forward,
    "Transpose": _keeps_order,
}
"""Operators that change nothing when the result has the type of the input and the condition holds."""
