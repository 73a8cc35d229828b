"""Fusion that depends on the device: what lies between two layers stays in the cache of a core."""

from __future__ import annotations

from dataclasses import replace

from clnn.devices.info import DeviceInfo
from clnn.graph import Node
from clnn.ops import LowerContext
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
