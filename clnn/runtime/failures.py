"""Turning pyopencl's exceptions into clnn's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clnn.errors import DeviceError, OutOfMemoryError
from clnn.runtime.loader import opencl

_MEMORY_CODES = ("MEM_OBJECT_ALLOCATION_FAILURE", "OUT_OF_HOST_MEMORY", "OUT_OF_RESOURCES")


@contextmanager
def opencl_errors(doing: str) -> Iterator[None]:
    """Raise ``DeviceError`` or ``OutOfMemoryError`` in place of what pyopencl raises inside the block."""
    cl = opencl()
    try:
        yield
    except (cl.Error, MemoryError) as error:
        message = str(error)
        if isinstance(error, (cl.MemoryError, MemoryError)) or any(code in message for code in _MEMORY_CODES):
            raise OutOfMemoryError(
                f"memory ran out while {doing}: {message or 'host memory'}; use a smaller input or batch"
            ) from error
        raise DeviceError(f"the OpenCL driver failed while {doing}: {message}; see `clnn doctor`") from error
