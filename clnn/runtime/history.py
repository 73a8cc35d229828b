"""How long real runs took, remembered across processes: what a prediction is corrected by.

A workload is known by a digest of the network's structure and shapes, the policy, and the devices with their drivers.
Of each the newest runs are kept, and trusted once there are ``TRUSTED`` of them, as StarPU's history-based models do
(Augonnet, Thibault and Namyst, "Automatic calibration of performance models on heterogeneous multicore architectures",
HPPC 2009). Runs are noted in memory and written when the process ends or asks for it, never one by one. Processes that
write at once may lose each other's newest samples, and nothing else: entries are replaced as a whole.
"""

from __future__ import annotations

import atexit
import math
import os
import statistics
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

from clnn.devices.info import DeviceInfo
from clnn.graph import Graph, Node
from clnn.runtime import cachedir, drivers
from clnn.version import VERSION

TRUSTED = 10
"""Runs before a workload's history says anything."""
KEPT = 40
"""Newest runs that are kept of a workload."""
MOST_WORKLOADS = 500
"""Workloads that are kept on disk; the one not written for the longest goes first."""

_FORMAT = "2"


def key_of(graph: Graph, policy: str, devices: Sequence[DeviceInfo]) -> str:
    """The key of a workload; names of tensors and values of weights do not matter, what shapes and attributes do."""
    numbers = {name: index for index, name in enumerate(graph.inputs)}
    parts = [f"{index} {graph.types[name]}" for name, index in numbers.items()]
    for node in graph.nodes:
        read = [numbers.get(name, "-") for name in node.inputs]
        for name in node.outputs:
            numbers[name] = len(numbers)
        types = [str(graph.types[name]) if name else "" for name in (*node.inputs, *node.outputs)]
        parts.append(f"{node.op} {read} {types} {_plain(node)}")
    places = [
        f"{device.platform} {device.driver} {device.name} {device.kind} {device.compute_units} "
        f"{device.slowdown} {device.host_memory} {device.isolated}"
        for device in devices
    ]
    return cachedir.digest("history", _FORMAT, VERSION, policy, drivers.processor(), *parts, "devices", *places)


def _plain(node: Node) -> list[tuple[str, str]]:
    """The attributes that are numbers, texts or tuples of them, and so have one spelling each."""
    return sorted((name, repr(value)) for name, value in node.attrs.items()
                  if isinstance(value, int | float | str | tuple))


class History:
    """Latencies of real runs by workload; safe to use from several threads."""

    def __init__(self, cache_dir: str | None = None) -> None:
        self._store = cachedir.Store("history", cache_dir)
        self._samples: dict[str, list[float]] = {}
        self._new: dict[str, list[float]] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()
        atexit.register(self.write)

    def record(self, key: str, ms: float) -> None:
        """Note that a run of the workload took ``ms`` milliseconds; nothing is written yet."""
        if not (math.isfinite(ms) and ms > 0):
            return
        with self._lock:
            samples = self._known(key)
            samples.append(ms)
            samples[:] = newest_level(samples)
            self._new[key] = [*self._new.get(key, ()), ms][-KEPT:]

    def expected_ms(self, key: str) -> float | None:
        """The median of the workload's newest runs; ``None`` as long as they are fewer than ``TRUSTED``."""
        with self._lock:
            samples = self._known(key)
            return statistics.median(samples) if len(samples) >= TRUSTED else None

    def forget(self, key: str) -> None:
        """Forget all runs of a workload, in memory and on disk."""
        with self._lock:
            self._samples.pop(key, None)
            self._new.pop(key, None)
            self._store.drop(key)

    def write(self) -> None:
        """Add what is new to what is on disk by now, which other processes may have written meanwhile."""
        with self._lock:
            if self._pid != os.getpid():  # a forked child: the samples are its parent's to write
                return
            for key, fresh in self._new.items():
                self._store.put_json(key, newest_level([*_checked(self._store.get_json(key)), *fresh]))
            if self._new:
                self._store.trim(MOST_WORKLOADS)
            self._new.clear()

    def _known(self, key: str) -> list[float]:
        if key not in self._samples:
            self._samples[key] = _checked(self._store.get_json(key))
        return self._samples[key]


@cache
def shared(cache_dir: str | None = None) -> History:
    """The history of this process for a cache folder."""
    return History(cache_dir)


def newest_level(samples: Sequence[float]) -> list[float]:
    """The newest ``KEPT`` samples, and of those only the newest ``TRUSTED`` where they are of another level.

    They are when all lie above, or all below, the middle half of those before: by chance that is one case in 500,000.
    """
    kept = list(samples[-KEPT:])
    before, latest = kept[:-TRUSTED], kept[-TRUSTED:]
    if len(before) >= TRUSTED:
        low, _, high = statistics.quantiles(before, n=4)
        if min(latest) > high or max(latest) < low:
            return latest
    return kept


def _checked(value: Any) -> list[float]:
    """What was read from disk, if it is what ``write`` puts there."""
    valid = isinstance(value, list) and all(isinstance(ms, float) and math.isfinite(ms) and ms > 0 for ms in value)
    return value[-KEPT:] if valid else []
