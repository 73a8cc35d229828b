"""Devices that compute one layer together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from clnn.devices.info import DeviceInfo

MOST_UNITS = 32
"""Compute units that a team counts as at most: more of them cut layers smaller than launches are worth."""


@dataclass(frozen=True)
class Team:
    """Devices of one kind that compute a layer together.

    Those that share the host's memory get a part of a layer's index space each; where memories lie ``apart`` each has
    rows of its own (``plan/apart.py``). ``info`` describes them as one device, for which layers are lowered. Layouts,
    algorithms and tiles are so fixed before work is cut, and do not depend on who gets which part.
    """

    info: DeviceInfo
    members: tuple[str, ...]
    apart: bool = False

    @property
    def id(self) -> str:
        return self.info.id


def team_of(devices: Sequence[DeviceInfo], speeds: Sequence[float]) -> Team:
    """The team of devices with these relative ``speeds``.

    It is as capable as the least of its members in everything that kernels ask for, and has as many compute units as
    it takes for work to be cut in proportion to the speeds.
    """
    first = devices[0]
    units = max(sum(device.compute_units for device in devices), round(sum(speeds) / min(speeds)))
    info = replace(
        first,
        id="+".join(device.id for device in devices),
        name="",
        compute_units=min(units, MOST_UNITS),
        global_mem=min(device.global_mem for device in devices),
        max_alloc=min(device.max_alloc for device in devices),
        local_mem=min(device.local_mem for device in devices),
        alignment=max(device.alignment for device in devices),
        max_work_group_size=min(device.max_work_group_size for device in devices),
        vector_width=min(device.vector_width for device in devices),
        fp16=all(device.fp16 for device in devices),
        fp64=all(device.fp64 for device in devices),
        pipes=all(device.pipes for device in devices),
        gflops=sum(device.gflops for device in devices),
        bandwidth_gbs=max(device.bandwidth_gbs for device in devices),
        member_speeds=tuple(speeds),
        units=None,
    )
    apart = not all(device.host_memory for device in devices)
    return Team(info, tuple(device.id for device in devices), apart)
