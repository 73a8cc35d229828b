"""What ``clnn plan`` tells of a plan: table, JSON, picture; of a made-up plan for two devices."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from clnn.devices.info import DeviceInfo
from clnn.devices.model import Curve, DeviceModel, MachineModel, Work
from clnn.errors import UsageError
from clnn.graph import Graph, Node, TensorType
from clnn.kernels import Kernel
from clnn.ops import Lowered
from clnn.plan import Plan, build
from clnn.plan.divide import divide_node
from clnn.plan.draw import to_svg
from clnn.plan.table import as_dict, as_text
from clnn.plan.times import Times, predict
from clnn.plan.types import LoweredGraph
from clnn.runtime import selection
from clnn.runtime.discovery import IsolatedDevice
from clnn.schedule import HOST, Assignment, Schedule
from clnn.schedule.team import team_of
from clnn.tools.planner import plan_network
from tests.support import node_model

DEVICES = (DeviceInfo("fast"), DeviceInfo("slow"))
MODELS = [DeviceModel({"": Curve.flat(rate)}, Curve.flat(4096.0), launch_ms=0.0, sync_ms=0.25) for rate in (3e6, 1e6)]
KERNEL = Kernel("k", "k.cl", cuts=(0,))
HOSTILE = 'b<&"\x01]]>\n'
SVG = "{http://www.w3.org/2000/svg}"


def plan_of(known: bool = True) -> Plan:
    """Four layers: one worth cutting 3 : 1, one not, one that shares memory, one for the host."""
    team = team_of(DEVICES, (3.0, 1.0))
    nodes = (
        Node("a", "Relu", ("x",), ("t",), {}, 13),
        Node(HOSTILE, "Relu", ("t",), ("u",), {}, 13),
        Node("c", "Reshape", ("u",), ("v",), {}, 13),
        Node("d", "Det", ("v",), ("y",), {}, 13),
    )
    image = TensorType((1, 8, 8, 8), "float32")
    graph = Graph(nodes, ("x",), ("y",), {**dict.fromkeys("xtuv", image), "y": TensorType((1, 8), "float32")}, {})
    lowered = {
        "a": Lowered((KERNEL.launch(("x", "t"), (8,)),), choice="tile 4", work=Work("k", 12e6, 0.0), reason="likes 4"),
        HOSTILE: Lowered((KERNEL.launch(("t", "u"), (8,)),), choice="tile 2", work=Work("k", 6e5, 0.0)),
        "c": Lowered(alias={"v": "u"}),
    }
    schedule = Schedule(
        {name: Assignment(name, team.id, "a team") for name in lowered} | {"d": Assignment("d", HOST, "no kernel")},
        "auto: split", 9.0, {team.id: team}, reason="split is predicted to take 9.00 ms; single 9.99 ms",
    )  # fmt: skip
    parts = {name: divide_node(each, DEVICES, MODELS) for name, each in lowered.items()}
    machine = MachineModel(dict(zip(team.members, MODELS, strict=True)) if known else {})
    return build(LoweredGraph(graph, schedule, {"y": "y"}, lowered, machine=machine, parts=parts), DEVICES)


MEASURED = Times((0.5, 3.5, 4.0, 0.125, 0.5, 2.0), 11.0)
"""Of the steps: copy, both parts of a, the other layer, copy, host."""


def test_predicted_times_are_those_of_a_simulation():
    plan = plan_of()
    assert predict(plan) == Times((1.0, 3.0, 3.0, pytest.approx(0.2), 1.0, None), pytest.approx(5.95))
    assert predict(plan_of(known=False)) is None


def test_a_plan_as_data():
    data = as_dict(plan_of(), MEASURED)
    layers = data.pop("layers")
    assert data == {
        "policy": "auto: split",
        "reason": "split is predicted to take 9.00 ms; single 9.99 ms",
        "devices": ["fast", "slow"],
        "predicted_ms": pytest.approx(5.95),
        "measured_ms": 11.0,
        "arenas": {"shared": {"bytes": 4096, "lower_bound_bytes": 4096}},
        "weights_bytes": 0,
        "chains": [],
        "chain_reason": "",
        "steps": 6,
    }
    image = {"output": "float32[1×8×8×8]", "bytes": 4096, "flops": 512}
    assert layers[:2] == [
        {
            "layer": "a", "op": "Relu", "device": "fast+slow", "shares": {"fast": 0.75, "slow": 0.25},
            "algorithm": "tile 4", "launches": 1, "reason": "a team; cut: 3.250 ms, whole 4.000; likes 4",
            "predicted_ms": 3.0, "measured_ms": 4.0, **image,
        },
        {
            "layer": HOSTILE, "op": "Relu", "device": "fast", "shares": {"fast": 1.0},
            "algorithm": "tile 2", "launches": 1, "reason": "a team; whole: 0.200 ms, cut 0.400",
            "predicted_ms": pytest.approx(0.2), "measured_ms": 0.125, **image,
        },
    ]  # fmt: skip
    told = [(each["device"], each["shares"], each["predicted_ms"], each["measured_ms"]) for each in layers[2:]]
    assert told == [("fast+slow", {}, 0.0, 0.0), ("host", {"host": 1.0}, None, 2.0)]


def test_shares_of_a_device_with_several_parts_add_up():
    plan = plan_of()
    (fast, slow) = plan.lowered.parts["a"][0]
    parts = {**plan.lowered.parts, "a": ((replace(fast, share=0.5), replace(fast, share=0.25), slow),)}
    plan = replace(plan, lowered=replace(plan.lowered, parts=parts))
    assert as_dict(plan)["layers"][0]["shares"] == {"fast": 0.75, "slow": 0.25}


def test_only_what_is_known_is_told():
    data = as_dict(plan_of())
    assert "measured_ms" not in {*data, *data["layers"][0]}
    data = as_dict(plan_of(known=False))
    assert (data["predicted_ms"], data["layers"][0]["predicted_ms"]) == (None, None)
    assert "predicted" not in as_text(plan_of(known=False)).splitlines()[-2]


def test_what_runs_in_another_process_is_not_measured(monkeypatch, tmp_path):
    model = tmp_path / "relu.onnx"
    model.write_bytes(node_model("Relu", [np.ones(4, np.float32)]).SerializeToString())
    away = DeviceInfo("away", isolated=True)
    monkeypatch.setattr(selection, "select", lambda *_: [IsolatedDevice(away, away)])
    assert plan_network(str(model), {})[0].used_devices == ("away",)
    with pytest.raises(UsageError, match="away.*clnn bench"):
        plan_network(str(model), {}, measure=True)


def test_a_plan_as_text():
    lines = as_text(plan_of(), MEASURED).replace(HOSTILE, "b").splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "layer op device algorithm output predicted ms measured ms reason",
        "a Relu fast 75 % + slow 25 % tile 4 float32[1×8×8×8] 3.000 4.000 a team; cut: 3.250 ms, whole 4.000; likes 4",
        "b Relu fast tile 2 float32[1×8×8×8] 0.200 0.125 a team; whole: 0.200 ms, cut 0.400",
        "c Reshape fast+slow no work: shares memory float32[1×8×8×8] 0.000 0.000 a team",
        "d Det host reference operator float32[1×8] - 2.000 no kernel",
        "4 layers (1 on the host), 6 steps, policy auto: split; weights 0.00 MB, arena on shared 0.00 MB",
        "predicted 5.95 ms without the host's layers, measured 11.00 ms",
        "split is predicted to take 9.00 ms; single 9.99 ms",
    ]


def test_the_picture_places_boxes_by_time_and_escapes_names():
    root = ElementTree.fromstring(to_svg(plan_of(), "<net>", MEASURED))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts[:3] == [
        "<net>: policy auto: split",
        "predicted 5.95 ms without the host's layers, measured 11.00 ms",
        "split is predicted to take 9.00 ms; single 9.99 ms",
    ]
    assert {"fast", "slow", "host", "a", "d", "Relu 7.62 ms", "Det 2.00 ms", "copy 1.00 ms"} <= set(texts)
    groups = [(group.find(f"{SVG}title").text, group.find(f"{SVG}rect")) for group in root.iter(f"{SVG}g")]
    tips = sorted(tip for tip, _ in groups)
    assert tips[0] == "a (Relu)\n3.500 ms measured, 3.000 ms predicted\nfast: 75 %\ntile 4\n" + (
        "a team; cut: 3.250 ms, whole 4.000; likes 4"
    )
    assert tips[2].startswith('b<&"\ufffd]]>\n (Relu)\n0.125 ms measured')
    # 0.5 ms of copying, 0.25 until the slow one hears of it, 4 there, 0.25 until the fast one does, and so on.
    spans = {(0, 0.5), (0.5, 4), (0.75, 4.75), (5, 5.125), (5.125, 5.625), (5.875, 7.875)}
    scale = 1000 / 7.875
    placed = {(float(box.get("x")) - 120, float(box.get("width"))) for _, box in groups}
    assert {(round(x / scale, 3), round((x + width) / scale, 3)) for x, width in placed} == spans
    rows = {tip[0] + tip.split("\n")[2][:4]: float(box.get("y")) for tip, box in groups if tip.startswith("a")}
    assert rows["afast"] < rows["aslow"]


def test_a_picture_needs_devices_of_known_speed():
    with pytest.raises(UsageError, match="fast.*hint"):
        to_svg(plan_of(known=False), "net", MEASURED)


def test_a_picture_of_what_takes_no_time():
    graph = Graph((), ("x",), ("x",), {"x": TensorType((1,), "float32")}, {})
    plan = build(LoweredGraph(graph, Schedule({}, "single"), {"x": "x"}, {}), DEVICES)
    assert not list(ElementTree.fromstring(to_svg(plan, "net")).iter(f"{SVG}g"))
