"""A range of a graph's nodes as a graph of its own."""

from __future__ import annotations

from clnn.graph.graph import Graph


def extract(graph: Graph, start: int, stop: int) -> Graph:
    """The nodes ``start`` to ``stop`` (excluded) of ``graph``, with the constants that they read.

    Its inputs are the tensors that these nodes read and others write, and inputs of ``graph``; its outputs are those
    that later nodes read, and outputs of ``graph``. Tensors that only pass by are neither.
    """
    nodes = graph.nodes[start:stop]
    written = {name for node in nodes for name in node.outputs if name}
    read = dict.fromkeys(name for node in nodes for name in node.reads)
    wanted = {*graph.outputs, *(name for node in graph.nodes[stop:] for name in node.reads)}
    return graph.replace(
        nodes=nodes,
        inputs=tuple(name for name in read if name not in written and name not in graph.constants),
        outputs=tuple(name for node in nodes for name in node.outputs if name in wanted),
        types={name: kind for name, kind in graph.types.items() if name in written or name in read},
        constants={name: array for name, array in graph.constants.items() if name in read},
    )
