"""Fusion of what follows a product, an activation and the addition of another tensor, into its last step."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from clnn.graph import Graph, Node
from clnn.kernels.activation import Activation
from clnn.passes.gates import clip_bounds
from clnn.passes.match import Channels, other_input, product_channels
from clnn.passes.rewriter import Rewriter

_PRODUCTS = ("Conv", "Gemm", "MatMul")


def fuse_epilogue(graph: Graph) -> Graph:
    """Fuse an activation and a residual addition, each at most once and in any order, into the product before them.

    The product then has the attribute ``activation``, the slope of PRelu as input 4, and the attribute ``residual``,
    "before" or "after" the activation, with the tensor added as input 3. It takes the place of the last node fused. Of
    two products that are added the later one takes the sum, so that the tensors it waits for do not live longer.
    """
    rewriter = Rewriter(graph)
    for node in rewriter.walk(*_PRODUCTS, backwards=True):
        channels = product_channels(rewriter, node)
        if channels is not None:
            _fuse(rewriter, node, channels)
    return rewriter.graph()


def _fuse(rewriter: Rewriter, node: Node, channels: Channels) -> None:
    fused, chain = node, [node]
    while (reader := rewriter.sole_reader(fused.outputs[0])) is not None:
        step = _with_activation(rewriter, fused, reader, channels) or _with_residual(rewriter, fused, reader, channels)
        if step is None:
            break
        fused = step.replace(outputs=reader.outputs[:1])
        chain.append(reader)
    if len(chain) > 1:
        rewriter.replace(chain, fused)


def _with_activation(rewriter: Rewriter, fused: Node, reader: Node, channels: Channels) -> Node | None:
    """The product with ``reader`` as its activation, if that is one and there is none yet."""
    if "activation" in fused.attrs or fused.attrs.get("residual") == "after" or reader.input(0) != fused.outputs[0]:
        return None
    if reader.op == "PRelu":
        slope = rewriter.constant(reader.input(1))
        if slope is None or channels.vector(slope) is None:
            return None
        inputs = (*_pad(fused.inputs, 4), reader.input(1))
        return fused.with_attrs(activation=Activation("PRELU")).replace(inputs=inputs)
    if reader.op == "Clip":
        bounds = clip_bounds(rewriter, reader)
        return None if bounds is None else fused.with_attrs(activation=Activation("CLIP", *bounds))
    read = _ACTIVATIONS.get(reader.op)
    activation = read(reader.attrs) if read is not None else None
    return None if activation is None else fused.with_attrs(activation=activation)


def _swish(attrs: Mapping) -> Activation | None:
    return Activation("SILU") if attrs.get("alpha", 1.0) == 1.0 else None


_ACTIVATIONS: dict[str, Callable[[Mapping], Activation | None]] = {
    "HardSigmoid": lambda attrs: Activation("HARD_SIGMOID", attrs.get("alpha", 0.2), attrs.get("beta", 0.5)),
    "HardSwish": lambda attrs: Activation("HARD_SWISH", 1 / 6),
    "LeakyRelu": lambda attrs: Activation("LEAKY_RELU", attrs.get("alpha", 0.01)),
    "Relu": lambda attrs: Activation("RELU"),
    "Sigmoid": lambda attrs: Activation("SIGMOID"),
    "Swish": _swish,
    "Tanh": lambda attrs: Activation("TANH"),
    "clnn.HardSwish": lambda attrs: Activation("HARD_SWISH", attrs["alpha"]),
    "clnn.Silu": lambda attrs: Activation("SILU"),
}
"""Operators that are an activation, and how their attributes make one."""


def _with_residual(rewriter: Rewriter, fused: Node, reader: Node, channels: Channels) -> Node | None:
    """The product with the other input of ``reader``, an addition of equal shapes, as its residual."""
    if "residual" in fused.attrs or reader.op not in ("Add", "Sum"):
        return None
    other = other_input(reader, fused.outputs[0])
    kind = rewriter.types[reader.outputs[0]]
    # Two dimensions that are both unknown may differ.
    if other is None or "?" in kind.shape or not rewriter.types[other] == rewriter.types[fused.outputs[0]] == kind:
        return None
    if fused.op == "Gemm" and fused.input(2) and not _is_bias(rewriter, fused, channels):
        return None  # the epilogue adds one matrix, and C is one already
    inputs = (*_pad(fused.inputs, 3), other, *fused.inputs[4:])
    return fused.with_attrs(residual="after" if "activation" in fused.attrs else "before").replace(inputs=inputs)


def _is_bias(rewriter: Rewriter, fused: Node, channels: Channels) -> bool:
    bias = rewriter.constant(fused.input(2))
    return bias is not None and channels.vector(bias) is not None and fused.attrs.get("beta", 1.0) == 1.0


def _pad(inputs: tuple[str, ...], count: int) -> tuple[str, ...]:
    """The first ``count`` inputs, those left out as ""."""
    return (*inputs, *("",) * count)[:count]
