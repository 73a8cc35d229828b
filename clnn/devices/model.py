"""How fast devices and the links between them are, as plain data: measured, or described in platforms.yaml.

Times are milliseconds. The form of the model is a roofline (Williams, Waterman and Patterson, "Roofline", CACM 2009)
whose two ceilings are curves over the size of a launch: small ones reach neither peak.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from clnn.devices.info import DeviceInfo

GUESS_GFLOPS, GUESS_BANDWIDTH_GBS = 100.0, 10.0
"""What a device is taken for of which nothing is known; only ratios matter then."""


@dataclass(frozen=True)
class Work:
    """What one launch has to do.

    ``kind`` is the name of its kernel. ``operations`` are the floating-point operations that a device could do at its
    peak in the time that the algorithm is said to take, so that its known losses count; ``bytes`` are moved once each.
    """

    kind: str
    operations: float
    bytes: float

    def part(self, fraction: float) -> Work:
        """The work of a launch of a part of the index space."""
        return Work(self.kind, self.operations * fraction, self.bytes * fraction)


@dataclass(frozen=True)
class Curve:
    """A rate that depends on a size: ``points`` are (size, rate), sizes ascending.

    Between two points the rate is interpolated over the logarithm of the size; outside of all it is that of the next.
    """

    points: tuple[tuple[float, float], ...]

    def at(self, size: float) -> float:
        """The rate at ``size``."""
        position = bisect_right(self.points, (size, math.inf))
        if position == 0:
            return self.points[0][1]
        if position == len(self.points):
            return self.points[-1][1]
        (left, below), (right, above) = self.points[position - 1 : position + 1]
        share = (math.log(size) - math.log(left)) / (math.log(right) - math.log(left))
        return below + share * (above - below)

    @classmethod
    def flat(cls, rate: float) -> Curve:
        """The same rate for every size."""
        return cls(((1.0, rate),))


@dataclass(frozen=True)
class DeviceModel:
    """How fast a device is.

    Attributes:
        rates: operations per ms by kind of work, over the operations of a launch; ``""`` stands for kinds not named.
        bandwidth: bytes per ms, over the bytes that a launch moves.
        launch_ms: from the end of a kernel to the start of the next one in the same queue.
        sync_ms: from the end of a kernel until a kernel of another queue that waits for it starts.
        busy_watts, idle_watts: power drawn while a kernel runs, and while none does; 0 when unknown.
        enqueue_ms: time that the thread which enqueues is busy with a step.
        run_ms: time of an inference besides its steps.
        platform: devices of one wait for each other by themselves; for those of another the thread that enqueues waits.
    """

    rates: Mapping[str, Curve]
    bandwidth: Curve
    launch_ms: float = 0.003
    sync_ms: float = 0.02
    busy_watts: float = 0.0
    idle_watts: float = 0.0
    enqueue_ms: float = 0.0
    run_ms: float = 0.0
    platform: str = ""

    @classmethod
    def roofline(cls, gflops: float, bandwidth_gbs: float) -> DeviceModel:
        """The model of a device of which only the two peaks are known, 10^9 operations and bytes per second."""
        return cls({"": Curve.flat(gflops * 1e6)}, Curve.flat(bandwidth_gbs * 1e6))

    def work_ms(self, work: Work) -> float:
        """Time of a kernel with this work, without its launch."""
        rate = self.rates.get(work.kind) or self.rates.get("")
        arithmetic_ms = work.operations / rate.at(max(work.operations, 1.0)) if rate else 0.0
        return max(arithmetic_ms, self.moving_ms(work.bytes))

    def moving_ms(self, nbytes: float) -> float:
        """Time to move so many bytes in one launch."""
        return nbytes / self.bandwidth.at(max(nbytes, 1.0))

    def slowed(self, factor: float) -> DeviceModel:
        """The model of a device that takes ``factor`` times as long for every kernel."""
        rates = {kind: _scaled(curve, 1 / factor) for kind, curve in self.rates.items()}
        bandwidth = _scaled(self.bandwidth, 1 / factor)
        return replace(self, rates=rates, bandwidth=bandwidth, enqueue_ms=factor * self.enqueue_ms)


@dataclass(frozen=True)
class Link:
    """How tensors get from ``source`` to ``destination``, both device ids or "host"."""

    source: str
    destination: str
    bandwidth_gbs: float
    latency_ms: float = 0.0

    def transfer_ms(self, nbytes: float) -> float:
        """Time to move ``nbytes``."""
        return self.latency_ms + nbytes / (self.bandwidth_gbs * 1e6)


@dataclass(frozen=True)
class MachineModel:
    """The models of all devices of a machine, by id, and its links by (source, destination).

    A pair without a link of its own goes through the host, if there are links to and from it. ``crowded`` has the
    models of devices while all others work as well, which takes memory bandwidth, caches and cores from them; those
    that it has not take as long as ever.
    """

    devices: Mapping[str, DeviceModel] = field(default_factory=dict)
    links: Mapping[tuple[str, str], Link] = field(default_factory=dict)
    crowded: Mapping[str, DeviceModel] = field(default_factory=dict)

    @cached_property  # policies ask for every node
    def at_once(self) -> MachineModel:
        """The machine while all of its devices work."""
        return replace(self, devices={**self.devices, **self.crowded}, crowded={})

    def model(self, info: DeviceInfo) -> DeviceModel:
        """The model of a device; the roofline of its two figures, or of a guess at them, where there is none."""
        known = self.devices.get(info.id)
        return known or DeviceModel.roofline(info.gflops or GUESS_GFLOPS, info.bandwidth_gbs or GUESS_BANDWIDTH_GBS)

    def transfer_ms(self, source: str, destination: str, nbytes: float) -> float:
        """Time to move ``nbytes`` between two devices, or a device and the host; 0 where no link is known."""
        direct = self.links.get((source, destination))
        if direct is not None:
            return direct.transfer_ms(nbytes)
        hops = (self.links.get((source, "host")), self.links.get(("host", destination)))
        return sum(link.transfer_ms(nbytes) for link in hops if link is not None)


def apportion(groups: int, speeds: Sequence[float]) -> list[int]:
    """How many of ``groups`` equal pieces each gets, so that the last one to finish does so as early as possible.

    Each piece goes to whoever would finish it first, given those it has already.
    """
    total = sum(speeds)
    counts = [int(groups * speed / total) for speed in speeds]
    for _ in range(groups - sum(counts)):
        soonest = min(range(len(speeds)), key=lambda index: (counts[index] + 1) / speeds[index])
        counts[soonest] += 1
    return counts


def _scaled(curve: Curve, factor: float) -> Curve:
    return Curve(tuple((size, rate * factor) for size, rate in curve.points))
