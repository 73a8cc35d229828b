"""A graph written out layer by layer, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from clnn.graph.graph import Graph, Node
from clnn.graph.types import TensorType

HOST = "host"
"""The place of nodes that no device runs."""

UNTOLD = "-"
"""Stands for a number or a place that is not known."""


@dataclass(frozen=True)
class Layer:
    """What a table says of one node.

    ``fused`` are the operations merged into it, ``parameters`` the elements of the constants that it reads. ``flops``
    and ``bytes`` are ``None`` where shapes are not known; so is ``place``, a device's id or "host".
    """

    name: str
    op: str
    fused: tuple[str, ...]
    output: str
    shape: tuple[int | str, ...] | None
    dtype: str
    parameters: int
    flops: int | None
    bytes: int | None
    place: str | None
    reason: str


def layers(
    graph: Graph,
    costs: Mapping[str, tuple[int, int]] | None = None,
    places: Mapping[str, tuple[str, str]] | None = None,
) -> list[Layer]:
    """One record per node, in order.

    Args:
        costs: FLOPs and bytes moved by the node's name, of those nodes that have them.
        places: where a node runs and why, by its name.
    """
    return [
        _layer(graph, node, *(costs or {}).get(node.name, (None, None)), *(places or {}).get(node.name, (None, "")))
        for node in graph.nodes
    ]


def _layer(graph: Graph, node: Node, flops: int | None, nbytes: int | None, place: str | None, reason: str) -> Layer:
    output = next(filter(None, node.outputs), "")
    kind = graph.types.get(output, TensorType(None, "?"))
    parameters = sum(graph.constants[name].size for name in node.reads if name in graph.constants)
    return Layer(
        node.name, node.op, _fused(node), output, kind.shape, kind.dtype, parameters, flops, nbytes, place, reason
    )


def _fused(node: Node) -> tuple[str, ...]:
    """What passes have merged into a node, in the order in which it is applied."""
    activation, residual = node.attrs.get("activation"), node.attrs.get("residual")
    parts = [str(activation)] if activation is not None else []
    if residual is not None:
        parts.insert(0 if residual == "before" else 1, "add")
    return tuple(parts)


HEADER = ("layer", "op", "output", "parameters", "MFLOP", "MB", "place", "reason")
NUMBERS = ("parameters", "MFLOP", "MB")
"""Columns of numbers."""


def cells(layer: Layer) -> tuple[str, ...]:
    """The row of a table with the columns ``HEADER``."""
    return (
        _shorten(layer.name),
        " + ".join((layer.op, *layer.fused)),
        str(TensorType(layer.shape, layer.dtype)),
        str(layer.parameters),
        UNTOLD if layer.flops is None else f"{layer.flops / 1e6:.2f}",
        UNTOLD if layer.bytes is None else f"{layer.bytes / 1e6:.3f}",
        layer.place or UNTOLD,
        _shorten(layer.reason) if layer.place == HOST else "",
    )


def _shorten(text: str, width: int = 48) -> str:
    """The end of a long name, which tells it from others of its module."""
    return text if len(text) <= width else f"…{text[1 - width :]}"


def summary(graph: Graph, table: Sequence[Layer]) -> str:
    """Some lines about the whole graph."""
    totals = _totals(graph, table)
    on_host = UNTOLD if totals["on_host"] is None else totals["on_host"]
    lines = [
        f"{totals['layers']} layers ({on_host} on the host), {totals['parameters']} parameters, "
        f"{totals['flops'] / 1e9:.3f} GFLOP, {totals['bytes'] / 1e6:.1f} MB moved"
    ]
    for what, names in (("input", graph.inputs), ("output", graph.outputs)):
        lines.extend(f"{what} {name}: {graph.types.get(name, UNTOLD)}" for name in names)
    return "\n".join(lines)


def as_dict(graph: Graph, table: Sequence[Layer]) -> dict[str, object]:
    """The same as JSON-ready data."""
    return {
        "inputs": [_tensor(graph, name) for name in graph.inputs],
        "outputs": [_tensor(graph, name) for name in graph.outputs],
        "layers": [asdict(layer) for layer in table],
        "totals": _totals(graph, table),
    }


def _tensor(graph: Graph, name: str) -> dict[str, object]:
    kind = graph.types.get(name)
    return {"name": name, "shape": kind and kind.shape, "dtype": kind and kind.dtype}


def _totals(graph: Graph, table: Sequence[Layer]) -> dict[str, int | None]:
    return {
        "layers": len(table),
        "on_host": None if any(layer.place is None for layer in table) else sum(x.place == HOST for x in table),
        "parameters": sum(value.size for value in graph.constants.values()),
        "flops": sum(layer.flops or 0 for layer in table),
        "bytes": sum(layer.bytes or 0 for layer in table),
    }
