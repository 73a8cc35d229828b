"""Runs ONNX networks on the OpenCL devices of a machine.

    session = clnn.InferenceSession("model.onnx")
    (result,) = session.run(None, {"input": array})

    for found in clnn.Detector()("street.jpg"):
        print(found.label, found.score, found.box)

Names are imported when they are first used, so that ``import clnn`` alone costs next to nothing.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import clnn.devices  # noqa: F401  # made callable below
from clnn.version import VERSION as __version__

if TYPE_CHECKING:
    from clnn.devices.info import DeviceInfo

# In a source tree `opencl/` and `models/` lie beside this folder; a script that is started there imports this folder
# even where clnn is installed elsewhere, and has to find them too.
_TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if os.path.isfile(os.path.join(_TREE, "bootstrap.py")):
    __path__.append(_TREE)

_ERRORS = ("ClnnError", "UsageError", "ModelError", "ModelFormatError", "UnsupportedError", "DeviceError",
           "NoDeviceError", "BuildError", "ForkError", "InputError", "ComparisonError", "ResourceError",
           "OutOfMemoryError", "DeadlineError")

_HOMES = {
    "InferenceSession": "clnn.session",
    "Options": "clnn.session",
    "Detector": "clnn.vision.detector",
    "Detection": "clnn.vision.detector",
    "DeviceInfo": "clnn.devices.info",
    **dict.fromkeys(_ERRORS, "clnn.errors"),
}

__all__ = [*_HOMES, "__version__", "devices"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clnn' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _Devices(ModuleType):
    """The package ``clnn.devices``; ``clnn.devices()``, of the same name, lists the devices of this machine."""

    def __call__(self, refresh: bool = False) -> list[DeviceInfo]:
        """Every OpenCL device, best first, broken ones last; ``refresh`` tries them all again."""
        from clnn.runtime.discovery import devices

        return devices(refresh)


# The import system puts the package under the name of the function, so the package has to be the function.
sys.modules["clnn.devices"].__class__ = _Devices
