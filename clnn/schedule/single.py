"""The policy that puts a whole network on the best of the devices."""

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
    """Run every node on the device with the lowest predicted total; what it cannot run goes to the host.

    Ties, as between devices of unknown speed, go to the first one named.
    """
    candidates = [_on_device(graph, device, costs, len(devices)) for device in devices]
    return min(candidates, key=lambda schedule: schedule.predicted_ms)


def _on_device(graph: Graph, device: DeviceInfo, costs: CostModel, choices: int) -> Schedule:
    assignments, total_ms = {}, 0.0
    for node in graph.nodes:
        obstacle = host_reason(node, graph, device)
        if obstacle is None:
            total_ms += costs.node_ms(node, graph.types, device)
            reason = "the only device" if choices == 1 else f"the fastest of {choices} devices"
            assignments[node.name] = Assignment(node.name, device.id, reason)
        else:
            assignments[node.name] = Assignment(node.name, HOST, obstacle)
    return Schedule(assignments, "single", total_ms)
