"""Host memory that a device can take as it is: arrays that begin on a page and end with a cache line."""

from __future__ import annotations

import math

import numpy as np

ALIGNMENT = 4096
"""Alignment in bytes at which CPU runtimes take host memory as a buffer without copying it."""

GRANULE = 64
"""The size of such a buffer is a multiple of this many bytes."""


def zeros(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """As ``np.zeros``, in memory that fits if the array fills whole granules; untouched pages take no memory."""
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    store = np.zeros(max(1, -(-nbytes // GRANULE)) * GRANULE + ALIGNMENT, np.uint8)
    start = -store.ctypes.data % ALIGNMENT
    return store[start : start + nbytes].view(dtype).reshape(shape)


def fits(array: np.ndarray) -> bool:
    """Whether a device that shares the host's memory can work on ``array`` where it lies."""
    whole = array.nbytes > 0 and array.nbytes % GRANULE == 0
    return whole and array.flags.c_contiguous and array.ctypes.data % ALIGNMENT == 0


def fitting(array: np.ndarray) -> np.ndarray:
    """The bytes of ``array``: in place where it fits, else a copy that does, filled up with zeros."""
    if fits(array):
        return array.reshape(-1).view(np.uint8)
    filled = zeros((max(1, -(-array.nbytes // GRANULE)) * GRANULE,), np.uint8)
    filled[: array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)
    return filled
