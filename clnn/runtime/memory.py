"""Buffers on a device."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from clnn.kernels import aligned
from clnn.plan import Arena, Placement
from clnn.runtime.loader import opencl


def upload(context: Any, array: np.ndarray, host_memory: bool) -> Any:
    """A read-only buffer that holds ``array`` (C-contiguous).

    A device that shares the host's memory reads it in place: the array itself where it fits, which must then stay as
    it is, else a copy that does. The buffer keeps either alive.
    """
    cl = opencl()
    if not host_memory:
        # No buffer may be empty.
        flat = np.frombuffer(array.tobytes() or b"\0", np.uint8)
        return cl.Buffer(context, cl.mem_flags.READ_ONLY | cl.mem_flags.COPY_HOST_PTR, hostbuf=flat)
    return cl.Buffer(context, cl.mem_flags.READ_ONLY | cl.mem_flags.USE_HOST_PTR, hostbuf=aligned.fitting(array))


def return_to_system() -> None:
    """Let the C library give back what was freed: glibc keeps what lies below something that is still in use.

    Called once a network is planned: reading and packing YOLOv8n leave 22 MB, of which loading it takes 10 again.
    """
    with suppress(OSError, AttributeError, TypeError):  # other C libraries; TypeError is Windows'
        ctypes.CDLL(None).malloc_trim(0)


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
