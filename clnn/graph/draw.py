"""A graph as a drawing: text for Graphviz, whose command ``dot -Tsvg`` makes a picture of it."""

from __future__ import annotations

from collections.abc import Mapping

from clnn.graph.graph import Graph, Node


def to_dot(graph: Graph, places: Mapping[str, str] | None = None) -> str:
    """The graph in the DOT language: a box per node, an arrow per tensor between two of them.

    Args:
        places: where a node runs, by its name; those on the "host" are filled with grey.
    """
    lines = ["digraph {", "  node [shape=box, style=rounded, fontname=sans]", "  edge [fontname=sans, fontsize=10]"]
    sources: dict[str, str] = {}
    for index, name in enumerate(graph.inputs):
        sources[name] = f"in{index}"
        lines.append(f"  in{index} [shape=ellipse, label={_quote(name)}]")
    for index, node in enumerate(graph.nodes):
        fill = ', style="rounded,filled", fillcolor=lightgrey' if (places or {}).get(node.name) == "host" else ""
        lines.append(f"  n{index} [label={_quote(_label(node))}{fill}]")
        lines.extend(_edge(graph, name, sources[name], f"n{index}") for name in node.reads if name in sources)
        sources |= {name: f"n{index}" for name in node.outputs if name}
    for index, name in enumerate(graph.outputs):
        lines.append(f"  out{index} [shape=ellipse, label={_quote(name)}]")
        if name in sources:  # else it is a constant
            lines.append(_edge(graph, name, sources[name], f"out{index}"))
    return "\n".join([*lines, "}", ""])


def _label(node: Node) -> str:
    activation = node.attrs.get("activation")
    return f"{node.op}{f' + {activation}' if activation is not None else ''}\n{node.name}"


def _edge(graph: Graph, name: str, source: str, target: str) -> str:
    return f"  {source} -> {target} [label={_quote(str(graph.types.get(name, '')))}]"


def _quote(text: str) -> str:
    """A DOT string; names come from the model and may hold anything."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
