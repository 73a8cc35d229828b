"""Which bytes of tensors are alive where in a graph, before it is planned."""

from __future__ import annotations

from itertools import accumulate

from clnn.graph import Graph
from clnn.plan.types import LoweredGraph


def crossing_bytes(lowered: LoweredGraph, graph: Graph) -> tuple[list[int], list[int]]:
    """Bytes alive at each node of ``graph``, and bytes that were written before each node and are read from it on.

    Those of a tensor that lies in another one are that one's. Inputs are alive from the start, results to the end.
    """
    types, count = graph.types, len(graph.nodes)
    lives: dict[str, tuple[int, int]] = dict.fromkeys(graph.inputs, (-1, -1))
    touched = [(name, index) for index, node in enumerate(graph.nodes) for name in (*node.reads, *node.outputs)]
    for name, index in [*touched, *((name, count) for name in lowered.outputs.values())]:
        if name and name not in graph.constants and types[name].is_static:
            home = types[name].home(name)
            first, last = lives.get(home, (index, index))
            lives[home] = min(first, index), max(last, index)
    alive, crossing = [0] * (count + 2), [0] * (count + 2)
    for home, (first, last) in lives.items():
        for changes, begin in ((alive, max(0, first)), (crossing, first + 1)):
            if begin <= last:
                changes[begin] += types[home].nbytes
                changes[last + 1] -= types[home].nbytes
    return list(accumulate(alive))[:count], list(accumulate(crossing))[: count + 1]
