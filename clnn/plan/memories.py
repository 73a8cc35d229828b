"""Which devices of a plan work in one memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clnn.devices.info import DeviceInfo
from clnn.schedule import Schedule

SHARED = "shared"
"""The host's memory, where several devices work in it together."""


def memories(schedule: Schedule, devices: Sequence[DeviceInfo]) -> Mapping[str, str]:
    """The memory of every place of a schedule, devices of teams and teams included: a device's own, or ``SHARED``.

    Devices that share the host's memory work in one, if there are several: no tensor is copied between them.
    """
    by_id = {device.id: device for device in devices}
    places = dict.fromkeys(assignment.device for assignment in schedule.assignments.values())
    teams = {place: schedule.teams[place].members for place in places if place in schedule.teams}
    used = dict.fromkeys([*(place for place in places if place in by_id), *sum(teams.values(), ())])
    together = [device for device in used if by_id[device].host_memory]
    shared = dict.fromkeys(together if len(together) > 1 else (), SHARED)
    found = {device: shared.get(device, device) for device in used}
    return {**found, **{team: found[members[0]] for team, members in teams.items()}}
