"""clnn's own forms of nodes, which passes make, written as ONNX operators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clnn.graph import Node
from clnn.kernels.activation import NO_ACTIVATION, Activation

_FUSED_ATTRS = ("activation", "residual")


def standard_nodes(node: Node) -> tuple[Node, ...]:
    """The ONNX nodes that compute what ``node`` does, in order; itself where it is one.

    The last of them writes the node's output. Tensors between them have names that begin with that of the output.
    """
    if node.op == "clnn.Silu":
        return _silu(node.input(0), node.outputs[0])
    if node.op == "GridSample":
        # The reference operator knows the names of opset 20 only.
        mode = node.attrs.get("mode", "linear")
        return (node.replace(attrs={**node.attrs, "mode": mode.removeprefix("bi")}),)
    if node.op == "clnn.HardSwish":
        return _hard_swish(node.input(0), node.outputs[0], node.attrs["alpha"])
    steps = _epilogue(node)
    if not steps:
        return (node,)
    names = [f"{node.outputs[0]}/step{index}" for index in range(len(steps))]
    attrs = {key: value for key, value in node.attrs.items() if key not in _FUSED_ATTRS}
    own = node.inputs[: 2 if node.op == "MatMul" else 3]
    nodes = [node.replace(inputs=own, outputs=(names[0],), attrs=attrs)]
    for step, source, result in zip(steps, names, [*names[1:], node.outputs[0]], strict=True):
        nodes.extend(step(source, result))
    return tuple(nodes)


_Step = Callable[[str, str], tuple[Node, ...]]
"""Gives the nodes from one tensor to the next."""


def _epilogue(node: Node) -> list[_Step]:
    """What is fused into a node, in order."""
    steps: list[_Step] = []
    activation = node.attrs.get("activation", NO_ACTIVATION)
    residual = node.attrs.get("residual")
    if node.op == "MatMul" and node.input(2):
        steps.append(_adding(node.input(2)))
    if residual == "before":
        steps.append(_adding(node.input(3)))
    if activation != NO_ACTIVATION:
        steps.append(lambda source, result: _activate(activation, source, result, node.input(4)))
    if residual == "after":
        steps.append(_adding(node.input(3)))
    return steps


def _adding(other: str) -> _Step:
    return lambda source, result: (_node("Add", (source, other), result),)


def _activate(activation: Activation, source: str, result: str, slope: str) -> tuple[Node, ...]:
    alpha, beta = activation.alpha, activation.beta
    match activation.kind:
        case "LEAKY_RELU":
            return (_node("LeakyRelu", (source,), result, alpha=alpha),)
        case "PRELU":
            return (_node("PRelu", (source, slope), result),)
        case "HARD_SIGMOID":
            return (_node("HardSigmoid", (source,), result, alpha=alpha, beta=beta),)
        case "HARD_SWISH":
            return _hard_swish(source, result, alpha)
        case "SILU":
            return _silu(source, result)
        case "CLIP":
            return _clip(source, result, alpha, beta)
        case _:  # RELU, SIGMOID, TANH
            return (_node(activation.kind.capitalize(), (source,), result),)


def _silu(source: str, result: str) -> tuple[Node, ...]:
    gate = f"{result}/gate"
    return (_node("Sigmoid", (source,), gate), _node("Mul", (source, gate), result))


def _hard_swish(source: str, result: str, alpha: float) -> tuple[Node, ...]:
    """HardSigmoid is clip(x/6 + 1/2, 0, 1), a sixth of clip(x + 3, 0, 6)."""
    gate, product, factor = (f"{result}/{part}" for part in ("gate", "product", "factor"))
    return (
        _node("HardSigmoid", (source,), gate, alpha=1 / 6, beta=0.5),
        _node("Mul", (source, gate), product),
        _node("Constant", (), factor, value=np.array(6 * alpha, np.float32)),
        _node("Mul", (product, factor), result),
    )


def _clip(source: str, result: str, low: float, high: float) -> tuple[Node, ...]:
    """Clip itself has its bounds in other places from one opset to the next."""
    least, greatest, raised = (f"{result}/{part}" for part in ("low", "high", "raised"))
    return (
        _node("Constant", (), least, value=np.array(low, np.float32)),
        _node("Constant", (), greatest, value=np.array(high, np.float32)),
        _node("Max", (source, least), raised),
        _node("Min", (raised, greatest), result),
    )


def _node(op: str, inputs: tuple[str, ...], output: str, **attrs: object) -> Node:
    return Node(output, op, inputs, (output,), attrs, 13)
