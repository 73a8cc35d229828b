"""Waiting for devices, until a deadline, and telling which of them it is that does not come."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from clnn.errors import DeadlineError, DeviceError
from clnn.runtime.loader import opencl

POLL_S = 0.0002
"""How often a run with a deadline looks whether the device has finished."""

GRACE_S = 0.05
"""Time for the other devices to finish what they have, once the deadline has passed."""

FROM_ANOTHER = "EVENTS_IN_WAIT_LIST"
"""In the name of the error of a command that waited for one, perhaps of another device, that failed."""


def poll(event: Any, started: float, timeout_s: float) -> None:
    """Wait for an event until ``timeout_s`` after ``started``, a time of ``time.monotonic``.

    Raises:
        DeadlineError: it is not complete by then.
        DeviceError: its command failed.
    """
    complete = opencl().command_execution_status.COMPLETE
    while (status := event.command_execution_status) > complete:
        if time.monotonic() - started > timeout_s:
            raise DeadlineError(
                f"the run did not finish within timeout_s = {timeout_s}; raise it, or use a faster device"
            )
        time.sleep(POLL_S)
    if status < complete:
        raise DeviceError(f"the OpenCL driver failed while running the network: status {status}; see `clnn doctor`")


def unfinished(queues: Mapping[str, Any]) -> str | None:
    """The device that has not finished, if it is one alone: those that wait for it have not, either.

    ``queues`` are by device.
    """
    if len(queues) == 1:
        return next(iter(queues))
    markers = {device: opencl().enqueue_marker(queue) for device, queue in queues.items()}
    for queue in queues.values():
        queue.flush()
    time.sleep(GRACE_S)
    complete = opencl().command_execution_status.COMPLETE
    late = [device for device, marker in markers.items() if marker.command_execution_status > complete]
    return late[0] if len(late) == 1 else None
