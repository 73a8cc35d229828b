"""Cutting launches among the devices of a team."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clnn.devices.model import DeviceModel, Work
from clnn.kernels import Launch
from clnn.ops import Lowered


@dataclass(frozen=True)
class Part:
    """What one device runs of a launch, and the share of its work that this is."""

    device: str
    launch: Launch
    share: float


def divide(
    launch: Launch, work: Work | None, members: Sequence[str], models: Sequence[DeviceModel]
) -> tuple[Part, ...]:
    """Cut a launch so that all finish together, along whichever dimension of its index space lets them most nearly.

    Cuts fall between work-groups. Where the time saved is less than what waiting for each other costs, the launch
    stays whole, on the fastest device: that is the case for a work of ``None``, which counts for nothing.

    Args:
        members: the ids of the devices, and ``models`` how fast each is.
    """
    work = work or Work(launch.kernel.name, 0.0, 0.0)
    whole_ms = [model.launch_ms + model.work_ms(work) for model in models]
    best = min(range(len(members)), key=whole_ms.__getitem__)
    speeds = [1.0 / max(model.work_ms(work), 1e-9) for model in models]
    sync_ms = max(model.sync_ms for model in models)
    ways = []
    for axis in launch.kernel.cuts:
        if axis < len(launch.global_size) and launch.groups(axis) > 1:
            counts = _apportion(launch.groups(axis), speeds)
            shares = [count / launch.groups(axis) for count in counts]
            slowest_ms = max(
                model.launch_ms + model.work_ms(work.part(share))
                for model, share in zip(models, shares, strict=True)
                if share
            )
            # The last of many work-groups, which may be a small one, matters less; hence the second criterion.
            ways.append((slowest_ms, -launch.groups(axis), axis, counts, shares))
    if not ways or min(ways)[0] + sync_ms >= whole_ms[best]:
        return (Part(members[best], launch, 1.0),)
    _, _, axis, counts, shares = min(ways)
    parts, start = [], 0
    for member, count, share in zip(members, counts, shares, strict=True):
        if count:
            parts.append(Part(member, launch.part(axis, start, start + count), share))
        start += count
    return tuple(parts)


def divide_node(
    lowered: Lowered, members: Sequence[str], models: Sequence[DeviceModel]
) -> tuple[tuple[Part, ...], ...]:
    """The parts of each launch of a node; only the last launch has work that counts."""
    if not lowered.launches:
        return ()
    works = (*(None,) * (len(lowered.launches) - 1), lowered.work)
    return tuple(
        divide(launch, work, members, models) for launch, work in zip(lowered.launches, works, strict=True)
    )


def _apportion(groups: int, speeds: Sequence[float]) -> list[int]:
    """How many of ``groups`` equal pieces each gets, so that the last one to finish does so as early as possible.

    Each piece goes to whoever would finish it first, given those it has already.
    """
    total = sum(speeds)
    counts = [int(groups * speed / total) for speed in speeds]
    for _ in range(groups - sum(counts)):
        soonest = min(range(len(speeds)), key=lambda index: (counts[index] + 1) / speeds[index])
        counts[soonest] += 1
    return counts
