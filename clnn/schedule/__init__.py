"""Deciding which device runs which node, as pure functions over descriptions of devices."""

from clnn.schedule.cost import CostModel
from clnn.schedule.policy import find_policy, policies, policy
from clnn.schedule.types import HOST, Assignment, Schedule

__all__ = ["HOST", "Assignment", "CostModel", "Schedule", "find_policy", "policies", "policy"]

from clnn.schedule import auto as _auto  # noqa: F401  (registers the policies)
