"""Timing the steps of a run."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from clnn import frontend
from clnn.plan import Copy, Host, Run
from clnn.plan.times import layer_ms
from clnn.planning import plan_graph
from clnn.runtime import programs, selection
from clnn.runtime.executor import Executor
from clnn.runtime.loaded import LoadedPlan
from clnn.tools.planner import RUNS, WARM_UP_RUNS, time_plan
from tests.support import node_model

IMAGE = np.ones((1, 8, 16, 16), np.float32)


def test_every_step_of_a_run_is_timed(clnn_device: str, monkeypatch):
    opened = selection.select(clnn_device)
    graph = frontend.load(node_model("Conv", [IMAGE, np.ones((8, 8, 3, 3), np.float32)], constants=[1]))
    plan = plan_graph(graph, {"x0": IMAGE.shape}, [each.info for each in opened])
    loaded = LoadedPlan(plan, {each.info.id: each for each in opened}, programs.shared())
    executor = Executor(loaded, profile=True)
    plain, timed = (each.run({"x0": IMAGE}, ["y0"]) for each in (Executor(loaded), executor))
    np.testing.assert_array_equal(plain[0], timed[0])
    assert {type(step) for step in plan.steps} == {Run, Copy}
    for step, (begin_ms, end_ms) in zip(plan.steps, executor.timings_ms, strict=True):
        assert begin_ms < end_ms or (begin_ms == end_ms and isinstance(step, Copy))

    rounds = iter(range(1, 1 + WARM_UP_RUNS + RUNS))
    monkeypatch.setattr(Executor, "run", lambda self, *_: setattr(self, "timings_ms", [(1.0, 1.0 + next(rounds))]))
    times = time_plan(plan, opened, {"x0": IMAGE})
    assert set(times.step_ms) == {WARM_UP_RUNS + (RUNS + 1) / 2}, "not the median without the first runs"
    assert times.total_ms > 0


def test_kernels_of_slowed_devices_count_as_often_as_they_run(clnn_device: str):
    (opened,) = selection.select(clnn_device)
    slowed = replace(opened, info=replace(opened.info, slowdown=4))
    graph = frontend.load(node_model("Relu", [IMAGE]))
    plan = plan_graph(graph, {"x0": IMAGE.shape}, [slowed.info])
    executor = Executor(LoadedPlan(plan, {slowed.info.id: slowed}, programs.shared()), profile=True)
    event = SimpleNamespace(profile=SimpleNamespace(start=5_000_000, end=7_000_000))
    timings = [executor._timing_ms(step, event) for step in plan.steps]
    assert timings == [(5.0, 7.0), (-1.0, 7.0), (5.0, 7.0)]


def test_what_the_host_computes_is_timed(clnn_device: str):
    opened = selection.select(clnn_device)
    plan = plan_graph(frontend.load(node_model("NonZero", [IMAGE])), {"x0": IMAGE.shape}, [opened[0].info])
    assert [type(step) for step in plan.steps] == [Host]
    assert layer_ms(plan, time_plan(plan, opened, {"x0": IMAGE}))["nonzero"] > 0
