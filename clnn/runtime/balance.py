"""Watching how evenly devices share the layers of a plan, and when to share them anew."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from clnn.plan import Plan
from clnn.plan.rebalance import rebalance

WARM_UP_RUNS = 2
SAMPLES = 5
"""Runs whose times are looked at together: the shortest of each step counts, as other work only makes it longer."""
PERIOD_RUNS = 50
"""Runs after which the shares are looked at again."""


class Balance:
    """Says which runs of a plan are to be timed, and what shares follow from the times.

    Of every ``PERIOD_RUNS`` runs, ``SAMPLES`` are timed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._samples: list[Sequence[float]] = []

    def wants_times(self) -> bool:
        """Whether the run about to start is to be timed."""
        with self._lock:
            self._runs += 1
            return 0 <= (self._runs - 1 - WARM_UP_RUNS) % PERIOD_RUNS < SAMPLES and self._runs > WARM_UP_RUNS

    def note(self, plan: Plan, times_ms: Sequence[float]) -> Plan | None:
        """Take the times of a run's steps; the plan with better shares, once enough times tell that it has some."""
        with self._lock:
            self._samples.append(times_ms)
            if len(self._samples) < SAMPLES:
                return None
            shortest_ms = [min(own) for own in zip(*self._samples, strict=True)]
            self._samples.clear()
        return rebalance(plan, shortest_ms)
