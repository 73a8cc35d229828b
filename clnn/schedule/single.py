"""The policy that puts a whole network on the best of the devices, and what that cannot run on others."""

from __future__ import annotations

from collections.abc import Sequence

from clnn.devices.info import DeviceInfo
from clnn.graph import Graph, Node
from clnn.ops import LowerContext, find
from clnn.schedule.cost import CostModel
from clnn.schedule.policy import policy
from clnn.schedule.types import HOST, Assignment, Schedule


def host_reason(node: Node, graph: Graph, device: DeviceInfo) -> str | None:
    """Why ``device`` cannot run the node, so that the host has to; ``None`` when it can."""
    for name in (*node.reads, *node.outputs):
        if name and not graph.types[name].is_static:
            return f"the shape of '{name}' is known only at run time"
    op = find(node.op)
    if op is None:
        return "no OpenCL kernel for this operator"
    return op.obstacle(LowerContext(node, graph.types, graph.constants, device))


@policy("single")
def single(graph: Graph, devices: Sequence[DeviceInfo], costs: CostModel) -> Schedule:
    """Run every node on the device with the lowest predicted total.

    What that device cannot run goes to the first of the others that can, else to the host. Ties, as between devices of
    unknown speed, go to the first one named.
    """
    candidates = [alone(graph, device, devices, costs) for device in devices]
    return min(candidates, key=lambda schedule: schedule.predicted_ms)


def alone(graph: Graph, device: DeviceInfo, devices: Sequence[DeviceInfo], costs: CostModel) -> Schedule:
    """Every node on ``device``, and what it cannot run on the first of ``devices`` that can, else on the host."""
    only = "the only device in its process" if device.isolated else "the only device"
    reason = only if len(devices) == 1 else f"the fastest of {len(devices)} devices"
    assignments = {node.name: assign(node, graph, device, reason, devices) for node in graph.nodes}
    by_id = {each.id: each for each in devices}
    placed = [(node, by_id[place]) for node in graph.nodes if (place := assignments[node.name].device) != HOST]
    total_ms = sum(costs.node_ms(node, graph.types, where) for node, where in placed)
    return Schedule(assignments, "single", total_ms)


def assign(node: Node, graph: Graph, device: DeviceInfo, reason: str, others: Sequence[DeviceInfo]) -> Assignment:
    """The node on ``device``, for that ``reason``; where that cannot run it, on the first that can, or the host."""
    obstacle = host_reason(node, graph, device)
    if obstacle is None:
        return Assignment(node.name, device.id, reason)
    for other in others:
        if host_reason(node, graph, other) is None:
            return Assignment(node.name, other.id, f"{device.id} cannot: {obstacle}")
    return Assignment(node.name, HOST, obstacle)
