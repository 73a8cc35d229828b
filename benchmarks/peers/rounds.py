"""Whose turn it is: every runtime once per round, on the same new input, the slow ones not in every round."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.peers.jobs import PeerError

MIN_RUNS = 3
MAX_PERIOD = 16
SLOW = 4.0
"""How many times the fastest one's time a runtime may take and still run in every round."""


def periods(warm_ms: Mapping[str, float], rounds: int | None = None) -> dict[str, int]:
    """In every how manieth round each runtime takes part, by its time in milliseconds.

    With a number of ``rounds`` none is so large that the runtime would run fewer than ``MIN_RUNS`` times.
    """
    fastest = min(warm_ms.values(), default=1.0)
    most = MAX_PERIOD if rounds is None else min(MAX_PERIOD, max(1, (rounds - 1) // (MIN_RUNS - 1)))
    return {name: min(most, max(1, int(ms / (SLOW * fastest)))) for name, ms in warm_ms.items()}


def order(names: Sequence[str], number: int, every: Mapping[str, int]) -> list[str]:
    """Who runs in round ``number``, in which order.

    The order is rotated from round to round, so that each goes first equally often, and reversed in every other cycle,
    so that none always runs on the caches that the same other one left. The extra step per cycle is for a runtime that
    runs once per cycle, which would have the same place each time.
    """
    cycle = number // len(names)
    start = (number + cycle) % len(names)
    turned = [*names[start:], *names[:start]]
    return [name for name in (reversed(turned) if cycle % 2 else turned) if number % every[name] == 0]


def measure(
    runs: Mapping[str, Callable[[Any], float]],
    new_feeds: Callable[[], Any],
    every: Mapping[str, int],
    *,
    rounds: int | None,
    duration_s: float,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Milliseconds of each run by runtime, and the reasons of those that failed on the way.

    Goes on for ``rounds``, or else for ``duration_s`` seconds and until each has run ``MIN_RUNS`` times.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    failed: dict[str, str] = {}
    began, number = clock(), 0
    while times:
        feeds = new_feeds()
        for name in order(list(runs), number, every):
            if name in failed:
                continue
            try:
                times[name].append(runs[name](feeds))
            except PeerError as error:
                failed[name] = str(error)
                del times[name]
        number += 1
        if number >= rounds if rounds is not None else (
            clock() - began >= duration_s and all(len(taken) >= MIN_RUNS for taken in times.values())
        ):
            break
    return times, failed


def summary(times_ms: Sequence[float]) -> dict[str, float]:
    """Median, 90th percentile and least of times in milliseconds, and how many there are."""
    return {
        "median_ms": float(np.median(times_ms)),
        "p90_ms": float(np.percentile(times_ms, 90)),
        "min_ms": float(min(times_ms)),
        "runs": len(times_ms),
    }


def relative_error(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """The largest difference of two runtimes' floating-point outputs, over the largest value of that output.

    Shapes may differ by dimensions of one, as ncnn has no batches of one.

    Raises:
        PeerError: outputs are missing, of another size, or not finite.
    """
    if len(ours) != len(theirs):
        raise PeerError(f"gives {len(ours)} outputs in place of {len(theirs)}")
    worst = 0.0
    for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if [size for size in a.shape if size != 1] != [size for size in b.shape if size != 1]:
            raise PeerError(f"output {index} has shape {a.shape} in place of {b.shape}")
        if b.dtype.kind != "f" or b.size == 0:
            continue
        b = b.astype(np.float64)
        error = np.abs(a.astype(np.float64).reshape(b.shape) - b).max() / max(np.abs(b).max(), 1e-30)
        if not np.isfinite(error):
            raise PeerError(f"output {index} is not finite")
        worst = max(worst, float(error))
    return worst
