"""The policy that takes whichever is fastest: as predicted, or as measured where predictions are too close to tell.

Predictions err by some 10 %, and a plan for several devices must never be slower than the best device alone. So a
session tries out those that could be the best (``contenders``), and decides by what they took (``settle``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from clnn.devices.fitting import undisturbed_ms
from clnn.devices.info import DeviceInfo
from clnn.graph import Graph
from clnn.schedule.cost import CostModel
from clnn.schedule.heft import heft
from clnn.schedule.policy import policy, processes
from clnn.schedule.single import alone, single
from clnn.schedule.split import split
from clnn.schedule.types import HOST, Schedule

JOINT = {"split": split, "heft": heft}
"""The policies by which several devices work on one inference."""

MARGIN = 0.9
"""Devices together must take less than this share of what the best one takes alone: less is noise."""
CLEAR = 0.6
"""Predicted to take less than this share of it, they are taken untried: no prediction was seen to err by so much."""
HOPELESS = 1.1
"""Predicted to take more than this multiple of the best device alone, a schedule is not tried."""
MOST_TRIED = 2
"""Single devices that are tried at most, and schedules for several: all of them are in memory at once."""

MOST_RUNS = 10
"""Runs of each contender in a trial at most."""
LEAST_RUNS = 4
"""Runs after which a trial ends early when all of one were faster than any other: by chance in 1 of 35 for two."""

_TAKEN = "auto: "

DOUBT = 1.25
"""Real runs that take more than this multiple of what decided make a choice doubtful."""


@policy("auto")
def auto(graph: Graph, devices: Sequence[DeviceInfo], costs: CostModel) -> Schedule:
    """Predict what each candidate would take, and take the best; a device alone unless several are clearly better.

    The reason that the schedule gives names the runners-up.
    """
    if len(devices) == 1:
        return single(graph, devices, costs)
    return choose(candidates(graph, devices, costs))


def candidates(graph: Graph, devices: Sequence[DeviceInfo], costs: CostModel) -> list[Schedule]:
    """Each device alone, and the devices of each process together, told apart by ``Schedule.policy``."""
    found = []
    for together in processes(devices):
        found += [replace(alone(graph, device, together, costs), policy=f"single on {device.id}")
                  for device in together]
        joint = [planned(graph, together, costs) for planned in JOINT.values()]
        found += [schedule for schedule in joint if schedule.policy in JOINT and len(_places(schedule)) > 1]
    return found


def name(schedule: Schedule) -> str:
    """What tells candidates apart, as in "split", also of one that was taken."""
    return schedule.policy.removeprefix(_TAKEN)


def contenders(schedules: Sequence[Schedule], doubted: bool = False) -> list[Schedule]:
    """Those of all candidates between which predictions cannot decide; one where they can.

    ``doubted``: real runs have shown that a clear prediction was wrong.
    """
    ranked = sorted(schedules, key=lambda schedule: schedule.predicted_ms)
    singles = [schedule for schedule in ranked if schedule.policy not in JOINT]
    joint = [schedule for schedule in ranked if schedule.policy in JOINT]
    if not _places(singles[0]):  # the host computes all
        return singles[:1]
    safe_ms = singles[0].predicted_ms
    if joint and joint[0].predicted_ms < CLEAR * safe_ms and not doubted:
        return joint[:1]
    tried = (*singles[:MOST_TRIED], *joint[:MOST_TRIED])
    return [schedule for schedule in tried if schedule.predicted_ms <= HOPELESS * safe_ms]


def choose(schedules: Sequence[Schedule]) -> Schedule:
    """The best of ``schedules`` as far as predictions tell."""
    return _best(schedules, {each.policy: each.predicted_ms for each in schedules}, "is predicted to take")


def settle(schedules: Sequence[Schedule], samples_ms: Mapping[str, Sequence[float]], told: str) -> Schedule:
    """The best of the ``schedules`` that were tried, by what their runs took.

    Args:
        samples_ms: by ``Schedule.policy``.
        told: the verb of the reason given.
    """
    tried = [schedule for schedule in schedules if schedule.policy in samples_ms]
    return _best(tried, {each.policy: undisturbed_ms(samples_ms[each.policy]) for each in tried}, told)


def settled(samples_ms: Mapping[str, Sequence[float]]) -> bool:
    """Whether further runs of a trial, in which all ran equally often, would hardly change what comes of it."""
    runs = min(map(len, samples_ms.values()))
    if len(samples_ms) == 1 or runs >= MOST_RUNS:
        return True
    if runs < LEAST_RUNS:
        return False
    best = min(samples_ms, key=lambda name: undisturbed_ms(samples_ms[name]))
    # Better by so much that it would be taken.
    bound_ms = MARGIN * min(min(samples) for name, samples in samples_ms.items() if name != best)
    return max(samples_ms[best]) < bound_ms


def doubtful(real_ms: float, chosen: str, times_ms: Mapping[str, float]) -> bool:
    """Whether real runs take so much longer than what decided that another candidate seems better than the chosen."""
    others = [ms for name, ms in times_ms.items() if name != chosen]
    return bool(others) and real_ms > max(DOUBT * times_ms[chosen], min(others))


def _best(schedules: Sequence[Schedule], times_ms: Mapping[str, float], told: str) -> Schedule:
    """The best by these times, a device alone unless several beat it by more than the margin."""
    ranked = sorted(schedules, key=lambda schedule: times_ms[schedule.policy])
    best = ranked[0]
    safe = next((schedule for schedule in ranked if schedule.policy not in JOINT), best)
    if times_ms[best.policy] >= MARGIN * times_ms[safe.policy]:
        best = safe
    others = "".join(f", {each.policy} {times_ms[each.policy]:.2f} ms" for each in ranked if each is not best)
    reason = f"{best.policy} {told} {times_ms[best.policy]:.2f} ms{others.replace(',', ';', 1)}"
    return replace(best, policy=_TAKEN + best.policy, reason=reason if others else best.reason)


def _places(schedule: Schedule) -> set[str]:
    """The devices that work at a schedule."""
    places = {assignment.device for assignment in schedule.assignments.values()} - {HOST}
    return {device for place in places for device in schedule.members(place)}
