"""What a device is, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from clnn.devices.units import Units

KINDS = ("cpu", "gpu", "accelerator")

USABLE = "usable"
BROKEN = "broken"
UNUSED = "unused"
"""Verdicts: it ran the probe kernel; it failed, see ``reason``; it works, but another driver is used in its place."""


@dataclass(frozen=True)
class DeviceInfo:
    """A device as the planner sees it; it can be made up, so that plans are tested without OpenCL.

    ``gflops`` and ``bandwidth_gbs`` are measured by a calibration, or hints from platforms.yaml; 0 when unknown.
    Sizes are bytes. ``cache_bytes`` are those of the largest cache between the device and its memory, 0 when unknown.
    ``alignment`` is that of sub-buffers. ``vector_width`` is in float32 lanes.
    ``member_speeds`` are those of the devices for which a team of them stands, one to another; empty for one device.
    ``slowdown`` is how many times each kernel is repeated, to pretend that the device is that much slower; ``gflops``
    and ``bandwidth_gbs`` are what is left of them.
    ``units`` make it an FPGA-style device, whose layers run as chains of stages.
    ``interpreter`` marks a simulator, used only when named, ``isolated`` a device that a child process runs.
    ``reason`` and ``remedy`` explain a verdict that is not ``usable``.
    """

    id: str
    kind: str = "cpu"
    name: str = ""
    vendor: str = ""
    platform: str = ""
    driver: str = ""
    compute_units: int = 1
    global_mem: int = 1 << 30
    max_alloc: int = 1 << 28
    local_mem: int = 1 << 15
    cache_bytes: int = 0
    alignment: int = 128
    max_work_group_size: int = 1
    vector_width: int = 16
    host_memory: bool = True
    fp16: bool = False
    fp64: bool = False
    pipes: bool = False
    subdevices: bool = False
    gflops: float = 0.0
    bandwidth_gbs: float = 0.0
    slowdown: int = 1
    member_speeds: tuple[float, ...] = ()
    transports: tuple[str, ...] = field(default=("buffer",))
    units: Units | None = None
    interpreter: bool = False
    isolated: bool = False
    verdict: str = USABLE
    reason: str = ""
    remedy: str = ""

    @property
    def usable(self) -> bool:
        """Whether networks may run on it."""
        return self.verdict == USABLE
