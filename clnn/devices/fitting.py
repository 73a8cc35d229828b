"""From measured launches to the curves of a device's model."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from clnn.devices.model import Curve, Link, Work

Sample = tuple[Work, float]
"""What a launch had to do, and the milliseconds that it took."""

_SIZES_PER_POINT = 4.0
"""Launches whose sizes are within this factor make up one point of a curve."""
_SHORTEST_MS = 1e-4  # clocks of profiling tick in nanoseconds, and may tell 0


def undisturbed_ms(samples_ms: Sequence[float]) -> float:
    """What something takes that was timed several times: the lower quartile, of fewer than four times the median.

    Other work on the machine only makes it longer, and often for several runs.
    """
    count = len(samples_ms)
    return sorted(samples_ms)[min((count - 1) // 2, max(count // 4, 1))]


def fit_curve(points: Iterable[tuple[float, float]]) -> Curve:
    """The rate over the size of a launch, from (size, ms) of launches; there must be one of a size above 0.

    A point's rate is all that its launches did by all the time that they took, without those that took more than twice
    as long as the median one would: other work on the machine held them up.
    """
    buckets: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for size, ms in points:
        if size > 0:
            buckets[math.floor(math.log(size, _SIZES_PER_POINT))].append((size, max(ms, _SHORTEST_MS)))
    curve = []
    for _, launches in sorted(buckets.items()):
        middle = statistics.median(size / ms for size, ms in launches)
        sound = [(size, ms) for size, ms in launches if size / ms >= middle / 2]
        total, total_ms = (sum(column) for column in zip(*sound, strict=True))
        curve.append((total / len(sound), total / total_ms))
    return Curve(tuple(curve))


def fit_rates(samples: Sequence[Sample]) -> tuple[dict[str, Curve], Curve]:
    """The rates by kind of work, and the bandwidth, of a device that took this long; operations and bytes per ms.

    Launches without operations tell the bandwidth. Kinds that do less than one operation per byte stand for all others
    that were not measured.
    """
    by_kind: dict[str, list[tuple[float, float]]] = defaultdict(list)
    moving, others = [], []
    for work, ms in samples:
        if work.operations <= 0:
            moving.append((work.bytes, ms))
            continue
        by_kind[work.kind].append((work.operations, ms))
        if work.operations < work.bytes:
            others.append((work.operations, ms))
    rates = {kind: fit_curve(points) for kind, points in by_kind.items()}
    if others:
        rates[""] = fit_curve(others)
    return rates, fit_curve(moving)


def fit_link(source: str, destination: str, samples: Sequence[tuple[float, float]]) -> Link:
    """The link between two places from (bytes, ms) of transfers of at least two sizes.

    Latency and bandwidth minimise the sum of squares of relative errors, so that small transfers count as large ones.
    """
    rows = [(1.0 / ms, nbytes / ms) for nbytes, ms in samples]
    a, b, c = (sum(x * y for x, y in pairs) for pairs in (
        [(u, u) for u, _ in rows], [(u, v) for u, v in rows], [(v, v) for _, v in rows]))
    first, second = sum(u for u, _ in rows), sum(v for _, v in rows)
    determinant = a * c - b * b
    latency_ms = max(0.0, (first * c - second * b) / determinant)
    ms_per_byte = max((second - latency_ms * b) / c, 1e-12)
    return Link(source, destination, 1e-6 / ms_per_byte, latency_ms)
