"""Recognition of activations that exporters write out as arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from clnn.graph import Graph, Node
from clnn.passes.match import other_input, scalar
from clnn.passes.rewriter import Rewriter


@dataclass(frozen=True)
class Line:
    """A tensor that is slope·source + offset, and the nodes that compute it."""

    source: str
    slope: float = 1.0
    offset: float = 0.0
    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Ramp:
    """A tensor that is clip(line, low, high), and the nodes that compute it."""

    line: Line
    low: float
    high: float
    nodes: tuple[Node, ...]

    def scaled(self, factor: float, *nodes: Node) -> Ramp:
        """It times a positive factor, which more nodes apply."""
        line = replace(self.line, slope=self.line.slope * factor, offset=self.line.offset * factor)
        return Ramp(line, self.low * factor, self.high * factor, (*self.nodes, *nodes))

    @property
    def is_hard_sigmoid(self) -> bool:
        return self.low == 0 and _close(self.high, 1)

    @property
    def is_hard_swish_gate(self) -> bool:
        """Whether it is a multiple of clip(x + 3, 0, 6)."""
        slope = self.line.slope
        return self.low == 0 and slope > 0 and _close(self.line.offset, 3 * slope) and _close(self.high, 6 * slope)


def recognise_gates(graph: Graph) -> Graph:
    """Put one node for SiLU, HardSwish and HardSigmoid where they are written as several.

    SiLU is x·Sigmoid(x). HardSwish is x·Clip(x + 3, 0, 6) / 6, with the division before, after or between the two
    factors, or written as a multiplication by a 1/6 that may be badly rounded. HardSigmoid is a line clipped
    to 0 and 1.
    """
    rewriter = Rewriter(graph)
    for node in rewriter.walk("Clip", "Mul", "Div"):
        _recognise(rewriter, node)
    return rewriter.graph()


def _recognise(rewriter: Rewriter, node: Node) -> None:
    if not rewriter.is_float32(node.outputs[0]):
        return
    found = _read_silu(rewriter, node) or _read_hard_swish(rewriter, node) or _read_hard_sigmoid(rewriter, node)
    if found is None:
        return
    gate, nodes = found
    # A factor of one element may still have more dimensions than what it multiplies.
    if rewriter.types[gate.inputs[0]] == rewriter.types[gate.outputs[0]]:
        rewriter.replace(nodes, gate)


def _read_silu(rewriter: Rewriter, node: Node) -> tuple[Node, tuple[Node, ...]] | None:
    for source, gate in _factors(node):
        sigmoid = _private_writer(rewriter, gate)
        if sigmoid is not None and sigmoid.op == "Sigmoid" and sigmoid.input(0) == source:
            return Node(node.name, "clnn.Silu", (source,), node.outputs), (sigmoid, node)
    return None


def _read_hard_swish(rewriter: Rewriter, node: Node) -> tuple[Node, tuple[Node, ...]] | None:
    for left, right in _factors(node):
        ramp = _read_ramp(rewriter, right)
        if ramp is None:
            continue
        for line in _read_multiples(rewriter, left):
            whole = ramp.scaled(line.slope, *line.nodes, node)
            if line.source == ramp.line.source and whole.is_hard_swish_gate:
                return _hard_swish(node, line.source, whole.line.slope), whole.nodes
    multiple = _read_multiple(rewriter, node)
    inner = None if multiple is None else _private_writer(rewriter, multiple[0])
    if inner is None or inner.op != "clnn.HardSwish":
        return None
    return _hard_swish(node, inner.input(0), inner.attrs["alpha"] * multiple[1]), (inner, node)


def _hard_swish(node: Node, source: str, alpha: float) -> Node:
    return Node(node.name, "clnn.HardSwish", (source,), node.outputs, {"alpha": alpha})


def _read_hard_sigmoid(rewriter: Rewriter, node: Node) -> tuple[Node, tuple[Node, ...]] | None:
    ramp = _read_ramp_at(rewriter, node)
    if ramp is None or len(ramp.nodes) == 1 or not ramp.is_hard_sigmoid:
        return None
    attrs = {"alpha": ramp.line.slope, "beta": ramp.line.offset}
    return Node(node.name, "HardSigmoid", (ramp.line.source,), node.outputs, attrs, node.version), ramp.nodes


def _read_ramp(rewriter: Rewriter, tensor: str) -> Ramp | None:
    node = _private_writer(rewriter, tensor)
    return None if node is None else _read_ramp_at(rewriter, node)


def _read_ramp_at(rewriter: Rewriter, node: Node) -> Ramp | None:
    """What a node computes as a ramp."""
    if node.op == "HardSigmoid":
        line = Line(node.input(0), node.attrs.get("alpha", 0.2), node.attrs.get("beta", 0.5))
        return Ramp(line, 0.0, 1.0, (node,))
    if node.op == "Clip":
        bounds = clip_bounds(rewriter, node)
        line = _read_line(rewriter, node.input(0))
        return None if bounds is None else Ramp(line, *bounds, (*line.nodes, node))
    multiple = _read_multiple(rewriter, node)
    if multiple is None or multiple[1] <= 0:
        return None
    ramp = _read_ramp(rewriter, multiple[0])
    return None if ramp is None else ramp.scaled(multiple[1], node)


def clip_bounds(rewriter: Rewriter, node: Node) -> tuple[float, float] | None:
    """The bounds of a Clip; ``None`` where they are not constant."""
    bounds = []
    for index, name, default in ((1, "min", -math.inf), (2, "max", math.inf)):
        given = node.input(index)
        bounds.append(scalar(rewriter, given) if given else float(node.attrs.get(name, default)))
    return None if None in bounds else tuple(bounds)


def _read_line(rewriter: Rewriter, tensor: str) -> Line:
    """A tensor as a multiple of another one plus a number; at least as itself."""
    node = _private_writer(rewriter, tensor)
    if node is not None and node.op == "Add":
        for source, added in _factors(node):
            offset = scalar(rewriter, added)
            if offset is not None:
                line = _read_multiples(rewriter, source)[-1]
                return replace(line, offset=offset, nodes=(*line.nodes, node))
    return _read_multiples(rewriter, tensor)[-1]


def _read_multiples(rewriter: Rewriter, tensor: str) -> tuple[Line, ...]:
    """A tensor as a multiple of itself and, where a node makes it so, of another one."""
    node = _private_writer(rewriter, tensor)
    multiple = None if node is None else _read_multiple(rewriter, node)
    return (Line(tensor),) if multiple is None else (Line(tensor), Line(*multiple, nodes=(node,)))


def _read_multiple(rewriter: Rewriter, node: Node) -> tuple[str, float] | None:
    """The tensor and the number that a node multiplies; ``None`` if it does anything else."""
    if node.op == "Div":
        divisor = scalar(rewriter, node.input(1))
        return (node.input(0), 1 / divisor) if divisor else None
    if node.op == "Mul":
        for source, factor in _factors(node):
            value = scalar(rewriter, factor)
            if value is not None:
                return source, value
    return None


def _factors(node: Node) -> Iterator[tuple[str, str]]:
    """The two inputs of a commutative node, in both orders."""
    for tensor in node.inputs if node.op in ("Mul", "Add") else ():
        other = other_input(node, tensor)
        if other is not None:
            yield tensor, other


def _private_writer(rewriter: Rewriter, tensor: str) -> Node | None:
    """The writer of a tensor that one node alone reads, so that it may disappear."""
    return rewriter.writer(tensor) if rewriter.sole_reader(tensor) is not None else None


def _close(value: float, wanted: float) -> bool:
    return math.isclose(value, wanted, rel_tol=1e-6)  # the model's constants are rounded to float32
