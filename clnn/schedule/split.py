"""The policy that lets several devices compute each layer together."""

from __future__ import annotations

from collections.abc import Sequence

from clnn.devices.info import DeviceInfo
from clnn.graph import Graph
from clnn.schedule.apart import split_apart
from clnn.schedule.cost import CostModel
from clnn.schedule.policy import policy
from clnn.schedule.single import assign, host_reason, single
from clnn.schedule.team import Team, team_of
from clnn.schedule.types import Assignment, Schedule


@policy("split")
def split(graph: Graph, devices: Sequence[DeviceInfo], costs: CostModel) -> Schedule:
    """Run every node on the fastest team of devices that can cut layers among them; this shortens one inference.

    Lowering decides how each layer is cut, and leaves those whole that would not gain. Of a team whose memories lie
    apart, the runs of layers that gain more than their copies take are cut. Without a team it is "single".
    """
    team = best_team(graph, devices, costs)
    if team is None:
        return single(graph, devices, costs)
    if team.apart:
        return split_apart(graph, devices, costs, team)
    assignments, total_ms = {}, 0.0
    for node in graph.nodes:
        obstacle = host_reason(node, graph, team.info)
        if obstacle is None:
            total_ms += costs.team_ms(node, graph, [device for device in devices if device.id in team.members])
            assignments[node.name] = Assignment(node.name, team.id, f"a team of {len(team.members)}")
        else:
            assignments[node.name] = assign(node, graph, team.info, "", devices)
    return Schedule(assignments, "split", total_ms, {team.id: team})


def best_team(graph: Graph, devices: Sequence[DeviceInfo], costs: CostModel) -> Team | None:
    """The team with the most speed: devices of one kind, two or more, those that share memory if there are."""
    teams = []
    for kind in dict.fromkeys(device.kind for device in devices):
        alike = [device for device in devices if device.kind == kind]
        sharing = [device for device in alike if device.host_memory]
        able = sharing if len(sharing) > 1 else alike
        if len(able) > 1:
            speeds = [1.0 / max(costs.graph_ms(graph, device), 1e-6) for device in able]
            teams.append((sum(speeds), team_of(able, speeds)))
    return max(teams, key=lambda candidate: candidate[0])[1] if teams else None
