"""Which of several devices an error is about."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from clnn.errors import DeadlineError, DeviceError, ForkError, NoDeviceError
from clnn.runtime.discovery import IsolatedDevice, OpenDevice
from clnn.runtime.loader import opencl

PROBE_LIMIT_S = 2.0
"""A device that takes longer for one trivial launch hangs."""

_WORDS = 1024


def culprit(error: DeviceError | DeadlineError, devices: Sequence[OpenDevice | IsolatedDevice]) -> str | None:
    """Id of the device that failed: the one that the error names, else the first that fails a trivial launch.

    ``None`` where the error is about no device, all of them answer, or there is one. Isolated devices are always named.
    """
    if isinstance(error, ForkError | NoDeviceError):
        return None
    if error.device is not None:
        return error.device
    here = [opened for opened in devices if isinstance(opened, OpenDevice)]
    return next((opened.info.id for opened in here if not responds(opened)), None) if len(devices) > 1 else None


def responds(opened: OpenDevice, limit_s: float = PROBE_LIMIT_S) -> bool:
    """Whether a device fills a small buffer, rightly and in time; a thread asks, as any call may hang."""
    done = threading.Event()

    def probe() -> None:
        cl = opencl()
        try:
            with cl.CommandQueue(opened.context, opened.device) as queue:
                buffer = cl.Buffer(opened.context, cl.mem_flags.READ_WRITE, 4 * _WORDS)
                cl.enqueue_fill_buffer(queue, buffer, np.int32(7), 0, 4 * _WORDS)
                filled = np.zeros(_WORDS, np.int32)
                cl.enqueue_copy(queue, filled, buffer)
        except cl.Error:
            return
        if (filled == 7).all():
            done.set()

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(limit_s)
    return done.is_set()
