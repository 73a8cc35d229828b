"""From a scheduled graph to a plan: launches, memory and steps, all plain data."""

from clnn.plan.alone import plan_alone
from clnn.plan.build import build
from clnn.plan.check import Check, CheckPlan, Unchecked, check_plans
from clnn.plan.lower import lower
from clnn.plan.types import Arena, Copy, Host, Placement, Plan, Run, Step

__all__ = [
    "Arena", "Check", "CheckPlan", "Copy", "Host", "Placement", "Plan", "Run", "Step", "Unchecked", "build",
    "check_plans", "lower", "plan_alone",
]  # fmt: skip
