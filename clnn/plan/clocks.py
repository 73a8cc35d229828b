"""Which steps have surely ended when another one starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from clnn.plan.types import Host, Step


class Clocks:
    """Steps in the order in which one thread enqueues them, each with a vector clock of the queues.

    Steps of one queue run in order, those of two only where one waits for the other. A clock holds, by queue, the last
    step that has ended (Fidge, "Timestamps in message-passing systems that preserve the partial ordering", 1988;
    Mattern, "Virtual time and global states of distributed systems", 1989).
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._queues: list[str] = []
        self._known: list[dict[str, int]] = []
        self._latest: dict[str, int] = {}
        self._enqueuer: dict[str, int] = {}

    def add(self, step: Step, queue: str, after: Iterable[int]) -> int:
        """Append ``step``, to wait for the steps ``after``; those that have ended anyway need no waiting."""
        known = dict(self._enqueuer)
        previous = self._latest.get(queue)
        if previous is not None:
            _join(known, self._known[previous])
            known[queue] = previous
        waits_for = [other for other in self.latest(after) if other > known.get(self._queues[other], -1)]
        for other in waits_for:
            _join(known, self._known[other])
            known[self._queues[other]] = max(other, known.get(self._queues[other], -1))
        if isinstance(step, Host):
            # The thread that enqueues computes it: all that comes later starts after what it waited for.
            _join(self._enqueuer, known)
            self._enqueuer[queue] = len(self.steps)
        self._latest[queue] = len(self.steps)
        self._known.append(known)
        self._queues.append(queue)
        self.steps.append(replace(step, waits_for=tuple(waits_for)))
        return len(self.steps) - 1

    def latest(self, steps: Iterable[int]) -> tuple[int, ...]:
        """The last one of ``steps`` in each queue: the others have ended when it has."""
        last: dict[str, int] = {}
        for step in steps:
            queue = self._queues[step]
            last[queue] = max(step, last.get(queue, -1))
        return tuple(sorted(last.values()))

    def queue(self, step: int) -> str:
        """The queue of a step."""
        return self._queues[step]

    def known(self, step: int) -> dict[str, int]:
        """The last step of each queue that has ended when ``step`` starts."""
        return self._known[step]

    @property
    def concurrent(self) -> bool:
        """Whether devices have more than one queue, so that steps may run at once."""
        return len({step.device for step in self.steps if not isinstance(step, Host)}) > 1


def _join(clock: dict[str, int], other: dict[str, int]) -> None:
    for queue, step in other.items():
        clock[queue] = max(step, clock.get(queue, -1))
