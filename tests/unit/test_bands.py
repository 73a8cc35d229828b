"""Chains in bands of rows: arithmetic of rows, decisions for made-up devices, and their proof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest

from clnn import frontend
from clnn.devices.info import DeviceInfo
from clnn.errors import OutOfMemoryError
from clnn.ops.rows import WHOLE, Reach
from clnn.plan import Plan, chains
from clnn.plan.bands import Bands, Stage, cut
from clnn.plan.proof import refutation
from clnn.plan.traffic import plan_traffic_bytes
from clnn.planning import plan_graph
from tests.device.test_regions import Net

CPU = DeviceInfo("cpu0", compute_units=2, local_mem=1 << 20, cache_bytes=1 << 25)


@pytest.mark.parametrize(
    "reach", [Reach(), Reach(3, 1, 1), Reach(3, 2, 0), Reach(5, 1, 4), Reach(1, 2, 0), Reach(2, 3, 1), Reach(repeat=2)]
)
def test_rows_that_a_window_sees(reach):
    height, count = 24, 7
    for start in range(0, count, reach.repeat):
        for stop in range(start + reach.repeat, count + 1, reach.repeat):
            tops = [row // reach.repeat * reach.stride - reach.before for row in range(start, stop)]
            seen = {row for top in tops for row in range(top, top + reach.span)}
            inside = [row for row in seen if 0 <= row < height]
            assert reach.rows(start, stop, height) == (min(inside), max(inside) + 1)
            above, below = reach.padding(start, stop, height)
            assert (above, below) == (max(0, -min(seen)), max(0, max(seen) + 1 - height))


CONV, POOL = Reach(3, 1, 1), Reach(2, 2, 0)
STAGES = {
    "convolutions": [Stage((("x", CONV),), ("a",)), Stage((("a", CONV),), ("y",))],
    "a tile of four rows": [Stage((("x", CONV),), ("a",), 4), Stage((("a", CONV),), ("y",), 4)],
    "pools": [Stage((("x", CONV),), ("a",)), Stage((("a", POOL),), ("b",)), Stage((("b", CONV),), ("y",))],
    "a branch": [
        Stage((("x", CONV),), ("a",)), Stage((("a", CONV),), ("b",)), Stage((("b", CONV), ("a", Reach())), ("y",)),
    ],
    "enlarged": [Stage((("x", POOL),), ("a",)), Stage((("a", Reach(repeat=2)),), ("y",), 2)],
}  # fmt: skip
HEIGHTS = {"enlarged": {"a": 48}, "pools": {"b": 48, "y": 48}}


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("rows", [1, 3, 6])
def test_bands_have_what_they_read(name, rows):
    stages, heights = STAGES[name], {**dict.fromkeys("xaby", 96), **HEIGHTS.get(name, {})}
    bands = cut(stages, heights, ["y"], rows)
    assert isinstance(bands, Bands)
    assert bands.ends["y"][-1] == heights["y"]
    for band in range(bands.count):
        for stage in stages:
            start, stop = bands.computed(stage.writes[0], band)
            assert start == stop or start % stage.tile == 0
            for tensor, reach in stage.reads if start < stop and tensor_is_inside(stage, bands) else ():
                first, last = reach.rows(start, stop, heights[tensor])
                kept = bands.kept(tensor, band)
                assert kept[0] <= first < last <= kept[1]
    assert all(4 * bands.most_kept[tensor] <= heights[tensor] for tensor in bands.starts)


def tensor_is_inside(stage: Stage, bands: Bands) -> bool:
    return all(tensor in bands.starts for tensor, _ in stage.reads)


@pytest.mark.parametrize(("rows", "reason"), [(16, "make 3 bands"), (12, "would have to be kept")])
def test_what_cannot_be_cut(rows, reason):
    problem = cut(STAGES["convolutions"], dict.fromkeys("xay", 48), ["y"], rows)
    assert isinstance(problem, str)
    assert reason in problem


def tiny_yolo(size: int) -> onnx.ModelProto:
    """The first six layers of tiny-YOLOv2."""
    net, x, channels = Net(), "x", 3
    for filters in (16, 32, 64):
        x = net.node("LeakyRelu", net.conv(x, channels, filters, 3), alpha=0.1)
        x, channels = net.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), filters
    return net.model((1, 3, size, size), x)


def yolov8_stem(size: int) -> onnx.ModelProto:
    """The first convolutions and the first block of YOLOv8n."""
    net = Net()

    def conv(x: str, channels: int, filters: int, kernel: int, **attrs: list[int]) -> str:
        y = net.conv(x, channels, filters, kernel, **attrs)
        return net.node("Mul", y, net.node("Sigmoid", y))

    x = conv(conv("x", 3, 16, 3, strides=[2, 2]), 16, 32, 3, strides=[2, 2])
    a, b = net.split(conv(x, 32, 32, 1), 16, 16)
    c = net.node("Add", b, conv(conv(b, 16, 16, 3), 16, 16, 3))
    return net.model((1, 3, size, size), conv(net.concat(a, b, c), 48, 32, 1))


def plan_of(model: onnx.ModelProto, chain: str, device: DeviceInfo = CPU) -> Plan:
    graph = frontend.load(model)
    shapes = {name: graph.types[name].shape for name in graph.inputs}
    return plan_graph(graph, shapes, [device], chain=chain)


def inner_arena_bytes(plan: Plan) -> int:
    """The arena without what the network is given and gives."""
    types = plan.graph.types
    borders = sum(types[name].nbytes for name in (*plan.graph.inputs, *plan.lowered.outputs.values()))
    return sum(arena.nbytes for arena in plan.arenas.values()) - borders


@pytest.mark.parametrize(("network", "size"), [(tiny_yolo, 416), (yolov8_stem, 640), (yolov8_stem, 1280)])
def test_chains_save_traffic_and_memory(network, size):
    off, on = (plan_of(network(size), chain) for chain in ("off", "on"))
    taken = [chain for chain in on.lowered.chains if chain.taken]
    assert taken
    assert plan_traffic_bytes(on.lowered) <= 0.4 * plan_traffic_bytes(off.lowered)
    assert inner_arena_bytes(on) <= 0.5 * inner_arena_bytes(off)
    for chain in taken:
        assert chain.bands >= 4
        assert all(4 * buffer.nbytes <= buffer.whole_bytes for buffer in chain.buffers.values())


def test_what_fits_a_cache_is_not_chained_for_time():
    lowered = plan_of(tiny_yolo(128), "auto").lowered
    assert lowered.chains == ()
    assert "cache of 33.6 MB" in lowered.chain_reason


def test_what_no_cache_holds_is_chained_for_time():
    device = replace(CPU, cache_bytes=1 << 20, gflops=1000.0, bandwidth_gbs=5.0)
    chosen = [chain for chain in plan_of(tiny_yolo(512), "auto", device).lowered.chains if chain.taken]
    assert chosen
    assert all(chain.reason == "predicted to be faster" for chain in chosen)
    assert all(chain.banded.ms < chain.layered.ms for chain in chosen)


def test_chains_that_would_be_slower_are_declined_with_a_reason():
    device = replace(CPU, cache_bytes=1 << 20, gflops=1.0, bandwidth_gbs=1000.0)
    (declined,) = plan_of(tiny_yolo(256), "auto", device).lowered.chains
    assert not declined.taken
    assert "predicted to save less than 3 %" in declined.reason


def test_what_does_not_fit_otherwise_is_chained():
    device = replace(CPU, max_alloc=8 << 20)
    with pytest.raises(OutOfMemoryError):
        plan_of(tiny_yolo(416), "off", device)
    plan = plan_of(tiny_yolo(416), "auto", device)
    assert plan.lowered.chains
    assert all(chain.taken and "would not fit the device" in chain.reason for chain in plan.lowered.chains)


MUTATIONS: dict[str, Callable[[list], list]] = {
    "a node less": lambda nodes: nodes[:-2] + nodes[-1:],
    "a node twice": lambda nodes: [*nodes[:3], *nodes[2:]],
    "another order": lambda nodes: [nodes[-1], *nodes[:-1]],
    "rows too early": lambda nodes: [shifted(node, -1) for node in nodes],
    "rows too late": lambda nodes: [shifted(node, 1) for node in nodes],
    "no padding": lambda nodes: [node.with_attrs(pads=(0, 1, 0, 1)) if node.op == "Conv" else node for node in nodes],
    "padding within": lambda nodes: [
        node.with_attrs(pads=(1, 1, 1, 1)) if node.op == "Conv" else node for node in nodes
    ],
}


def shifted(node, by: int):
    if node.op != "Slice" or WHOLE in node.attrs:
        return node
    return node.with_attrs(**{key: tuple(at + by for at in node.attrs[key]) for key in ("starts", "ends")})


@pytest.mark.parametrize("name", MUTATIONS)
def test_what_is_wrong_is_not_proven(monkeypatch, name):
    seen = []

    def observed(nodes, *others):
        seen.append((refutation(nodes, *others), refutation(MUTATIONS[name](list(nodes)), *others)))

    monkeypatch.setattr(chains, "refutation", observed)
    net = Net()
    plan_of(net.model((1, 3, 96, 32), net.conv(net.conv("x", 3, 16, 3), 16, 16, 3)), "on")
    assert seen
    assert all(right is None and wrong is not None for right, wrong in seen)


def test_bands_share_their_weights():
    constants = [plan_of(yolov8_stem(320), chain).weights_bytes for chain in ("off", "on")]
    assert constants[1] < 1.2 * constants[0]
    assert np.isfinite(constants).all()
