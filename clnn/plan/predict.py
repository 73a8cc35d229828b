"""Predicting how long plans take, from what each of their steps has to do."""

from __future__ import annotations

from clnn.devices.model import MachineModel
from clnn.plan.types import Copy, Plan, Run, Step


def step_ms(step: Step, plan: Plan, machine: MachineModel) -> float:
    """Predicted milliseconds of a step; 0 of one of the host's, of which no model knows anything."""
    match step:
        case Run(_, device, _, _, work):
            model = machine.devices[device]
            return model.launch_ms + (model.work_ms(work) if work is not None else 0.0)
        case Copy():
            return machine.transfer_ms(step.source, step.destination, plan.graph.types[step.tensor].nbytes)
    return 0.0


def plan_ms(plan: Plan, machine: MachineModel) -> float:
    """Predicted milliseconds of a plan whose steps run one after the other, as those of a single device do."""
    return sum(step_ms(step, plan, machine) for step in plan.steps)
