"""Measuring what it takes to hand data over: from one queue to another one, and between host and device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from clnn.devices.fitting import fit_link
from clnn.devices.model import Link
from clnn.runtime import affinity, programs
from clnn.runtime.discovery import OpenDevice
from clnn.runtime.loader import opencl
from clnn.schedule import HOST

_COPY_BYTES = (1 << 12, 1 << 16, 1 << 20, 1 << 22)
_COPIES, _HANDOVERS, _REPEATS = 12, 60, 5
_BRIEF, _LAYER_MS = 1000, 0.1
"""Rounds of a kernel that takes next to no time, and how long one of a layer takes."""


def overheads_ms(opened: OpenDevice, cache_dir: str | None) -> tuple[float, float]:
    """From the end of a kernel to the start of the next in another queue, which the host enqueues when it saw the end;
    and the time of the host for enqueueing one.

    Two queues of one device: what it takes to see an end and to start from nothing. From one device to another it is
    one part of either, so that the mean of both is what a handover between them takes.
    """
    kernel = _Kernel(opened, cache_dir)
    queues = [kernel.queue, kernel.new_queue()]
    events, enqueue_ms = [], []
    for index in range(_HANDOVERS):
        started = time.perf_counter()
        event = kernel.enqueue(queues[index % 2])
        enqueue_ms.append((time.perf_counter() - started) * 1e3)
        event.wait()
        events.append(event)
    gaps = [after.profile.start - before.profile.end for before, after in zip(events, events[1:], strict=False)]
    return max(0.0, statistics.median(gaps) * 1e-6), statistics.median(enqueue_ms)


def layer_gap_ms(devices: Sequence[OpenDevice], cache_dir: str | None) -> float:
    """From the end of a layer that devices compute together to the start of the next, on all of them.

    Queues of one context wait for each other, for others the host waits, as in :mod:`clnn.runtime.order`.
    """
    kernels = [_Kernel(opened, cache_dir, _LAYER_MS) for opened in devices]
    with affinity.off(affinity.pinned_cores(devices[:-1])):
        return statistics.median(_gap_ms(kernels) for _ in range(_REPEATS))


def _gap_ms(kernels: Sequence[_Kernel]) -> float:
    """The mean gap of a number of layers."""
    before, layers = [None] * len(kernels), []
    started = time.perf_counter()
    for _ in range(_HANDOVERS):
        after = []
        for kernel in kernels:
            others = [(other, event) for other, event in zip(kernels, before, strict=True) if other is not kernel]
            for event in (event for other, event in others if event and other.context != kernel.context):
                event.wait()
            after.append(kernel.enqueue(kernel.queue, [event for other, event in others
                                                       if event and other.context == kernel.context]))
        before = after
        layers.append(after)
    for kernel in kernels:
        kernel.queue.finish()
    whole_ms = (time.perf_counter() - started) * 1e3
    kernels_ms = sum(max(_duration_ms(event) for event in layer) for layer in layers)
    return max(0.0, whole_ms - kernels_ms) / _HANDOVERS


class _Kernel:
    """A kernel that computes for ``duration_ms`` or, without it, next to nothing, and a queue of its device."""

    def __init__(self, opened: OpenDevice, cache_dir: str | None, duration_ms: float = 0.0) -> None:
        cl = opencl()
        self._opened = opened
        self.context = opened.context.int_ptr
        self._items = 8 * opened.info.compute_units
        self._out = cl.Buffer(opened.context, cl.mem_flags.WRITE_ONLY, 4 * self._items)
        self._kernel = cl.Kernel(programs.shared(cache_dir).build(opened, "calibrate.cl", ("-D", "CHAINS=12")), "peak")
        self.queue = self.new_queue()
        rounds = _BRIEF
        self._kernel.set_args(self._out, np.float32(1e-6), np.int32(rounds))
        if duration_ms:
            events = [self.enqueue(self.queue) for _ in range(_REPEATS)]
            self.queue.finish()
            brief_ms = statistics.median(map(_duration_ms, events))
            rounds = max(rounds, round(rounds * duration_ms / max(brief_ms, 1e-4)))
            self._kernel.set_arg(2, np.int32(rounds))

    def new_queue(self) -> Any:
        """A queue with profiling."""
        cl = opencl()
        profiling = cl.command_queue_properties.PROFILING_ENABLE
        return cl.CommandQueue(self._opened.context, self._opened.device, profiling)

    def enqueue(self, queue: Any, waits_for: Sequence[Any] | None = None) -> Any:
        """Give the kernel to a queue, which starts with it as soon as the events have ended."""
        event = opencl().enqueue_nd_range_kernel(
            queue, self._kernel, (self._items,), (1,), wait_for=waits_for or None
        )
        queue.flush()
        return event


def _duration_ms(event: Any) -> float:
    return (event.profile.end - event.profile.start) * 1e-6


def links(opened: OpenDevice) -> tuple[Link, Link]:
    """How arrays get to the device and from it: copied as an executor does, into arrays that are new when it reads."""
    cl, device_id = opencl(), opened.info.id
    writes, reads = [], []
    with cl.CommandQueue(opened.context, opened.device) as queue:
        for nbytes in _COPY_BYTES:
            array = np.ones(nbytes, np.uint8)
            buffer = cl.Buffer(opened.context, cl.mem_flags.READ_WRITE, nbytes)
            both = ([], [])
            for _ in range(_COPIES):
                both[0].append(_copy_ms(queue, buffer, array))
                both[1].append(_copy_ms(queue, np.empty(nbytes, np.uint8), buffer))
            writes.append((nbytes, statistics.median(both[0])))
            reads.append((nbytes, statistics.median(both[1])))
    return fit_link(HOST, device_id, writes), fit_link(device_id, HOST, reads)


def _copy_ms(queue: Any, target: Any, origin: Any) -> float:
    started = time.perf_counter()
    event = opencl().enqueue_copy(queue, target, origin, is_blocking=False)
    queue.finish()
    elapsed_ms = (time.perf_counter() - started) * 1e3
    del event
    return elapsed_ms
