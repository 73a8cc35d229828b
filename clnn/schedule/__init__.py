"""Deciding which device runs which node, as pure functions over descriptions of devices."""

from clnn.schedule.batch import is_overdue, look_ahead, plan_batch, recent_ms, should_take
from clnn.schedule.cost import CostModel
from clnn.schedule.pipeline import balance, plan_pipeline
from clnn.schedule.policy import find_policy, policies, policy
from clnn.schedule.types import HOST, Assignment, Schedule, Stage, StreamPlan

__all__ = [
    "HOST",
    "Assignment",
    "CostModel",
    "Schedule",
    "Stage",
    "StreamPlan",
    "balance",
    "find_policy",
    "is_overdue",
    "look_ahead",
    "plan_batch",
    "plan_pipeline",
    "policies",
    "policy",
    "recent_ms",
    "should_take",
]

from clnn.schedule import auto as _auto  # noqa: F401  (registers the policies)
