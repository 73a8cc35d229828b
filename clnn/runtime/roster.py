"""The devices of a session's streams: how fast each is, and which were dropped."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from clnn.errors import ClnnError, DeviceError, ResourceError
from clnn.schedule import recent_ms
from clnn.schedule.batch import RECENT

log = logging.getLogger("clnn")

LOSSES = (DeviceError, ResourceError)
"""Errors that say something of the device, or what it has room and time for, and not of one inference."""


class WorkerLost(Exception):
    """``device`` cannot be used any more because of ``error``."""

    def __init__(self, device: str, error: ClnnError) -> None:
        super().__init__(device, error)
        self.device = device
        self.error = error


class Roster:
    """The devices of a session's streams: how long an inference takes on each, and which were dropped, and why."""

    def __init__(self, devices: Sequence[str]) -> None:
        self.present = list(devices)
        self.images: Counter[str] = Counter()
        self._samples_ms: dict[str, list[float]] = {}
        self._lost: dict[str, ClnnError] = {}

    def record(self, device: str, item_ms: float) -> None:
        """Note the time of an inference; that of a device's first, which completes its programs, does not count."""
        samples = self._samples_ms.get(device)
        self._samples_ms[device] = [] if samples is None else [*samples[1 - RECENT :], item_ms]

    def item_ms(self) -> dict[str, float]:
        """Time of one inference on each device that has done any."""
        times = {device: recent_ms(self._samples_ms.get(device, ())) for device in self.present}
        return {device: each for device, each in times.items() if each is not None}

    def drop(self, device: str, error: ClnnError) -> None:
        """Do without a device, and say so."""
        if device in self.present:
            self.present.remove(device)
            self._lost[device] = error
            if self.present:
                log.warning("%s is dropped: %s; its work goes to %s", device, error, ", ".join(self.present))

    def nobody_left(self) -> ClnnError:
        """The error to raise when all devices were dropped: of the last one's type, naming all."""
        causes = "; ".join(f"{device}: {error}" for device, error in self._lost.items())
        return type(list(self._lost.values())[-1])(f"no device is left: {causes}")
