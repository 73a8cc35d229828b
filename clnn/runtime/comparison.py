"""Trials: plans of one network run in turn, so that whatever else the machine does holds up all of them alike.

What came of a trial is kept in the cache folder, so that it is held once per workload and not in every process.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clnn.errors import DeviceError, ResourceError
from clnn.runtime import cachedir
from clnn.runtime.worker import Worker
from clnn.schedule.auto import settled

log = logging.getLogger("clnn")

BUDGET_S = 1.0
"""Time after which a trial ends, once all have run twice."""
MOST_TRIALS = 500
"""Trials that are kept on disk; the oldest goes first."""

_KIND = "trials"

Samples = Mapping[str, Sequence[float]]
"""What the runs of each contender took in milliseconds, by its name."""


def compare(workers: Mapping[str, Worker], feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> Samples:
    """Run all workers in turn until it is clear what comes of it, and return what each run took.

    The first run of each, which completes its programs, does not count, and nor does the first of every two that follow
    one another: it finds the caches full of another's weights. One that fails is left out, with a warning.

    Raises:
        ClnnError: the inference itself fails, as it may on feeds that are made up.
    """
    samples: dict[str, list[float]] = {}
    for name, worker in workers.items():
        if _run_ms(name, worker, feeds, outputs) is not None:
            samples[name] = []
    started = time.perf_counter()
    while samples and not settled(samples):
        for name in list(samples):
            took_ms = [_run_ms(name, workers[name], feeds, outputs) for _ in range(2)][-1]
            if took_ms is None:
                del samples[name]
            else:
                samples[name].append(took_ms)
        if time.perf_counter() - started > BUDGET_S and min(map(len, samples.values()), default=0) > 1:
            break
    return samples


def _run_ms(name: str, worker: Worker, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> float | None:
    """What a run takes; ``None`` when the device fails."""
    started = time.perf_counter()
    try:
        worker.run(feeds, outputs)
    except (DeviceError, ResourceError) as error:
        log.warning("%s cannot be used: %s", name, error)
        return None
    return (time.perf_counter() - started) * 1e3


def recall(key: str, cache_dir: str | None = None) -> Samples:
    """What came of an earlier trial of a workload (see ``history.key_of``); empty when there was none."""
    kept = cachedir.Store(_KIND, cache_dir).get_json(key)
    return kept if isinstance(kept, dict) and all(map(_are_times, kept.values())) else {}


def remember(key: str, samples: Samples, cache_dir: str | None = None) -> None:
    """Keep what came of a trial, in place of an earlier one."""
    store = cachedir.Store(_KIND, cache_dir)
    store.put_json(key, dict(samples))
    store.trim(MOST_TRIALS)


def _are_times(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(
        isinstance(ms, float) and math.isfinite(ms) and ms > 0 for ms in value)
