"""A plan carried out in virtual time, on the model of a machine."""

from __future__ import annotations

from clnn.devices.model import MachineModel, Work
from clnn.plan.types import Copy, Host, Plan, Run, Step
from clnn.schedule import HOST
from clnn.schedule.timeline import Task, Timeline, link_name, run_tasks, summarise


def simulate(plan: Plan, machine: MachineModel) -> Timeline:
    """One inference: what runs when, and what it takes.

    Nodes that the host computes take no time: nothing is known of them.

    Args:
        machine: has a model of every device that the plan uses.
    """
    return summarise(run_tasks(tasks(plan, machine)), machine)


def tasks(plan: Plan, machine: MachineModel) -> list[Task]:
    """The steps of a plan as tasks, in their order."""
    found: list[Task] = []
    computed: tuple[int, ...] = ()
    for index, step in enumerate(plan.steps):
        found.append(_task(step, (*step.waits_for, *computed), plan, machine))
        if isinstance(step, Host):
            # One thread enqueues all: what comes later is enqueued when it has computed the node.
            computed = (index,)
    return found


def _task(step: Step, waits_for: tuple[int, ...], plan: Plan, machine: MachineModel) -> Task:
    if isinstance(step, Host):
        return Task(step.node.name, HOST, 0.0, waits_for)
    model = machine.devices[step.device]
    if isinstance(step, Run):
        name, link = f"{step.node} ({step.launch.kernel.name})", ""
        duration_ms = model.work_ms(step.work) if step.work is not None else 0.0
    else:
        name, link, duration_ms = step.tensor, *_transfer(step, plan, machine)
    return Task(name, step.device, duration_ms, waits_for, model.launch_ms, model.sync_ms, link)


def _transfer(copy: Copy, plan: Plan, machine: MachineModel) -> tuple[str, float]:
    """The link of a copy and its time there; without a link it is one within a memory: read and written once."""
    ends = (HOST, copy.device) if copy.source == HOST else (copy.device, HOST)
    nbytes = plan.graph.types[copy.tensor].nbytes
    link = machine.links.get(ends)
    within_ms = machine.devices[copy.device].work_ms(Work("", 0.0, 2.0 * nbytes))
    return link_name(*ends), link.transfer_ms(nbytes) if link else within_ms
