"""Buffers on a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from clnn.plan import Arena, Placement
from clnn.runtime.loader import opencl

HOST_ALIGNMENT = 4096
"""Alignment in bytes at which CPU runtimes take host memory as a buffer without copying it."""


def upload(context: Any, array: np.ndarray, host_memory: bool) -> Any:
    """A read-only buffer that holds ``array`` (C-contiguous).

    On a device that shares the host's memory the buffer is an aligned copy of the array that the device
    reads in place; the buffer keeps it alive.
    """
    cl = opencl()
    flat = np.zeros(1, np.uint8)  # no buffer may be empty
    if array.size:
        flat = np.frombuffer(array.tobytes() if array.dtype == bool else array, np.uint8)
    if not host_memory:
        return cl.Buffer(context, cl.mem_flags.READ_ONLY | cl.mem_flags.COPY_HOST_PTR, hostbuf=flat)
    return cl.Buffer(context, cl.mem_flags.READ_ONLY | cl.mem_flags.USE_HOST_PTR, hostbuf=_aligned(flat))


def _aligned(flat: np.ndarray) -> np.ndarray:
    padded = -(-flat.size // 64) * 64
    store = np.empty(padded + HOST_ALIGNMENT, np.uint8)
    start = -store.ctypes.data % HOST_ALIGNMENT
    store[start : start + flat.size] = flat
    return store[start : start + padded]


def allocate(context: Any, arena: Arena, offsets: Mapping[str, Placement]) -> dict[str, Any]:
    """Allocate an arena and return a sub-buffer for each tensor placed in it."""
    cl = opencl()
    whole = cl.Buffer(context, cl.mem_flags.READ_WRITE, arena.nbytes)
    regions: dict[tuple[int, int], Any] = {}
    buffers = {}
    for name, placement in offsets.items():
        if placement.device == arena.device:
            region = (placement.offset, max(placement.nbytes, 1))
            if region not in regions:
                regions[region] = whole.get_sub_region(*region)
            buffers[name] = regions[region]
    return buffers
