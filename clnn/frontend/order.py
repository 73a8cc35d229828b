"""Bringing nodes into an order in which each comes after those that it reads from."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence

from clnn.errors import ModelFormatError
from clnn.graph import Node


def sort(nodes: Sequence[Node], known: Collection[str]) -> list[Node]:
    """Sort nodes topologically; those in order already stay as they are.

    ONNX demands sorted nodes, yet converters append casts at the end. After Kahn, "Topological sorting of large
    networks", CACM 1962, taking the first of the nodes that are ready.

    Args:
        known: tensors that no node writes: graph inputs and constants.

    Raises:
        ModelFormatError: a node reads what nothing defines, or nodes wait for each other.
    """
    writer = {name: index for index, node in enumerate(nodes) for name in node.outputs if name}
    waiting: list[int] = []
    readers: dict[int, list[int]] = {}
    for index, node in enumerate(nodes):
        sources = set()
        for name in node.reads:
            if name in writer:
                sources.add(writer[name])
            elif name not in known:
                raise ModelFormatError(f"{node} reads '{name}', which nothing defines; the model is not valid")
        waiting.append(len(sources))
        for source in sources:
            readers.setdefault(source, []).append(index)
    ready = [index for index, count in enumerate(waiting) if not count]
    ordered = []
    while ready:
        index = heapq.heappop(ready)
        ordered.append(nodes[index])
        for reader in readers.get(index, ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if len(ordered) < len(nodes):
        stuck = next(node for node, count in zip(nodes, waiting, strict=True) if count)
        raise ModelFormatError(f"{stuck} waits for its own result; the model is not valid")
    return ordered
