"""Fusion that depends on the device: what lies between layers stays in the cache of a core, or in its registers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from clnn.devices.info import DeviceInfo
from clnn.graph import Node
from clnn.ops import LowerContext
from clnn.ops.chain import chain
from clnn.ops.separable import separable
from clnn.plan.types import LoweredGraph
from clnn.schedule import HOST


def fuse_separable(lowered: LoweredGraph, devices: dict[str, DeviceInfo]) -> LoweredGraph:
    """Join each depthwise convolution with a 1×1 convolution that alone reads it, where their device has a kernel."""
    graph, schedule = lowered.graph, lowered.schedule
    readers, nodes, fused = graph.consumers(), [], {}
    for node in graph.nodes:
        if node.name in fused:
            nodes.append(fused[node.name])
            continue
        after, place = _sole_conv(readers, node.outputs[0]), schedule.place(node.name)
        if node.op == "Conv" and after and place == schedule.place(after.name) != HOST:
            ctx = LowerContext(node, graph.types, graph.constants, devices[place], lowered.exact)
            joined = separable(ctx, after) if node.outputs[0] not in graph.outputs else None
            if joined is not None:
                fused[after.name] = joined
                continue
        nodes.append(node)
    return replace(lowered, graph=graph.replace(nodes=tuple(nodes)))


def _sole_conv(readers: dict[str, list[Node]], tensor: str) -> Node | None:
    """The convolution whose x the tensor is, if nothing else reads it: neither another node nor its own residual."""
    if len(nodes := readers.get(tensor, ())) != 1 or nodes[0].op != "Conv":
        return None
    return nodes[0] if nodes[0].input(0) == tensor and nodes[0].inputs.count(tensor) == 1 else None


def fuse_chains(lowered: LoweredGraph, devices: dict[str, DeviceInfo]) -> LoweredGraph:
    """Join runs of elementwise nodes, each the only reader of the one before, as long as one kernel computes them."""
    graph, readers = lowered.graph, lowered.graph.consumers()
    nodes, fused, joined = [], {}, set()
    for node in graph.nodes:
        if node.name not in joined:
            run, whole = _longest_chain(node, lowered, devices, readers, joined)
            fused[run[-1].name] = whole
            joined.update(each.name for each in run)
        if node.name in fused:
            nodes.append(fused[node.name])
    return replace(lowered, graph=graph.replace(nodes=tuple(nodes)))


def _longest_chain(
    first: Node,
    lowered: LoweredGraph,
    devices: dict[str, DeviceInfo],
    readers: Mapping[str, list[Node]],
    taken: Collection[str],
) -> tuple[list[Node], Node]:
    """The nodes from ``first`` on that one kernel can compute, and the node that they become together.

    ``taken`` are names of nodes in other chains: two that meet in a node cannot both have it.
    """
    graph, schedule = lowered.graph, lowered.schedule
    run, whole, place = [first], first, schedule.place(first.name)
    while place != HOST:
        result = run[-1].outputs[0]
        followers = readers.get(result, [])
        if len(followers) != 1 or result in graph.outputs or followers[0].name in taken:
            break
        if schedule.place(followers[0].name) != place:
            break
        ctx = LowerContext(first, graph.types, graph.constants, devices[place], lowered.exact)
        longer = chain(ctx, [*run, followers[0]])
        if longer is None:
            break
        run, whole = [*run, followers[0]], longer
    return run, whole
