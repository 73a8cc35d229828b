"""Which layers several devices with memories of their own compute together, and which one of them alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.graph import CHANNELS_LAST, Graph, Node, TensorType
from clnn.ops import LowerContext, find
from clnn.ops.rows import ROW_AXIS
from clnn.schedule.cost import CostModel
from clnn.schedule.single import alone, assign, host_reason
from clnn.schedule.team import Team
from clnn.schedule.types import Assignment, Schedule

_WHOLE, _CUT = 0, 1
LEAST_ROWS = 4
"""Rows that each member gets at least, lest there is more to exchange than to compute."""


def split_apart(graph: Graph, devices: Sequence[DeviceInfo], costs: CostModel, team: Team) -> Schedule:
    """Cut those runs of layers whose gain is above what exchanging rows, and bringing tensors together, takes.

    Dynamic programming over the nodes in their order, with two states: on the fastest member, or cut among all.
    """
    members = [device for device in devices if device.id in team.members]
    costing = _Costing(graph, members, costs, team)
    fastest = costing.fastest
    single = alone(graph, fastest, devices, costs)
    chosen, total_ms = costing.best()
    if _CUT not in chosen:
        return replace(single, reason=f"no layer gains by being cut among {' and '.join(team.members)}")
    assignments = {}
    for node, state in zip(graph.nodes, chosen, strict=True):
        if state == _CUT:
            assignments[node.name] = Assignment(node.name, team.id, f"rows for each of {len(members)}")
        else:
            assignments[node.name] = assign(node, graph, fastest, "it gains nothing by being cut", devices)
    return Schedule(assignments, "split", total_ms, {team.id: team})


class _Costing:
    """Predicted times of the nodes of a graph in either state, and of changes between them."""

    def __init__(self, graph: Graph, members: Sequence[DeviceInfo], costs: CostModel, team: Team) -> None:
        self._graph, self._members, self._costs, self._team = graph, members, costs, team
        speeds = dict(zip(team.members, team.info.member_speeds, strict=True))
        self._shares = [speeds[member.id] / sum(speeds.values()) for member in members]
        self.fastest = members[int(np.argmax(self._shares))]
        # How pictures will lie in memory, which operators ask for.
        self._types = {
            name: replace(kind, layout=CHANNELS_LAST) if kind.rank == ROW_AXIS + 2 else kind
            for name, kind in graph.types.items()
            if kind.shape is not None
        }

    def best(self) -> tuple[list[int], float]:
        """The state of each node, and the predicted time of all."""
        reached, previous = np.array([0.0, np.inf]), []
        for node in self._graph.nodes:
            change_ms = self._change_ms(node)
            ways = reached[:, None] + np.array([[0.0, change_ms], [change_ms, 0.0]])
            previous.append(ways.argmin(axis=0))
            reached = ways.min(axis=0) + np.array([self._whole_ms(node), self._cut_ms(node)])
        state = int(reached.argmin())
        total_ms, states = float(reached[state]), []
        for came in reversed(previous):
            states.append(state)
            state = int(came[state])
        return states[::-1], total_ms

    def _whole_ms(self, node: Node) -> float:
        return self._costs.node_ms(node, self._graph.types, self.fastest)

    def _cut_ms(self, node: Node) -> float:
        """The time of the slowest member, with exchanging the rows beside the borders; infinite where it cannot be."""
        exchanged = self._exchanged(node)
        if exchanged is None:
            return np.inf
        computing_ms = max(
            share * self._costs.node_ms(node, self._graph.types, member)
            for share, member in zip(self._shares, self._members, strict=True)
        )
        return computing_ms + sum(map(self._hop_ms, exchanged))

    def _exchanged(self, node: Node) -> list[TensorType] | None:
        """The rows on one side of each border, as tensors, that the members copy; ``None`` where they cannot be cut."""
        results = [self._types.get(name) for name in node.outputs if name]
        if any(kind is None or not kind.is_static or kind.rank != ROW_AXIS + 2 for kind in results):
            return None
        if min(self._shares) * results[0].shape[ROW_AXIS] < LEAST_ROWS:
            return None
        if host_reason(node, self._graph, self._team.info):
            return None
        rows = find(node.op).by_rows(LowerContext(node, self._types, self._graph.constants, self._team.info))
        if rows is None:
            return None
        found = []
        for name, reach in zip(node.inputs, rows.reaches, strict=True):
            seen = 0 if reach is None else max(0, reach.span - reach.stride)
            if seen:
                batch, channels, _, width = self._types[name].shape
                found.append(replace(self._types[name], shape=(batch, channels, seen, width)))
        return found

    def _change_ms(self, node: Node) -> float:
        """The time to bring together, or to share out, what a node reads."""
        return sum(self._hop_ms(self._types[name]) for name in node.reads
                   if name in self._types and name not in self._graph.constants)

    def _hop_ms(self, tensor: TensorType) -> float:
        """The time of a copy from one member to another one, the slowest pair of neighbours."""
        pairs = zip(self._members, self._members[1:], strict=False)
        return max(self._costs.handover_ms(tensor, *pair) for pair in pairs)
