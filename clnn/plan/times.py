"""How long the steps of a plan take, predicted or measured."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

from clnn.plan.simulate import run, tasks
from clnn.plan.types import Host, Plan, Run
from clnn.schedule import HOST
from clnn.schedule.timeline import Event


@dataclass(frozen=True)
class Times:
    """Milliseconds of each step of a plan from its start to its end, and of one inference.

    ``None`` stands for steps of which nothing is known: predictions know nothing of the host, whose steps do not count
    in ``total_ms`` either.
    """

    step_ms: tuple[float | None, ...]
    total_ms: float


def predict(plan: Plan) -> Times | None:
    """What the models of the devices say, by simulation; ``None`` where a device has no model."""
    if not plan.lowered.machine.devices.keys() >= set(plan.used_devices):
        return None
    steps = tasks(plan, plan.lowered.machine)
    step_ms = tuple(None if task.queue == HOST else task.duration_ms for task in steps)
    return Times(step_ms, max((event.finish_ms for event in run(steps, plan, plan.lowered.machine)), default=0.0))


def timeline(plan: Plan, times: Times) -> tuple[Event, ...]:
    """When each step would start and finish if it took what ``times`` says; all devices have models."""
    machine = plan.lowered.machine
    steps = zip(tasks(plan, machine), times.step_ms, strict=True)
    return run([task if ms is None else replace(task, duration_ms=ms) for task, ms in steps], plan, machine)


def layer_ms(plan: Plan, times: Times) -> dict[str, float]:
    """What each layer takes, by its node's name: as long as the one of its devices that works on it longest."""
    busy_ms: dict[str, dict[str, float]] = {name: defaultdict(float) for name in plan.lowered.lowered}
    for step, ms in zip(plan.steps, times.step_ms, strict=True):
        if ms is None:
            continue
        match step:
            case Run(node, device):
                busy_ms[node][device] += ms
            case Host(node):
                busy_ms[node.name] = {HOST: ms}
    return {name: max(by_device.values(), default=0.0) for name, by_device in busy_ms.items()}
