"""What runs a network, or a part of one, wherever its device is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from clnn.errors import UsageError
from clnn.plan import Plan
from clnn.runtime import quarantine
from clnn.runtime.balance import Balance
from clnn.runtime.discovery import OpenDevice
from clnn.runtime.executor import Executor
from clnn.runtime.loaded import LoadedPlan
from clnn.runtime.pool import ExecutorPool
from clnn.runtime.programs import ProgramCache
from clnn.schedule import HOST

log = logging.getLogger(__name__)


class Worker(Protocol):
    """Runs one network, or a part of one, on one device; ``run`` may be called from any thread, one run at a time."""

    device: str
    """Id of the device."""

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """Run once.

        Args:
            feeds: an array for each graph input, C-contiguous, of the plan's shapes and dtypes.
            outputs: names of the graph outputs wanted.

        Returns:
            The outputs in the order asked for; the arrays are the caller's.

        Raises:
            DeviceError: the device or its process failed.
            DeadlineError: the run did not finish in time.
            UsageError: the worker is closed.
        """

    def close(self) -> None:
        """Free what the worker holds, once a run in progress is over."""


class LocalWorker:
    """A worker in this process: threads that run at once get an executor each.

    Args:
        plan: what to run.
        devices: the opened devices of the plan, by id.
        programs: where kernels are built.
        timeout_s: seconds after which a run is given up; ``None``: never.
        on_new_shares: called with the plan when a team goes on with other shares than before.

    Raises:
        BuildError: a driver refuses a kernel.
        OutOfMemoryError: a device cannot hold the network.
    """

    def __init__(self, plan: Plan, devices: Mapping[str, OpenDevice], programs: ProgramCache,
                 timeout_s: float | None = None, on_new_shares: Callable[[Plan], None] = lambda plan: None) -> None:
        self.device = ",".join(plan.used_devices) or HOST
        self.plan = plan
        self._used = [devices[device] for device in plan.used_devices]
        self._loaded = LoadedPlan(plan, devices, programs)
        self._balance = Balance() if plan.lowered.schedule.teams else None
        profile = self._balance is not None
        self._on_new_shares = on_new_shares
        self._pool: ExecutorPool | None = ExecutorPool(lambda: Executor(self._loaded, timeout_s, profile))

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """See :class:`Worker`."""
        pool = self._pool
        if pool is None:
            raise UsageError(f"the worker on {self.device} is closed; make a new session")
        quarantine.check(self._used)
        with pool.take() as executor:
            if self._balance is None:
                return executor.run(feeds, outputs)
            executor.adopt(self.plan)
            executor.recording = self._balance.wants_times()
            results = executor.run(feeds, outputs)
            if executor.recording and executor.plan is self.plan:
                self._rebalance(self._balance, executor.timings_ms)
        return results

    def _rebalance(self, balance: Balance, timings_ms: Sequence[tuple[float, float]]) -> None:
        """Go on with better shares once what was measured tells of some."""
        better = balance.note(self.plan, [end - begin for begin, end in timings_ms])
        if better is not None:
            log.info("layers are shared anew among %s, as measured", self.device)
            self.plan, self._loaded = better, self._loaded.with_shares_of(better)
            self._on_new_shares(better)

    def close(self) -> None:
        """See :class:`Worker`."""
        self._pool = None
