"""The outcome of scheduling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HOST = "host"
"""The place of nodes that NumPy computes."""


@dataclass(frozen=True)
class Assignment:
    """A node and the place that runs it: a device's id, or ``HOST``. ``reason`` is for people."""

    node: str
    device: str
    reason: str


@dataclass(frozen=True)
class Schedule:
    """One assignment per node, by the node's name, for one inference.

    ``predicted_ms`` is the cost model's estimate of its latency, 0 when the model knows nothing of the device.
    """

    assignments: Mapping[str, Assignment]
    policy: str
    predicted_ms: float = 0.0

    def place(self, node: str) -> str:
        """Device id or ``HOST`` for a node's name."""
        return self.assignments[node].device
