"""The policy that lets devices work on different branches of a network at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from clnn.devices.info import DeviceInfo
from clnn.graph import Graph, Node
from clnn.schedule.cost import CostModel
from clnn.schedule.policy import policy
from clnn.schedule.single import assign, host_reason
from clnn.schedule.types import Assignment, Schedule


@policy("heft")
def heft(graph: Graph, devices: Sequence[DeviceInfo], costs: CostModel) -> Schedule:
    """Put each node on the device that finishes it first, those first from which the way to the end is longest.

    The heterogeneous-earliest-finish-time heuristic of Topcuoglu, Hariri and Wu, "Performance-effective and
    low-complexity task scheduling for heterogeneous computing", IEEE TPDS 2002, with insertion into gaps. What no
    device can run goes to the host, and counts for nothing.
    """
    timetable = _Timetable(graph, devices, costs)
    for node in sorted(graph.nodes, key=lambda node: -timetable.rank[node.name]):
        timetable.place(node)
    order = sorted(graph.nodes, key=lambda node: timetable.start_ms[node.name])
    makespan_ms = max(timetable.finish_ms.values(), default=0.0)
    return Schedule(timetable.assignments, "heft", makespan_ms, order=tuple(node.name for node in order))


@dataclass
class _Timetable:
    """When which device runs which node, as far as nodes have been placed."""

    graph: Graph
    devices: Sequence[DeviceInfo]
    costs: CostModel
    assignments: dict[str, Assignment] = field(default_factory=dict)
    start_ms: dict[str, float] = field(default_factory=dict)
    finish_ms: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_id = {device.id: device for device in self.devices}
        self._busy: dict[str, list[tuple[float, float]]] = {device.id: [] for device in self.devices}
        self._producers = self.graph.producers()
        self._node_ms = {
            (node.name, device.id): self.costs.node_ms(node, self.graph.types, device)
            for node in self.graph.nodes
            for device in self.devices
        }
        self.rank = self._ranks()

    def _ranks(self) -> dict[str, float]:
        """Mean time from the start of each node to the end of the network, along the longest way.

        A millionth is added per node, so that nodes without a cost come before those that read them.
        """
        readers, rank = self.graph.consumers(), {}
        for node in reversed(self.graph.nodes):
            after = [reader for name in node.outputs for reader in readers.get(name, ())]
            mean_ms = sum(self._node_ms[node.name, device.id] for device in self.devices) / len(self.devices)
            rank[node.name] = mean_ms + 1e-6 + max((rank[reader.name] for reader in after), default=0.0)
        return rank

    def place(self, node: Node) -> None:
        """Give the node to the device that would finish it first."""
        able = [device for device in self.devices if host_reason(node, self.graph, device) is None]
        if not able:
            ready_ms = max((self._arrival_ms(name, None) for name in node.reads), default=0.0)
            self._note(node, assign(node, self.graph, self.devices[0], "", ()), ready_ms, ready_ms)
            return
        options = sorted((*self._slot(node, device), position) for position, device in enumerate(able))
        (finish_ms, start_ms, position), *others = options
        device = able[position]
        reason = f"finishes at {finish_ms:.2f} ms" if others else "the only device that can"
        if others:
            reason += f", on {able[others[0][2]].id} at {others[0][0]:.2f}"
        self._busy[device.id].append((start_ms, finish_ms))
        self._busy[device.id].sort()
        self._note(node, Assignment(node.name, device.id, reason), start_ms, finish_ms)

    def _note(self, node: Node, assignment: Assignment, start_ms: float, finish_ms: float) -> None:
        self.assignments[node.name] = assignment
        self.start_ms[node.name], self.finish_ms[node.name] = start_ms, finish_ms

    def _slot(self, node: Node, device: DeviceInfo) -> tuple[float, float]:
        """When a device would finish the node, and start it: in the first gap that holds it."""
        start_ms = max((self._arrival_ms(name, device) for name in node.reads), default=0.0)
        length_ms = self._node_ms[node.name, device.id]
        for busy_from_ms, busy_until_ms in self._busy[device.id]:
            if start_ms + length_ms <= busy_from_ms:
                break
            start_ms = max(start_ms, busy_until_ms)
        return start_ms + length_ms, start_ms

    def _arrival_ms(self, name: str, device: DeviceInfo | None) -> float:
        """When a tensor has reached a device, or the host."""
        producer = self._producers.get(name)
        if producer is None:
            return 0.0
        source = self._by_id.get(self.assignments[producer.name].device)
        return self.finish_ms[producer.name] + self.costs.handover_ms(self.graph.types[name], source, device)
