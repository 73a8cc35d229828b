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

@dataclass(frozen=True)
class Stage:
    """The nodes ``start`` to ``stop`` (excluded) of a graph, which ``device`` runs in a pipeline.

    ``predicted_ms`` includes ``transfer_ms``: moving the tensors that the stage reads and writes at its borders.
    """

    device: str
    start: int
    stop: int
    predicted_ms: float
    transfer_ms: float


@dataclass(frozen=True)
class StreamPlan:
    """How many inferences are shared out to devices: whole ones by ``shares``, or parts of each as ``stages``.

    Attributes:
        shares: fraction of the inferences by device id; empty for a pipeline.
        stages: in the order in which an inference passes them; empty for a batch.
        queue_depth: inferences that wait at most: for a device, or before a stage.
        predicted_ms: from one result to the next, once all devices are at work; 0 when nothing is known.
        reason: for people.
    """

    queue_depth: int
    reason: str
    predicted_ms: float
    shares: Mapping[str, float] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()

    @property
    def policy(self) -> str:
        return "pipeline" if self.stages else "batch"
