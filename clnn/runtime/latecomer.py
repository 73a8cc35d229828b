"""Adds a driver to a process in which the ICD loader has already read its folder.

The loader itself does no more than this: it opens the library, asks it for ``clIcdGetPlatformIDsKHR`` and hands out the
platforms that this returns. Every later call goes through the table of functions that such a handle points to, so that
handles from here are as good as the loader's own. Not so those of a driver that leaves the table to the loader, as the
second version of the interface allows: its mark stands in the table's first place.
"""

from __future__ import annotations

import ctypes
from typing import Any

from clnn.errors import DeviceError

TABLE_OF_LOADER = 0x4F50454E434C3331 if ctypes.sizeof(ctypes.c_void_p) == 8 else 0x434C3331
"""``CL_ICD2_TAG_KHR``, "OPENCL31" or "CL31"."""


def platforms(library: str) -> list[Any]:
    """Load ``library`` and return its ``pyopencl.Platform``s.

    Raises :class:`DeviceError` when it cannot be loaded, or cannot be used without the ICD loader.
    """
    import pyopencl

    try:
        driver = ctypes.CDLL(library)
        address = _entry(driver)
    except (OSError, AttributeError) as error:
        raise _refusal(library, str(error)) from error
    if not address:
        raise _refusal(library, "it does not offer clIcdGetPlatformIDsKHR")
    handles = _handles(library, address)
    if any(_first_function(handle) in (None, TABLE_OF_LOADER) for handle in handles):
        raise _refusal(library, "it relies on the loader's table of functions")
    return [pyopencl.Platform.from_int_ptr(handle) for handle in handles]


def _entry(driver: ctypes.CDLL) -> int | None:
    find = driver.clGetExtensionFunctionAddress
    find.restype, find.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    return find(b"clIcdGetPlatformIDsKHR")


def _handles(library: str, address: int) -> list[int]:
    """Addresses of the platforms that the driver has."""
    kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p)
    ask, count = kind(address), ctypes.c_uint32()
    code = ask(0, None, ctypes.byref(count))
    if code or not count.value:
        raise _refusal(library, f"it offers no platform (error {code})")
    handles = (ctypes.c_void_p * count.value)()
    code = ask(count.value, handles, None)
    if code:
        raise _refusal(library, f"its platforms cannot be listed (error {code})")
    return [handle for handle in handles if handle]


def _first_function(handle: int) -> int | None:
    """What stands first in the table that a platform points to."""
    table = ctypes.c_void_p.from_address(handle).value
    return ctypes.c_void_p.from_address(table).value if table else None


def _refusal(library: str, why: str) -> DeviceError:
    return DeviceError(f"the driver {library} cannot be added to a process that already uses OpenCL: {why}; "
                       "open its device first, or in a new process")
