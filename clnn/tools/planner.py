"""Planning a network, and timing the plan."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from clnn import frontend
from clnn.errors import UsageError
from clnn.feeds import NodeArg
from clnn.plan import Plan
from clnn.plan.times import Times
from clnn.planning import plan_graph
from clnn.runtime import modelling, programs, selection
from clnn.runtime.discovery import OpenDevice
from clnn.runtime.executor import Executor
from clnn.runtime.loaded import LoadedPlan
from clnn.tools.inputs import bound_shapes, random_feeds

WARM_UP_RUNS = 2
RUNS = 15
"""Timed runs, of whose times the medians are told."""


def plan_network(
    model: str,
    dims: Mapping[str, int],
    devices: str | None = None,
    policy: str | None = None,
    platforms: str | None = None,
    tell: Callable[[str], Any] = lambda text: None,
    measure: bool = False,
    chain: str = "auto",
) -> tuple[Plan, Times | None]:
    """The plan of ``model`` for the input shapes that ``dims`` gives to symbolic dimensions, and what it takes.

    Devices are measured first if they never were, so that the plan can predict times; ``tell`` is called with a line
    before that. With ``measure`` the plan is run on random input; else it is not. ``chain`` is as for ``Options``.

    Raises:
        UsageError: the plan is to be measured, and uses a device in another process.
    """
    graph = frontend.load(model)
    args = [NodeArg.of(name, graph.types[name]) for name in graph.inputs]
    opened = selection.select(devices, platforms)
    shapes = bound_shapes(args, dims)
    machine = modelling.machine(opened, measure_missing=True, tell=tell)
    plan = plan_graph(graph, shapes, [device.info for device in opened], policy, machine=machine, chain=chain)
    if not measure:
        return plan, None
    here = [device for device in opened if isinstance(device, OpenDevice)]
    away = set(plan.used_devices) - {device.info.id for device in here}
    if away:
        raise UsageError(
            f"--measure: kernels of {min(away)}, which is isolated, cannot be timed from here; leave out --measure, or "
            "time whole runs with 'clnn bench'"
        )
    return plan, time_plan(plan, here, random_feeds(args, shapes, np.random.default_rng(0)))


def time_plan(plan: Plan, devices: Sequence[OpenDevice], feeds: Mapping[str, np.ndarray]) -> Times:
    """Median times of a plan on these devices, and of its steps.

    Raises:
        BuildError, DeviceError, OutOfMemoryError: as for a run of a session.
    """
    executor = Executor(LoadedPlan(plan, {each.info.id: each for each in devices}, programs.shared()), profile=True)
    step_ms, total_ms = [], []
    for _ in range(WARM_UP_RUNS + RUNS):
        started = time.perf_counter()
        executor.run(feeds, plan.graph.outputs)
        total_ms.append((time.perf_counter() - started) * 1e3)
        step_ms.append([end - begin for begin, end in executor.timings_ms])
    medians = np.median(np.array(step_ms[WARM_UP_RUNS:]), axis=0)
    return Times(tuple(medians.tolist()), float(np.median(total_ms[WARM_UP_RUNS:])))
