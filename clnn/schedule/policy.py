"""The registry of scheduling policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    """The policy called ``name``; the default is "single".

    Raises:
        UsageError: there is none of that name.
    """
    found = _POLICIES.get(name or "single")
    if found is None:
        raise UsageError(f"policy '{name}' does not exist; choose one of {', '.join(_POLICIES)}")
    return found
