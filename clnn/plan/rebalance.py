"""Cutting launches anew by how long their parts took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clnn.devices.model import apportion
from clnn.kernels import Launch
from clnn.plan.divide import Part
from clnn.plan.types import Plan, Run

LEAST_GAIN = 0.03
"""Share of the time of a launch that another cut must save: less is noise."""
WORTH = 0.003
"""Share of the time of all cut launches that other cuts must save to be worth making."""


def rebalance(plan: Plan, times_ms: Sequence[float]) -> Plan | None:
    """The plan with other shares, where those let devices that compute together finish together.

    Only shares change: every device that has a part keeps one, so that steps, what they wait for and the memory stay.

    Args:
        times_ms: how long each step of the plan took.

    Returns:
        ``None`` where new shares would save too little.
    """
    steps, parts = list(plan.steps), dict(plan.lowered.parts)
    before_ms = saved_ms = 0.0
    for (node, position), indices in _groups(plan).items():
        old = plan.lowered.parts[node][position]
        new, slowest_ms = _recut(plan.lowered.lowered[node].launches[position], old, [times_ms[i] for i in indices])
        was_ms = max(times_ms[index] for index in indices)
        before_ms += was_ms
        if new is None or slowest_ms > (1.0 - LEAST_GAIN) * was_ms:
            continue
        saved_ms += was_ms - slowest_ms
        launches = list(parts[node])
        launches[position] = new
        parts[node] = tuple(launches)
        for index, before, after in zip(indices, old, new, strict=True):
            work = steps[index].work
            scaled = work and work.part(after.share / before.share)
            steps[index] = replace(steps[index], launch=after.launch, work=scaled)
    if saved_ms <= WORTH * before_ms:
        return None
    return replace(plan, steps=tuple(steps), lowered=replace(plan.lowered, parts=parts))


def _groups(plan: Plan) -> dict[tuple[str, int], list[int]]:
    """The steps of each launch that is cut in two or more, by node and position of the launch."""
    own: dict[str, list[int]] = {}
    for index, step in enumerate(plan.steps):
        if isinstance(step, Run):
            own.setdefault(step.node, []).append(index)
    found = {}
    for node, cuts in plan.lowered.parts.items():
        indices = iter(own.get(node, ()))
        for position, cut in enumerate(cuts):
            mine = [next(indices) for _ in cut]
            if len(cut) > 1:
                found[node, position] = mine
    return found


def _recut(
    launch: Launch, parts: Sequence[Part], times_ms: Sequence[float]
) -> tuple[tuple[Part, ...] | None, float]:
    """New parts in proportion to the speeds that the old ones showed, and the time that the slowest then takes."""
    axis = parts[0].axis
    if axis is None or min(times_ms) <= 0.0:
        return None, 0.0
    speeds = [part.share / ms for part, ms in zip(parts, times_ms, strict=True)]
    groups = launch.groups(axis)
    counts = apportion(groups, speeds)
    if 0 in counts:
        return None, 0.0
    new, start = [], 0
    for part, count in zip(parts, counts, strict=True):
        piece = launch.part(axis, start, start + count, part.units)
        new.append(replace(part, launch=piece, share=count / groups, reason="as measured"))
        start += count
    return tuple(new), max(count / groups / speed for count, speed in zip(counts, speeds, strict=True))
