"""Memory that a process shares with its child: without a name, so that it is gone when neither has it open any more.

A name in /dev/shm, as ``multiprocessing.shared_memory`` gives, stays behind when both processes are killed.
"""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from clnn.graph import TensorType
from clnn.kernels import aligned

Span = tuple[int, int]
"""First byte and number of bytes."""

Key = TypeVar("Key", bound=Hashable)


def pack(value: Any) -> tuple[int, list[Span]]:
    """Pickle ``value`` into new memory, its arrays beside it, each on a page of its own.

    Returns:
        The memory's file descriptor, and what lies where, for :func:`unpack`.
    """
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(head), *(buffer.raw() for buffer in buffers)]
    spans, nbytes = _side_by_side(part.nbytes for part in parts)
    handle = _allocate(nbytes)
    with mmap.mmap(handle, nbytes) as memory:
        for part, (start, length) in zip(parts, spans, strict=True):
            memory[start : start + length] = part
    return handle, spans


def unpack(handle: int, spans: list[Span]) -> Any:
    """What :func:`pack` was given; its arrays lie in the shared memory, and cannot be written."""
    memory = memoryview(mmap.mmap(handle, 0, access=mmap.ACCESS_READ))
    head, *buffers = (memory[start : start + length] for start, length in spans)
    return pickle.loads(head, buffers=buffers)


def allocate(types: Mapping[Key, TensorType]) -> int:
    """New memory for a tensor of each of these types whose size is known; its file descriptor."""
    return _allocate(_side_by_side(kind.nbytes for kind in _sized(types).values())[1])


def arrays(handle: int, types: Mapping[Key, TensorType]) -> dict[Key, np.ndarray]:
    """The tensors in the memory that :func:`allocate` made for ``types``.

    Raises:
        ValueError: the memory is smaller than they are.
    """
    sized = _sized(types)
    spans, nbytes = _side_by_side(kind.nbytes for kind in sized.values())
    memory = mmap.mmap(handle, nbytes)
    return {key: np.ndarray(kind.shape, kind.dtype, memory, start)
            for (key, kind), (start, _) in zip(sized.items(), spans, strict=True)}


def put(place: np.ndarray | None, array: np.ndarray) -> bool:
    """Copy ``array`` to its place, where it has one of its shape and dtype; whether it has."""
    if place is None or (place.shape, place.dtype) != (array.shape, array.dtype):
        return False
    place[...] = array
    return True


def _sized(types: Mapping[Key, TensorType]) -> dict[Key, TensorType]:
    return {key: kind for key, kind in types.items() if kind.is_static and kind.dtype != "string"}


def _side_by_side(sizes: Iterable[int]) -> tuple[list[Span], int]:
    """A span for each size, each beginning a page, and the bytes of all; memory cannot be empty."""
    spans, end = [], 0
    for nbytes in sizes:
        spans.append((end, nbytes))
        end += -(-nbytes // aligned.ALIGNMENT) * aligned.ALIGNMENT
    return spans, max(end, aligned.ALIGNMENT)


def _allocate(nbytes: int) -> int:
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("clnn")
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    os.ftruncate(handle, nbytes)
    return handle
