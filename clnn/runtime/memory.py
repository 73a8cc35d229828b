"""Buffers on devices."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from clnn.devices import naming
from clnn.kernels import Pipe, aligned
from clnn.plan import Arena
from clnn.runtime.discovery import OpenDevice
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


def make_pipe(opened: OpenDevice, pipe: Pipe) -> Any:
    """A pipe object, empty.

    Intel's CPU runtime (2026.2) uses a slot more than it allocates and so writes beyond the end, unless packets are
    told larger than those of the kernels, whose size it goes by.
    """
    cl = opencl()
    spare = -(-pipe.packet_bytes // pipe.packets) if naming.alias(opened.info.platform) == "intel" else 0
    return cl.Pipe(opened.context, cl.mem_flags.READ_WRITE, pipe.packet_bytes + spare, pipe.packets)


def return_to_system() -> None:
    """Let the C library give back what was freed: glibc keeps what lies below something that is still in use.

    Called once a network is planned: reading and packing YOLOv8n leave 22 MB, of which loading it takes 10 again.
    """
    with suppress(OSError, AttributeError, TypeError):  # other C libraries; TypeError is Windows'
        ctypes.CDLL(None).malloc_trim(0)


class ArenaBuffers:
    """The memory of an arena; ``of`` holds, by device, a sub-buffer for each tensor placed in it.

    Devices of one context share the buffers. Those of several have buffers of their own over the same memory of the
    host, which lives as long as this object.
    """

    def __init__(self, arena: Arena, devices: Mapping[str, OpenDevice]) -> None:
        cl = opencl()
        contexts = {devices[device].context.int_ptr: devices[device].context for device in arena.devices}
        flags, hostbuf, size = cl.mem_flags.READ_WRITE, None, arena.nbytes
        if len(contexts) > 1:
            flags, hostbuf, size = flags | cl.mem_flags.USE_HOST_PTR, aligned.zeros((arena.nbytes,), np.uint8), 0
        self._whole = {key: cl.Buffer(context, flags, size, hostbuf) for key, context in contexts.items()}
        views = {key: _views(whole, arena) for key, whole in self._whole.items()}
        self.of = {device: views[devices[device].context.int_ptr] for device in arena.devices}


def _views(whole: Any, arena: Arena) -> dict[str, Any]:
    regions: dict[tuple[int, int], Any] = {}
    buffers = {}
    for name, placement in arena.offsets.items():
        region = (placement.offset, max(placement.nbytes, 1))
        if region not in regions:
            regions[region] = whole.get_sub_region(*region)
        buffers[name] = regions[region]
    return buffers
