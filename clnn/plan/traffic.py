"""Bytes of activations that a lowered graph moves to and from memory."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

from clnn.graph import Node
from clnn.kernels.copy import COPY
from clnn.plan.types import Chain, LoweredGraph


def moved(node: Node, lowered: LoweredGraph) -> Iterator[tuple[str, int]]:
    """The tensors, but for constants, that the launches of a node read and write, with the bytes; one may come twice.

    What is read more than once by a node counts once: that is what caches are for.
    """
    types, launches = lowered.graph.types, lowered.lowered[node.name].launches
    copies = [launch for launch in launches if launch.kernel is COPY]
    for launch in copies:
        source, target, _, _, *sizes = launch.args[:7]
        nbytes = math.prod(sizes) * types[target].itemsize
        yield from ((name, nbytes) for name in (source, target) if name not in lowered.graph.constants)
    if launches and not copies:
        names = dict.fromkeys((*node.reads, *filter(None, node.outputs)))
        yield from ((name, types[name].nbytes) for name in names if name not in lowered.graph.constants)


def traffic_bytes(
    nodes: Collection[Node], lowered: LoweredGraph, near: Collection[str] = frozenset()
) -> int:
    """Bytes that nodes move to and from tensors in memory; those that lie in tensors ``near`` stay in a cache."""
    types = lowered.graph.types
    return sum(
        nbytes for node in nodes for name, nbytes in moved(node, lowered) if types[name].home(name) not in near
    )


def chain_traffic_bytes(chain: Chain, lowered: LoweredGraph) -> int:
    """Bytes of activations that a chain moves to and from memory, counted launch by launch.

    Those in line buffers do not count where they stay in a cache.
    """
    members = set(chain.members)
    nodes = [node for node in lowered.graph.nodes if node.name in members]
    return traffic_bytes(nodes, lowered, chain.inside if chain.cached else frozenset())
