"""The policy that takes whichever is predicted to be fastest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clnn.devices.info import DeviceInfo
from clnn.graph import Graph
from clnn.schedule.cost import CostModel
from clnn.schedule.heft import heft
from clnn.schedule.policy import policy
from clnn.schedule.single import single
from clnn.schedule.split import split
from clnn.schedule.types import Schedule

CANDIDATES = (single, split, heft)
"""The policies for one inference, the safest first."""

MARGIN = 0.9
"""A candidate must be predicted to take less than this share of what "single" takes: predictions err by some 10 %."""


@policy("auto")
def auto(graph: Graph, devices: Sequence[DeviceInfo], costs: CostModel) -> Schedule:
    """Predict what each policy for one inference would take, and take the best; "single" unless one is clearly better.

    The reason that the schedule gives names the runner-up.
    """
    if len(devices) == 1:
        return single(graph, devices, costs)
    return choose([candidate(graph, devices, costs) for candidate in CANDIDATES])


def choose(schedules: Sequence[Schedule]) -> Schedule:
    """The best of ``schedules``, of which the first is that to fall back on."""
    safe, *others = schedules
    best = min(others, key=lambda schedule: schedule.predicted_ms)
    if best.predicted_ms >= MARGIN * safe.predicted_ms:
        best = safe
    others = sorted((schedule for schedule in schedules if schedule is not best), key=lambda each: each.predicted_ms)
    told = ", ".join(f"{schedule.policy} {schedule.predicted_ms:.2f} ms" for schedule in others)
    reason = f"{best.policy} is predicted to take {best.predicted_ms:.2f} ms; {told}"
    return replace(best, policy=f"auto: {best.policy}", reason=reason)
