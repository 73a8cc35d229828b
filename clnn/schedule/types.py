"""The outcome of scheduling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from clnn.schedule.team import Team

HOST = "host"
"""The place of nodes that NumPy computes."""


@dataclass(frozen=True)
class Assignment:
    """A node and the place that runs it: the id of a device or of a team, or ``HOST``. ``reason`` is for people."""

    node: str
    device: str
    reason: str


@dataclass(frozen=True)
class Schedule:
    """One assignment per node, by the node's name, for one inference.

    ``predicted_ms`` is the cost model's estimate of its latency, 0 when the model knows nothing of the device.
    ``teams`` are those that nodes are assigned to, by id, ``order`` the names of all nodes in the order in which they
    are to start, where it is not that of the graph, and ``reason`` why this policy and process were taken, where there
    was a choice.
    """

    assignments: Mapping[str, Assignment]
    policy: str
    predicted_ms: float = 0.0
    teams: Mapping[str, Team] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    reason: str = ""

    def place(self, node: str) -> str:
        """The id of a device or team, or ``HOST``, for a node's name."""
        return self.assignments[node].device

    def members(self, place: str) -> tuple[str, ...]:
        """The devices that work at a place: those of a team, or the one."""
        return self.teams[place].members if place in self.teams else (place,)
