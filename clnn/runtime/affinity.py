"""Keeping the thread that enqueues off the cores of a driver that pins its own threads to them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from clnn.devices import naming
from clnn.runtime.discovery import OpenDevice


def pinned_cores(devices: Iterable[OpenDevice]) -> frozenset[int]:
    """The cores to which PoCL has pinned the threads of these devices: a core per compute unit, in order."""
    if os.environ.get("POCL_AFFINITY") == "0":
        return frozenset()
    pinned = [device for device in devices if naming.alias(device.info.platform) == "pocl"]
    return frozenset(
        core for device in pinned for core in range(device.first_unit, device.first_unit + device.info.compute_units)
    )


@contextmanager
def off(cores: frozenset[int]) -> Iterator[None]:
    """Keep the calling thread off ``cores`` during the block, as long as it may run on others.

    A pinned thread that wakes takes its core from whoever runs there, and the scheduler leaves that one waiting though
    another core is idle: the thread that enqueues for several devices would give the others their work a kernel late.
    """
    with _moved(lambda allowed: allowed - cores):
        yield


@contextmanager
def beside(devices: Iterable[OpenDevice], own: OpenDevice) -> Iterator[None]:
    """Let the calling thread, which drives only ``own`` of ``devices``, share cores with that one's pinned threads.

    All others keep off those, as some drivers compute in the thread that waits for them. The thread of the pinned
    device has work when that has none, and would wait for its turn on a core where another device computes.
    """
    pinned, mine = pinned_cores(devices), pinned_cores([own])
    with _moved(lambda allowed: allowed & mine if mine else allowed - pinned):
        yield


@contextmanager
def _moved(choose: Callable[[set[int]], set[int]]) -> Iterator[None]:
    """Move the calling thread to some of the cores that it may run on, unless those are none, for the block."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    chosen = choose(before)
    if not chosen or chosen == before:
        yield
        return
    os.sched_setaffinity(0, chosen)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
