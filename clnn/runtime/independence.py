"""Whether two devices compute side by side on this machine, or take turns at the same cores.

CPU devices may share cores, whatever their drivers say: only a measurement tells. Each device gets a load that computes
and touches no memory, of the same length on both; then

    efficiency = the longer time alone / the time of both together, a host thread each

is 1 where neither slows the other, and 1/2 where they take turns.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from clnn.errors import UsageError
from clnn.runtime import calibration
from clnn.runtime.calibration import Load
from clnn.runtime.discovery import OpenDevice
from clnn.runtime.failures import opencl_errors

THRESHOLD = 0.75
"""The least efficiency of devices that are called independent: halfway between taking turns and being so."""

_ROUNDS = 9
_TRIES = 4
_TARGET_S = 0.05  # several time slices of the operating system


@dataclass(frozen=True)
class Independence:
    """Medians over the rounds: each device's time alone, by its id, and the time of both together.

    ``other_cores`` is how many cores other processes kept busy meanwhile, on average; they count against the devices.
    """

    alone_ms: dict[str, float]
    together_ms: float
    other_cores: float

    @property
    def efficiency(self) -> float:
        """The longer time alone ÷ the time together."""
        return max(self.alone_ms.values()) / self.together_ms

    @property
    def independent(self) -> bool:
        """Whether the devices compute side by side."""
        return self.efficiency >= THRESHOLD


def measure(devices: Sequence[OpenDevice], cache_dir: str | None = None) -> Independence:
    """Measure two devices: alone and together in turn, in several rounds; takes about two seconds.

    Raises :class:`UsageError` when there are not two, :class:`BuildError` or :class:`DeviceError` when one fails.
    """
    if len(devices) != 2:
        raise UsageError(f"independence is measured between two devices, not {len(devices)}: name two, as in "
                         "pocl,intel")
    with opencl_errors("measuring independence"):
        loads = [_load(opened, cache_dir) for opened in devices]
        begun_s, before_s = time.perf_counter(), _others_s()
        with ThreadPoolExecutor(2) as threads:
            rounds = [([load(steps) for load, steps in loads], _together(threads, loads)) for _ in range(_ROUNDS)]
        other_cores = max(0.0, _others_s() - before_s) / (time.perf_counter() - begun_s)
    alone_s = zip(*(alone for alone, _ in rounds), strict=True)
    return Independence(
        {opened.info.id: statistics.median(times) * 1e3 for opened, times in zip(devices, alone_s, strict=True)},
        statistics.median(together for _, together in rounds) * 1e3,
        other_cores)


def _load(opened: OpenDevice, cache_dir: str | None) -> tuple[Load, int]:
    """A load and its number of steps, of the same length on every device."""
    load = calibration.computing(opened, cache_dir)
    steps = calibration.steps_for(load, _TARGET_S)
    return load, max(1, round(steps * _TARGET_S / min(load(steps) for _ in range(_TRIES))))


def _others_s() -> float:
    """Processor time that went to other processes since the machine started, seconds; 0 where nobody tells."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            user, nice, system, _idle, _iowait, *interrupts = map(int, file.readline().split()[1:8])
    except (OSError, ValueError):  # no Linux
        return 0.0
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK") - time.process_time()


def _together(threads: ThreadPoolExecutor, loads: Sequence[tuple[Load, int]]) -> float:
    """Seconds from a common start to the end of the last."""
    start = threading.Barrier(len(loads) + 1)

    def run(load: Load, steps: int) -> float:
        start.wait()
        load(steps)
        return time.perf_counter()

    ends = [threads.submit(run, load, steps) for load, steps in loads]
    start.wait()
    begun = time.perf_counter()
    return max(end.result() for end in ends) - begun
