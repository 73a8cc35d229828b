"""Plans in virtual time, whole networks on described machines, and traces."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from clnn import frontend
from clnn.devices import described, platforms
from clnn.devices.info import DeviceInfo
from clnn.devices.model import Curve, DeviceModel, Link, MachineModel, Work
from clnn.errors import InputError, UsageError
from clnn.kernels import Kernel, source
from clnn.plan import Host, Run
from clnn.plan.simulate import simulate, tasks
from clnn.planning import plan_graph
from clnn.schedule import HOST
from clnn.schedule.timeline import Event, summarise
from clnn.tools.simulator import find_machine, simulate_network
from clnn.tools.trace import write_trace
from tests.support import node_model
from tests.unit.test_described import MACHINES

IMAGE = (1, 8, 16, 16)
NBYTES = 4 * 8 * 16 * 16
LINKS = {pair: Link(*pair, 1.0, 0.5) for pair in (("host", "gpu0"), ("gpu0", "host"))}


@pytest.fixture
def conv():
    weights = np.ones((8, 8, 3, 3), np.float32)
    return node_model("Conv", [np.ones(IMAGE, np.float32), weights], constants=[1], pads=[1, 1, 1, 1])


@pytest.fixture
def file(conv, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(conv.SerializeToString())
    return str(path)


def plan_of(model, **info):
    graph = frontend.load(model)
    device = DeviceInfo("gpu0", max_alloc=1 << 30, **info)
    return plan_graph(graph, {name: graph.types[name].shape for name in graph.inputs}, [device])


def test_a_plan_takes_what_its_steps_take(conv):
    plan = plan_of(conv, kind="gpu", max_work_group_size=256)
    model = DeviceModel({"": Curve.flat(1e6)}, Curve.flat(1e6), launch_ms=0.25, sync_ms=9.0)
    timeline = simulate(plan, MachineModel({"gpu0": model}, LINKS))
    runs = [step for step in plan.steps if isinstance(step, Run)]
    kernels_ms = sum(model.work_ms(step.work) for step in runs if step.work is not None)
    copies_ms = 2 * (0.5 + NBYTES / 1e6)
    assert timeline.busy_ms["gpu0"] == pytest.approx(kernels_ms)
    assert timeline.duration_ms == pytest.approx(kernels_ms + copies_ms + 0.25 * len(plan.steps))
    assert [event.track for event in timeline.events if "→" in event.track] == ["host → gpu0", "gpu0 → host"]


def test_a_copy_without_a_link_is_one_within_a_memory(conv):
    plan = plan_of(conv)
    model = DeviceModel({"": Curve.flat(1e6)}, Curve.flat(1e6))
    first = tasks(plan, MachineModel({"gpu0": model}))[0]
    assert (first.link, first.duration_ms) == ("host → gpu0", pytest.approx(2 * NBYTES / 1e6))


def test_devices_that_split_layers_wait_for_each_other():
    weights = np.ones((64, 8, 3, 3), np.float32)
    graph = frontend.load(node_model("Conv", [np.ones((1, 8, 64, 64), np.float32), weights], constants=[1]))
    infos = [DeviceInfo(name, max_alloc=1 << 30) for name in ("a", "b")]
    model = DeviceModel({"": Curve.flat(1e6)}, Curve.flat(1e9), launch_ms=0.0, sync_ms=0.125)
    machine = MachineModel(dict.fromkeys(("a", "b"), model))
    shapes = {name: graph.types[name].shape for name in graph.inputs}
    plan = plan_graph(graph, shapes, infos, "split", machine=machine)
    events = simulate(plan, machine).events
    crossing = [
        (events[index], events[other])
        for index, step in enumerate(plan.steps)
        for other in step.waits_for
        if plan.steps[other].device != step.device
    ]
    assert crossing
    assert all(later.start_ms >= earlier.finish_ms + 0.125 for later, earlier in crossing)
    alone_ms = simulate(plan_graph(graph, shapes, infos[:1], machine=machine), machine).duration_ms
    assert events[-1].finish_ms < 0.7 * alone_ms


def test_devices_are_slower_while_others_work_too(conv):
    kernel, work = Kernel("k", "k.cl").launch((), (1,)), Work("", 2e6, 0.0)
    steps = (Run("n", "a", kernel, (), work), Run("m", "b", kernel, (), replace(work, operations=1e6)))
    plan = replace(plan_of(conv), steps=steps)
    alone, crowded = (DeviceModel({"": Curve.flat(rate)}, Curve.flat(1e9), launch_ms=0.0) for rate in (1e6, 0.5e6))
    devices = dict.fromkeys(("a", "b"), alone)
    durations_ms = [[task.duration_ms for task in tasks(plan, MachineModel(devices, crowded=slow))]
                    for slow in ({}, dict.fromkeys(devices, crowded), {"b": crowded})]
    assert durations_ms == [[2.0, 1.0], [3.0, 2.0], [2.0, 2.0]]


def test_what_comes_after_a_node_on_the_host_waits_for_it(conv):
    plan = plan_of(conv)
    node = plan.graph.nodes[0]
    kernel = Kernel("k", "k.cl").launch((), (1,))
    work = Work("", 1e6, 0.0)
    steps = (Run("n", "gpu0", kernel, (), work), Host(node, {}, (0,)), Run("m", "other", kernel, (), work))
    model = DeviceModel({"": Curve.flat(1e6)}, Curve.flat(1e6), launch_ms=0.0, sync_ms=0.125)
    timeline = simulate(replace(plan, steps=steps), MachineModel({"gpu0": model, "other": model}))
    assert [event.start_ms for event in timeline.events] == [0.0, 1.125, 1.125]


@pytest.mark.parametrize("platform", MACHINES)
def test_every_machine_that_ships_runs_every_policy(file, platform):
    machine = find_machine(None, f"#{platform}")
    if len(machine.infos) == 1:
        pytest.skip("all policies are one, see test_boards")
    found = simulate_network(file, {}, None, None, f"#{platform}", images=16)
    assert [each.timeline.duration_ms for each in found] == sorted(each.timeline.duration_ms for each in found)
    figures = {each.policy: each.as_dict() for each in found}
    assert {"single", "split", "heft", "batch", "pipeline"} <= set(figures)
    assert set(figures["batch"]["utilisation"]) == {info.id for info in machine.infos}
    assert all(share > 0 for share in figures["batch"]["utilisation"].values())
    assert all(each["energy_j_per_image"] > 0 for each in figures.values())


def test_devices_left_out_still_take_power(file):
    (alone,) = simulate_network(file, {}, "gpu0", None, "#odroid-xu4")
    assert alone.timeline.utilisation["cpu0"] == 0
    board_mj = 3.9 * alone.timeline.duration_ms
    assert alone.timeline.energy_mj == pytest.approx(board_mj + 4 * alone.timeline.busy_ms["gpu0"])


def test_the_kernels_of_efficiencies_exist():
    for name in MACHINES:
        for kind in {kind for device in platforms.pick(name).devices for kind in device.describe.efficiency}:
            assert f"void {kind}(" in source.read(f"{kind}.cl")


def test_nodes_on_the_host_are_counted(tmp_path):
    model = node_model("NonZero", [np.ones((4, 4), np.float32)])
    plan = plan_of(model)
    assert any(isinstance(step, Host) for step in plan.steps)
    path = tmp_path / "host.onnx"
    path.write_bytes(model.SerializeToString())
    (found,) = simulate_network(str(path), {}, None, "single", "#desktop")
    assert found.host_nodes == 1


@pytest.mark.parametrize(("policy", "message"), [("fastest", "choose one of .*batch"), ("batch", "--images"),
                                               ("pipeline", "--images")])
def test_policies_that_mean_nothing(file, policy, message):
    with pytest.raises(UsageError, match=message):
        simulate_network(file, {}, None, policy, "#desktop")


def test_a_trace_has_a_process_per_policy_and_a_track_per_queue(tmp_path):
    events = [Event("k", "gpu0", 1.0, 3.0), Event("none", "gpu0", 3.0, 3.0), Event("x", "gpu0 → host", 3.0, 3.5, 7)]
    machine = MachineModel({name: DeviceModel.roofline(1.0, 1.0) for name in ("gpu0", "gpu1")})
    path = tmp_path / "trace.json"
    write_trace(str(path), {"single": summarise(events, machine), "batch": summarise([], machine)})
    written = json.loads(path.read_text())["traceEvents"]
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in written if e["name"] == "thread_name"}
    assert names == {(0, 0): "gpu0", (0, 1): "gpu1", (0, 2): "gpu0 → host", (1, 0): "gpu0", (1, 1): "gpu1"}
    assert [e["args"]["name"] for e in written if e["name"] == "process_name"] == ["single", "batch"]
    complete = [(e["name"], e["pid"], e["tid"], e["ts"], e["dur"], e["args"]) for e in written if e["ph"] == "X"]
    assert complete == [("k", 0, 0, 1000.0, 2000.0, {"image": 0}), ("x", 0, 2, 3000.0, 500.0, {"image": 7})]


def test_a_trace_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write_trace(str(tmp_path / "missing" / "trace.json"), {})


def test_one_hosts_name():
    assert described.HOST == HOST
