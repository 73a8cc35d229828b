"""Measured models of the devices of this machine."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import numpy as np
import pytest

from clnn import plan
from clnn.devices.model import Work
from clnn.errors import DeviceError
from clnn.graph import Graph, Node, TensorType
from clnn.plan.simulate import simulate
from clnn.runtime import course, modelling, programs, selection
from clnn.runtime.discovery import OpenDevice
from clnn.runtime.executor import Executor
from clnn.runtime.loaded import LoadedPlan
from clnn.schedule import CostModel, find_policy

CHANNELS, PIXELS = 96, 48


_measured: set[str] = set()


@pytest.fixture
def opened(clnn_device):
    """The device, whose model was measured once in this run."""
    (device,) = selection.select(clnn_device)
    if clnn_device not in _measured:
        modelling.machine([device], refresh=True)
        _measured.add(clnn_device)
    return device


def unseen_network() -> Graph:
    """Convolutions of 1×1 and 3×3 taps in turn, of sizes that the synthetic network has not."""
    random, types, constants, nodes, x = np.random.default_rng(1), {}, {}, [], "x"
    image = TensorType((1, CHANNELS, PIXELS, PIXELS), "float32")
    for index, taps in enumerate((1, 3) * 4):
        name, y = f"w{index}", f"y{index}"
        constants[name] = random.standard_normal((CHANNELS, CHANNELS, taps, taps), np.float32) / (CHANNELS * taps)
        types |= {name: TensorType(constants[name].shape, "float32"), y: image}
        nodes.append(Node(y, "Conv", (x, name), (y,), {"kernel_shape": (taps, taps), "pads": (taps // 2,) * 4}, 13))
        x = y
    return Graph(tuple(nodes), ("x",), (x,), {"x": image, **types}, constants)


def test_a_network_never_measured_is_predicted_in_its_order_of_magnitude(opened) -> None:
    graph, info = unseen_network(), opened.info
    machine = modelling.machine([opened])
    scheduled = find_policy("single")(graph, [info], CostModel(machine))
    planned = plan.build(plan.lower(graph, scheduled, [info]), [info])
    executor = Executor(LoadedPlan(planned, {info.id: opened}, programs.shared()))
    feeds = {"x": np.ones((1, CHANNELS, PIXELS, PIXELS), np.float32)}
    times_ms = []
    for _ in range(40):
        started = time.perf_counter()
        executor.run(feeds, graph.outputs)
        times_ms.append((time.perf_counter() - started) * 1e3)
    for predicted_ms in (simulate(planned, machine).duration_ms, scheduled.predicted_ms):
        # Other work may have slowed down either measurement; benchmarks/simulation.py tells how good it is.
        assert 0.2 < predicted_ms / statistics.median(times_ms) < 5.0


def test_a_model_has_every_part(opened) -> None:
    info = opened.info
    machine = modelling.machine([opened])
    model = machine.devices[info.id]
    assert {"conv_gemm", "winograd", "conv_direct", "depthwise", "separable", ""} <= set(model.rates)
    curves = [*model.rates.values(), model.bandwidth]
    assert all(np.isfinite(rate) and rate > 0 for curve in curves for _, rate in curve.points)
    assert 0 <= model.launch_ms < 1
    assert 0 <= model.sync_ms < 10
    assert set(machine.links) == {(info.id, "host"), ("host", info.id)}
    assert 0 < machine.transfer_ms("host", info.id, 1 << 20) < 100


def test_a_model_holds_for_one_driver_and_one_kind(opened) -> None:
    assert modelling.known(opened.info) is not None
    for other in (
        replace(opened.info, driver="another version"),
        replace(opened.info, compute_units=opened.info.compute_units + 1),
        replace(opened.info, kind="gpu"),
    ):
        assert modelling.known(other) is None
        machine = modelling.machine([replace(opened, info=other)])
        assert not machine.devices  # it is not measured unless asked for


def test_the_name_in_plans_does_not_matter(opened) -> None:
    renamed = replace(opened, info=replace(opened.info, id="cpu0"))
    machine = modelling.machine([renamed])
    assert list(machine.devices) == ["cpu0"]
    assert ("host", "cpu0") in machine.links


def test_devices_that_share_the_hosts_memory_need_no_transfer(opened) -> None:
    other = replace(opened, info=replace(opened.info, id="other"))
    machine = modelling.machine([opened, other])
    assert machine.transfer_ms(opened.info.id, "other", 1 << 30) == 0.0


def test_devices_are_measured_at_once_where_there_are_several(opened, monkeypatch) -> None:
    monkeypatch.setattr(course, "_MOST_RUNS", course._LEAST_RUNS)
    other = replace(opened, info=replace(opened.info, id="other", slowdown=2))
    both = [opened, other]
    assert not modelling.machine([opened]).crowded
    # One device under two names has two queues, each of which gets half of it.
    machine = replace(modelling.machine(both), crowded=modelling.measure_crowd(both, _alone(both)))
    assert set(machine.crowded) == {opened.info.id, "other"}
    assert all(model.rates.keys() == machine.devices[name].rates.keys() for name, model in machine.crowded.items())
    kept = modelling.machine(both)
    assert kept.crowded[opened.info.id].rates == machine.crowded[opened.info.id].rates
    work = Work("conv_gemm", 1e7, 0.0)
    assert kept.crowded["other"].work_ms(work) == pytest.approx(2 * machine.crowded["other"].work_ms(work))
    assert kept.at_once.devices == kept.crowded


def test_a_device_that_fails_leaves_nobody_waiting(opened, monkeypatch) -> None:
    monkeypatch.setattr(course, "_MOST_RUNS", course._LEAST_RUNS)
    other = replace(opened, info=replace(opened.info, id="other"))
    run, failing = course._Course.run, []

    def fail(self: course._Course) -> None:
        failing.append(self)
        if failing[0] is self:
            raise DeviceError("gone")
        run(self)

    monkeypatch.setattr(course._Course, "run", fail)
    with pytest.raises(DeviceError, match="gone"):
        modelling.measure_crowd([opened, other], _alone([opened, other]))


def _alone(devices: list[OpenDevice]) -> dict[str, modelling.Measured]:
    return {each.info.id: modelling.known(each.info) for each in devices}
