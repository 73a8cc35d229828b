"""Chains of stages: what FPGA-style devices compute in one pass from memory to memory."""

from __future__ import annotations

from dataclasses import replace

from clnn.devices.info import DeviceInfo
from clnn.graph import Node
from clnn.ops import LowerContext
from clnn.ops.dataflow import dataflow
from clnn.plan.types import LoweredGraph


def form_dataflow(lowered: LoweredGraph, devices: dict[str, DeviceInfo]) -> LoweredGraph:
    """Let FPGA-style devices compute by stages what these can, each node with a pool that alone reads it.

    A node that runs with an ordinary kernel gets the reason.
    """
    graph, schedule, readers = lowered.graph, lowered.schedule, lowered.graph.consumers()
    nodes: list[Node] = []
    assignments, joined = dict(schedule.assignments), set()
    for node in graph.nodes:
        device = devices.get(schedule.place(node.name))
        if node.name in joined:
            continue
        if device is None or device.units is None:
            nodes.append(node)
            continue
        ctx = LowerContext(node, graph.types, graph.constants, device, lowered.exact)
        found = dataflow(ctx, [node])
        followers = readers.get(node.outputs[0], [])
        if (
            len(followers) == 1
            and node.outputs[0] not in graph.outputs
            and schedule.place(followers[0].name) == device.id
            and isinstance(longer := dataflow(ctx, [node, followers[0]]), Node)
        ):
            found = longer
            joined.add(followers[0].name)
        if isinstance(found, str):
            old = assignments[node.name]
            assignments[node.name] = replace(old, reason=f"{old.reason}; an ordinary kernel: {found}")
            found = node
        nodes.append(found)
    return replace(
        lowered, graph=graph.replace(nodes=tuple(nodes)), schedule=replace(schedule, assignments=assignments)
    )
