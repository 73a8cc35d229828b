"""The policy for many inferences that gives each whole to one device: data parallelism by self-scheduling.

A device takes the next inference when it has finished one (Tang and Yew, "Processor self-scheduling for multiple-nested
parallel loops", ICPP 1986). One inference is long beside what taking it costs, so that chunks of one are the right
size, and shares follow the devices' speeds by themselves. What is left to decide is who goes without at the end.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from clnn.devices.info import DeviceInfo
from clnn.graph import Graph
from clnn.schedule.cost import CostModel
from clnn.schedule.policy import policy
from clnn.schedule.single import single
from clnn.schedule.types import Schedule, StreamPlan

RECENT = 3
"""Inferences whose median is a device's speed: one outlier does not move it, two of a new speed do."""
OVERDUE = 2.0
LEAST_OVERDUE_MS = 50.0
"""An inference is overdue after ``OVERDUE`` times its usual time, and at least this: the system may pause a thread."""
MAX_AHEAD = 20
"""Inferences that wait at most for a device. One that is slower than the others by more goes without work."""


@policy("batch")
def batch(graph: Graph, devices: Sequence[DeviceInfo], costs: CostModel) -> Schedule:
    """The schedule of one inference of a batch: whole, on one device, as by "single"."""
    return replace(single(graph, devices, costs), policy="batch")


def recent_ms(samples_ms: Sequence[float]) -> float | None:
    """Time of an inference after the latest measured ones; ``None`` before the first."""
    return statistics.median(samples_ms[-RECENT:]) if samples_ms else None


def plan_batch(item_ms: Mapping[str, float]) -> StreamPlan:
    """Shares of devices that take ``item_ms`` for an inference each, by device id."""
    per_ms = sum(1 / each for each in item_ms.values())
    shares = {device: 1 / each / per_ms for device, each in item_ms.items()}
    times = ", ".join(f"{device} {each:.1f}" for device, each in item_ms.items())
    return StreamPlan(look_ahead(item_ms), f"each takes the next image when it is free; ms per image: {times}",
                      1 / per_ms, shares=shares)


def look_ahead(item_ms: Mapping[str, float]) -> int:
    """Inferences that must wait for a device, so that none goes without before the stream really ends."""
    slowest = max(item_ms, key=item_ms.__getitem__)
    others = _done_meanwhile(item_ms[slowest], {device: ms for device, ms in item_ms.items() if device != slowest}, {})
    return min(others + 1, MAX_AHEAD)


def should_take(device: str, waiting: int, item_ms: Mapping[str, float], busy_ms: Mapping[str, float]) -> bool:
    """Whether an idle device shall take one of ``waiting`` inferences, all that are left.

    It does not when the others will have finished them all before it could finish one.

    Args:
        item_ms: time of one inference by device id, of all devices that take part.
        busy_ms: for devices at work, how long they still will be.
    """
    others = {other: ms for other, ms in item_ms.items() if other != device}
    return _done_meanwhile(item_ms[device], others, busy_ms) < waiting


def is_overdue(item_ms: float, elapsed_ms: float) -> bool:
    """Whether an inference that usually takes ``item_ms`` shall also be run by a device with nothing else to do.

    That is speculative execution, as of stragglers in MapReduce (Dean and Ghemawat, OSDI 2004).
    """
    return elapsed_ms > max(OVERDUE * item_ms, LEAST_OVERDUE_MS)


def _done_meanwhile(span_ms: float, item_ms: Mapping[str, float], busy_ms: Mapping[str, float]) -> int:
    """Inferences that the devices finish in less than ``span_ms``, besides those that they are at."""
    # Less than, not as much: of two equal devices that are both idle one has to take the last.
    return sum(max(math.ceil((span_ms - busy_ms.get(device, 0.0)) / each) - 1, 0) for device, each in item_ms.items())
