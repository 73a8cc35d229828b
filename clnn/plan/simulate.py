"""A plan carried out in virtual time, on the model of a machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clnn.devices.model import MachineModel, Work
from clnn.plan.types import Copy, Host, Plan, Run, Step
from clnn.schedule import HOST
from clnn.schedule.timeline import Event, Task, Timeline, link_name, run_tasks, shared_time, summarise


def simulate(plan: Plan, machine: MachineModel) -> Timeline:
    """One inference: what runs when, and what it takes.

    Nodes that the host computes take no time: nothing is known of them.

    Args:
        machine: has a model of every device that the plan uses.
    """
    return summarise(run(tasks(plan, machine), plan, machine), machine)


def run(steps: Sequence[Task], plan: Plan, machine: MachineModel) -> tuple[Event, ...]:
    """When the steps of a plan start and finish, given as the tasks that :func:`tasks` makes of them."""
    used = plan.used_devices
    begin_ms = max((machine.devices[device].run_ms for device in used), default=0.0)
    # The thread that enqueues keeps off the cores of all others, see ``clnn.runtime.affinity``.
    return run_tasks(steps, begin_ms, used[-1] if len(used) > 1 else "")


def tasks(plan: Plan, machine: MachineModel) -> list[Task]:
    """The steps of a plan as tasks, in their order.

    A kernel that runs while other devices work takes longer than alone, for the share of its time for which they do.
    """
    alone = [_task(step, plan, machine) for step in plan.steps]
    if len(plan.used_devices) == 1 or not machine.crowded:
        return alone
    crowded = [_task(step, plan, machine.at_once) for step in plan.steps]
    shares = shared_time(run(crowded, plan, machine))
    return [
        replace(slow, duration_ms=task.duration_ms + share * (slow.duration_ms - task.duration_ms))
        for task, slow, share in zip(alone, crowded, shares, strict=True)
    ]


def _task(step: Step, plan: Plan, machine: MachineModel) -> Task:
    if isinstance(step, Host):
        return Task(step.node.name, HOST, 0.0, step.waits_for, awaits=step.waits_for)
    model = machine.devices[step.device]
    if isinstance(step, Run):
        name, link = f"{step.node} ({step.launch.kernel.name})", ""
        duration_ms = model.work_ms(step.work) if step.work is not None else 0.0
    else:
        name, link, duration_ms = step.tensor, *_transfer(step, plan, machine)
    awaits = tuple(index for index in step.waits_for if _foreign(plan.steps[index], model.platform, machine))
    return Task(name, step.device, duration_ms, step.waits_for, model.launch_ms, model.sync_ms, awaits,
                model.enqueue_ms, link)


def _foreign(step: Step, platform: str, machine: MachineModel) -> bool:
    """Whether a step is one of another platform, whose end no queue of this one can wait for."""
    return not isinstance(step, Host) and machine.devices[step.device].platform != platform


def _transfer(copy: Copy, plan: Plan, machine: MachineModel) -> tuple[str, float]:
    """The link of a copy and its time there; without a link it is one within a memory: read and written once."""
    ends = (HOST, copy.device) if copy.source == HOST else (copy.device, HOST)
    nbytes = plan.graph.types[copy.tensor].nbytes
    link = machine.links.get(ends)
    within_ms = machine.devices[copy.device].work_ms(Work("", 0.0, 2.0 * nbytes))
    return link_name(*ends), link.transfer_ms(nbytes) if link else within_ms
