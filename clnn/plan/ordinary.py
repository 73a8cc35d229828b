"""What a lowered node means, as nodes that the host can evaluate."""

from __future__ import annotations

from clnn.graph import Node
from clnn.ops.chain import OP as CHAIN
from clnn.ops.chain import stages
from clnn.ops.dataflow import OP as DATAFLOW
from clnn.ops.rows import WHOLE
from clnn.ops.separable import SEPARABLE, parts
from clnn.plan.layout import RELAYOUT


def ordinary(node: Node) -> tuple[Node, ...]:
    """The nodes that compute what ``node`` does, in order, each of a kind that ``host.evaluate`` knows.

    What passes have fused into a product it knows itself; what lowering joins is taken apart here. A band of rows is
    computed by a node like any other.
    """
    node = _unmarked(node)
    if node.op == RELAYOUT:  # where elements lie in memory is no matter on the host
        return (Node(node.name, "Identity", node.inputs, node.outputs, version=13),)
    if node.op == CHAIN:
        return tuple(stages(node))
    if node.op == DATAFLOW:
        return tuple(part.replace(inputs=_given(part.inputs)) for part in stages(node))
    if node.op == SEPARABLE:
        return tuple(_unmarked(part).replace(inputs=_given(part.inputs)) for part in parts(node))
    return (node,)


def _unmarked(node: Node) -> Node:
    """The node without the one of which it computes a band."""
    return node.replace(attrs={name: value for name, value in node.attrs.items() if name != WHOLE})


def _given(inputs: tuple[str, ...]) -> tuple[str, ...]:
    """Inputs without those left out at the end, which a convolution of ONNX does not have."""
    while not inputs[-1]:
        inputs = inputs[:-1]
    return inputs
