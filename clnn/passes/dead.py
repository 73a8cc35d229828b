"""Removal of what no output depends on."""

from __future__ import annotations

from clnn import host
from clnn.graph import Graph, Node


def remove_dead_code(graph: Graph) -> Graph:
    """Remove nodes, optional outputs and constants that nobody reads."""
    read = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if read.isdisjoint(node.outputs):
            continue
        kept.append(_trim(node, read))
        read.update(node.reads)
    constants = {name: value for name, value in graph.constants.items() if name in read}
    alive = {*graph.inputs, *constants, *(name for node in kept for name in node.outputs)}
    types = {name: kind for name, kind in graph.types.items() if name in alive}
    return graph.replace(nodes=tuple(reversed(kept)), types=types, constants=constants)


def _trim(node: Node, read: set[str]) -> Node:
    """The node without the optional outputs that nobody reads."""
    unread = [index for index, name in enumerate(node.outputs) if name not in read]
    if not unread:
        return node
    optional = host.optional_outputs(node)
    outputs = ["" if index in unread and index in optional else name for index, name in enumerate(node.outputs)]
    while not outputs[-1]:
        outputs.pop()
    return node.replace(outputs=tuple(outputs))
