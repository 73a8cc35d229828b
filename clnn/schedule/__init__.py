"""Deciding which device runs which node, as pure functions over descriptions of devices."""

from clnn.schedule.cost import CostModel
from clnn.schedule.policy import find_policy, policies, policy
from clnn.schedule.types import HOST, Assignment, Schedule

__all__ = ["HOST", "Assignment", "CostModel", "Schedule", "find_policy", "policies", "policy"]

from clnn.schedule import single as _single  # noqa: F401  (these register the policies)
from clnn.schedule import split as _split  # noqa: F401
