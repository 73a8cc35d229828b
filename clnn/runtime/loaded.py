"""What the executors of one plan share: programs and constants on the devices."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from clnn.plan import Plan, Run
from clnn.runtime import builders, prebuilt
from clnn.runtime.discovery import OpenDevice
from clnn.runtime.failures import opencl_errors
from clnn.runtime.loader import opencl
from clnn.runtime.memory import upload
from clnn.runtime.programs import ProgramCache


class LoadedPlan:
    """What the executors of one plan share: programs and constants on the devices.

    Raises:
        BuildError: a driver refuses a kernel.
        OutOfMemoryError: a device cannot hold the constants.
    """

    def __init__(self, plan: Plan, devices: Mapping[str, OpenDevice], programs: ProgramCache) -> None:
        self.plan = plan
        self.devices = devices
        runs = [step for step in plan.steps if isinstance(step, Run)]
        self._cache = programs
        self._store_pending = True
        for device, opened in devices.items():
            builders.prepare(plan, device, opened, programs)
        with opencl_errors("loading the network"):
            self._programs = {key: programs.build(devices[key[0]], *key[1:]) for key in map(_program_key, runs)}
            self.constants = self._upload_constants()

    def _upload_constants(self) -> dict[str, dict[str, Any]]:
        """The constants that each device needs; those of one context and memory share the buffers."""
        uploaded: dict[tuple[int, str], dict[str, Any]] = {}
        buffers = {}
        for device, memory in self.plan.memories.items():
            opened = self.devices[device]
            key = opened.context.int_ptr, memory
            if key not in uploaded:
                arrays = self.plan.constants.get(memory, {})
                host_memory = opened.info.host_memory
                uploaded[key] = {name: upload(opened.context, array, host_memory) for name, array in arrays.items()}
            buffers[device] = uploaded[key]
        return buffers

    def with_shares_of(self, plan: Plan) -> LoadedPlan:
        """The same for a plan that differs in the shares of devices alone."""
        other = copy.copy(self)
        other.plan = plan
        return other

    def kernel(self, run: Run) -> Any:
        """A new kernel object for one launch, as its arguments are its own."""
        kernel = opencl().Kernel(self._programs[_program_key(run)], run.launch.kernel.name)
        if self.devices[run.device].binary:
            prebuilt.check(kernel, run.launch, self.devices[run.device])
        return kernel

    def has_run(self) -> None:
        """Put new program binaries on disk after the first run, which completes them (see ``programs``)."""
        if self._store_pending:
            self._store_pending = False
            self._cache.store(self._programs.values())


def _program_key(run: Run) -> tuple[str, str, tuple[str, ...]]:
    return run.device, run.launch.kernel.source, run.launch.options
