"""Bytes of activations that a lowered graph moves to and from memory."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

from clnn.graph import Node
from clnn.kernels.copy import COPY
from clnn.plan.types import Chain, LoweredGraph


def moved(node: Node, lowered: LoweredGraph) -> Iterator[tuple[str, int]]:
    """The tensors that the launches of a node read and write, with the bytes; one may come twice.

    What a node reads more than once counts once: that is what caches are for.
    """
    types, launches = lowered.graph.types, lowered.lowered[node.name].launches
    copies = [launch for launch in launches if launch.kernel.name == COPY.name]
    for launch in copies:
        source, target, _, _, *sizes = launch.args[:7]
        nbytes = math.prod(sizes) * types[target].itemsize
        yield from ((source, nbytes), (target, nbytes))
    if launches and not copies:
        yield from ((name, types[name].nbytes) for name in dict.fromkeys((*node.reads, *filter(None, node.outputs))))


def traffic_bytes(nodes: Collection[Node], lowered: LoweredGraph, near: Collection[str] = frozenset()) -> int:
    """Bytes that nodes move to and from activations in memory; those that lie in tensors ``near`` stay in a cache."""
    graph = lowered.graph
    activations = {*graph.inputs, *(name for node in graph.nodes for name in node.outputs)}
    return sum(
        nbytes
        for node in nodes if node.name in lowered.lowered
        for name, nbytes in moved(node, lowered)
        if name in activations and graph.types[name].home(name) not in near
    )  # fmt: skip


def chain_traffic_bytes(chain: Chain, lowered: LoweredGraph) -> int:
    """Bytes of activations that a chain moves to and from memory, counted launch by launch.

    Those in line buffers do not count where they stay in a cache.
    """
    members = set(chain.members)
    nodes = [node for node in lowered.graph.nodes if node.name in members]
    return traffic_bytes(nodes, lowered, chain.inside if chain.cached else frozenset())


def plan_traffic_bytes(lowered: LoweredGraph) -> int:
    """Bytes of activations that a whole graph moves to and from memory, line buffers that stay in a cache aside."""
    taken = [chain for chain in lowered.chains if chain.taken]
    members = {name for chain in taken for name in chain.members}
    rest = [node for node in lowered.graph.nodes if node.name not in members]
    return traffic_bytes(rest, lowered) + sum(chain_traffic_bytes(chain, lowered) for chain in taken)
