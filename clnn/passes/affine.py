"""Folding of what is done to each channel after a product into its weights and bias."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clnn.graph import Graph, Node
from clnn.passes.match import Channels, other_input, product_channels
from clnn.passes.rewriter import Rewriter

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_STEPS = ("BatchNormalization", "Mul", "Div", "Add", "Sub")


@dataclass(frozen=True)
class Affine:
    """scale·x + shift for each channel, in float64; no scale is one of 1."""

    scale: np.ndarray | None
    shift: np.ndarray

    def then(self, following: Affine) -> Affine:
        """This and then another."""
        if following.scale is None:
            return Affine(self.scale, self.shift + following.shift)
        scale = following.scale if self.scale is None else self.scale * following.scale
        return Affine(scale, self.shift * following.scale + following.shift)


def fold_batchnorm(graph: Graph) -> Graph:
    """Fold batch normalisation, and multiplication and addition of constants per channel, into the product before it.

    A batch normalisation with no product before it becomes a multiplication and an addition. The arithmetic is done in
    float64 and rounded once.
    """
    rewriter = Rewriter(graph)
    for node in rewriter.walk(*_PRODUCTS):
        _fold_into(rewriter, node)
    for node in rewriter.walk("BatchNormalization"):
        _expand(rewriter, node)
    return rewriter.graph()


def _fold_into(rewriter: Rewriter, node: Node) -> None:
    channels = product_channels(rewriter, node)
    weights, bias = rewriter.constant(node.input(1)), rewriter.constant(node.input(2))
    if channels is None or (node.input(2) and bias is None):
        return
    chain, affine = _follow(rewriter, node, Affine(None, np.zeros(channels.count)), channels, weights is not None)
    if len(chain) == 1:
        return
    inputs, attrs = [*node.inputs[:2], ""], dict(node.attrs)
    if affine.scale is not None:
        inputs[1] = rewriter.add_constant(f"{node.name}/weights", _scale_weights(node, weights, affine.scale))
    old = np.zeros(1) if bias is None else attrs.pop("beta", 1.0) * bias.astype(np.float64)
    new = old * (1.0 if affine.scale is None else affine.scale) + affine.shift
    inputs[2] = rewriter.add_constant(f"{node.name}/bias", new.astype(np.float32))
    rewriter.replace(chain, node.replace(inputs=tuple(inputs), outputs=chain[-1].outputs[:1], attrs=attrs))


def _scale_weights(node: Node, weights: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The weights with those of each output channel multiplied by its scale."""
    shape = weights.shape
    match node.op:
        case "Conv":
            factors = scale.reshape(-1, *(1,) * (weights.ndim - 1))
        case "ConvTranspose":  # channels in, channels out of one group, *kernel
            groups = node.attrs.get("group", 1)
            weights = weights.reshape(groups, -1, *shape[1:])
            factors = scale.reshape(groups, 1, shape[1], *(1,) * (len(shape) - 2))
        case "Gemm" if node.attrs.get("transB", 0):
            factors = scale[:, None]
        case _:
            factors = scale
    # Computed in float64 and rounded piece by piece, without a float64 copy of the whole.
    scaled = np.empty(weights.shape, np.float32)
    np.multiply(weights, factors, out=scaled, casting="same_kind")
    return scaled.reshape(shape)


def _expand(rewriter: Rewriter, node: Node) -> None:
    """Write a batch normalisation, and what follows it for each channel, as a multiplication and an addition."""
    kind = rewriter.types[node.input(0)]
    if kind.shape is None or kind.rank < 2 or not isinstance(kind.shape[1], int) or kind.dtype != "float32":
        return
    channels = Channels(kind.shape[1], 1, kind.rank)
    first = _read_step(rewriter, node, node.input(0), channels)
    if first is None:
        return
    chain, affine = _follow(rewriter, node, first, channels, True)
    shape = (-1, *(1,) * (kind.rank - 2))
    scale = rewriter.add_constant(f"{node.name}/scale", affine.scale.astype(np.float32).reshape(shape))
    shift = rewriter.add_constant(f"{node.name}/shift", affine.shift.astype(np.float32).reshape(shape))
    scaled = rewriter.add_tensor(f"{node.outputs[0]}/scaled", kind)
    rewriter.replace(
        chain,
        Node(f"{node.name}/scale", "Mul", (node.input(0), scale), (scaled,), {}, node.version),
        Node(f"{node.name}/shift", "Add", (scaled, shift), chain[-1].outputs[:1], {}, node.version),
    )


def _follow(
    rewriter: Rewriter, node: Node, affine: Affine, channels: Channels, may_scale: bool
) -> tuple[list[Node], Affine]:
    """The node and the steps after it that depend on nothing else, and what they make of ``affine`` together."""
    chain = [node]
    while (reader := rewriter.sole_reader(chain[-1].outputs[0])) is not None:
        step = _read_step(rewriter, reader, chain[-1].outputs[0], channels)
        if step is None or (step.scale is not None and not may_scale):
            break
        affine = affine.then(step)
        chain.append(reader)
    return chain, affine


def _read_step(rewriter: Rewriter, node: Node, tensor: str, channels: Channels) -> Affine | None:
    """What a node does to each channel of ``tensor``; ``None`` if it does anything else."""
    if node.op == "BatchNormalization":
        return _read_batchnorm(rewriter, node, tensor, channels)
    operand = other_input(node, tensor) if node.op in _STEPS else None
    value = rewriter.constant(operand) if operand is not None else None
    vector = channels.vector(value) if value is not None else None
    if vector is None:
        return None
    comes_first = node.inputs[0] == tensor
    match node.op:
        case "Add":
            return Affine(None, vector)
        case "Sub":
            return Affine(None, -vector) if comes_first else Affine(np.full(channels.count, -1.0), vector)
        case "Mul":
            return Affine(vector, np.zeros(channels.count))
        case _:  # Div
            return Affine(1 / vector, np.zeros(channels.count)) if comes_first and vector.all() else None


def _read_batchnorm(rewriter: Rewriter, node: Node, tensor: str, channels: Channels) -> Affine | None:
    trains = node.attrs.get("training_mode", 0) or not node.attrs.get("spatial", 1) or len(node.outputs) > 1
    if trains or channels.axis != 1 or node.input(0) != tensor:
        return None
    values = [rewriter.constant(name) for name in node.inputs[1:5]]
    if len(values) < 4 or any(value is None or value.shape != (channels.count,) for value in values):
        return None
    gamma, beta, mean, variance = (value.astype(np.float64) for value in values)
    scale = gamma / np.sqrt(variance + node.attrs.get("epsilon", 1e-5))
    return Affine(scale, beta - mean * scale)
