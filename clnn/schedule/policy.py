"""The registry of scheduling policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from clnn.devices.info import DeviceInfo
from clnn.errors import UsageError
from clnn.graph import Graph
from clnn.schedule.cost import CostModel
from clnn.schedule.types import Schedule

Policy = Callable[[Graph, Sequence[DeviceInfo], CostModel], Schedule]

_POLICIES: dict[str, Policy] = {}


def policy(name: str) -> Callable[[Policy], Policy]:
    """Decorator: register a scheduling policy, a pure function, under ``name``."""

    def register(function: Policy) -> Policy:
        _POLICIES[name] = function
        return function

    return register


def policies() -> tuple[str, ...]:
    """Names of all policies."""
    return tuple(_POLICIES)


def find_policy(name: str | None) -> Policy:
    """The policy called ``name``; the default is "auto".

    It decides for the devices of each process, as an isolated one shares no inference with others; of these schedules
    the one is taken that is predicted to be fastest.

    Raises:
        UsageError: there is none of that name.
    """
    found = _POLICIES.get(name or "auto")
    if found is None:
        raise UsageError(f"policy '{name}' does not exist; choose one of {', '.join(_POLICIES)}")
    return partial(_in_one_process, found)


def _in_one_process(chosen: Policy, graph: Graph, devices: Sequence[DeviceInfo], costs: CostModel) -> Schedule:
    apart = processes(devices)
    best, *others = sorted((chosen(graph, together, costs) for together in apart),
                           key=lambda schedule: schedule.predicted_ms)
    if not others:
        return best
    told = f"fastest of {len(apart)} processes, {best.predicted_ms:.2f} ms, the next {others[0].predicted_ms:.2f}"
    return replace(best, reason="; ".join(filter(None, (told, best.reason))))


def processes(devices: Sequence[DeviceInfo]) -> list[list[DeviceInfo]]:
    """The devices by the process that they work in: those that are not isolated together, each of the others alone."""
    found: dict[str, list[DeviceInfo]] = {}
    for device in devices:
        found.setdefault(device.id if device.isolated else "", []).append(device)
    return list(found.values())
