"""Sharing layers anew by measured times."""

from __future__ import annotations

import numpy as np
import pytest

from clnn.devices.info import DeviceInfo
from clnn.graph import Graph, Node, TensorType
from clnn.plan import Plan, Run
from clnn.plan.rebalance import rebalance
from clnn.planning import plan_graph
from clnn.runtime.balance import PERIOD_RUNS, SAMPLES, WARM_UP_RUNS, Balance

DEVICES = [DeviceInfo(name, gflops=100.0, bandwidth_gbs=50.0, local_mem=1 << 20) for name in ("a", "b")]


@pytest.fixture(params=[(1, 64, 56), (3, 256, 14)], ids=["pixels", "channels"])
def plan(request: pytest.FixtureRequest) -> Plan:
    """Two convolutions, each cut between two devices that are taken for equal."""
    kernel, channels, size = request.param
    image = TensorType((1, channels, size, size), "float32")
    weights = np.ones((channels, channels, kernel, kernel), np.float32)
    attrs = {"kernel_shape": (kernel, kernel), "pads": (kernel // 2,) * 4}
    nodes = (Node("one", "Conv", ("x", "w"), ("t",), attrs, 13), Node("two", "Conv", ("t", "w"), ("y",), attrs, 13))
    types = {**dict.fromkeys("xty", image), "w": TensorType(weights.shape, "float32")}
    graph = Graph(nodes, ("x",), ("y",), types, {"w": weights})
    return plan_graph(graph, {"x": image.shape}, DEVICES, "split")


def shares(plan: Plan, node: str) -> dict[str, float]:
    (cut,) = plan.lowered.parts[node]
    return {part.device: part.share for part in cut}


def times_ms(plan: Plan, slow: float) -> list[float]:
    """Times of all steps, were device b ``slow`` times as slow as a."""
    cut = {"one", "two"}
    return [
        shares(plan, step.node)[step.device] * (slow if step.device == "b" else 1.0)
        if isinstance(step, Run) and step.node in cut
        else 0.0
        for step in plan.steps
    ]


def test_shares_follow_what_was_measured(plan: Plan):
    assert shares(plan, "one") == pytest.approx({"a": 0.5, "b": 0.5}, abs=0.05)
    better = rebalance(plan, times_ms(plan, 3.0))
    assert better is not None
    for node in ("one", "two"):
        assert shares(better, node) == pytest.approx({"a": 0.75, "b": 0.25}, abs=0.1)
    assert [(type(s), s.waits_for) for s in better.steps] == [(type(s), s.waits_for) for s in plan.steps]
    cut = {part.launch for node in ("one", "two") for part in better.lowered.parts[node][0]}
    assert cut == {step.launch for step in better.steps if isinstance(step, Run) and step.node in ("one", "two")}


def test_parts_cover_the_launch(plan: Plan):
    better = rebalance(plan, times_ms(plan, 3.0))
    first, second = better.lowered.parts["one"][0]
    whole = better.lowered.lowered["one"].launches[0]
    assert first.share + second.share == pytest.approx(1.0)
    axes = [axis for axis in whole.kernel.cuts if axis < len(whole.global_size)]
    assert any(first.launch.groups(axis) + second.launch.groups(axis) == whole.groups(axis) for axis in axes)


def test_what_is_even_stays(plan: Plan):
    assert rebalance(plan, times_ms(plan, 1.0)) is None
    better = rebalance(plan, times_ms(plan, 3.0))
    assert rebalance(better, times_ms(better, 3.0)) is None


def test_some_runs_of_each_period_are_timed(plan: Plan):
    balance = Balance()
    timed = [balance.wants_times() for _ in range(2 * PERIOD_RUNS)]
    one = [False] * WARM_UP_RUNS + [True] * SAMPLES + [False] * (PERIOD_RUNS - WARM_UP_RUNS - SAMPLES)
    assert timed == one + one
    even, uneven = times_ms(plan, 1.0), times_ms(plan, 3.0)
    disturbed = [uneven] * (SAMPLES - 1) + [even]
    notes = [balance.note(plan, each) for each in (*disturbed, *[uneven] * SAMPLES)]
    changed = [False] * (2 * SAMPLES - 1) + [True]
    assert [note is not None for note in notes] == changed, "runs that other work slows down change nothing"
