"""Devices that computed wrongly, out of use for the rest of this process."""

from __future__ import annotations

from collections.abc import Iterable

from clnn.errors import DeviceError
from clnn.runtime.discovery import IsolatedDevice, OpenDevice

_reasons: dict[int | str, str] = {}


def add(device: OpenDevice | IsolatedDevice, reason: str) -> None:
    """Let no worker of this process use the device any more."""
    _reasons[_identity(device)] = reason


def check(devices: Iterable[OpenDevice | IsolatedDevice]) -> None:
    """Raise ``DeviceError`` with the reason where one of the devices must not be used."""
    if not _reasons:
        return
    for device in devices:
        if (reason := _reasons.get(_identity(device))) is not None:
            error = DeviceError(reason)
            error.device = device.info.id
            raise error


def _identity(device: OpenDevice | IsolatedDevice) -> int | str:
    """What stays the same whatever platforms.yaml calls the device."""
    return device.device.int_ptr if isinstance(device, OpenDevice) else f"isolated {device.found.id}"
