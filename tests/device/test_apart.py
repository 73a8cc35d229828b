"""Layers cut by rows among devices with memories of their own, which exchange the rows beside the borders."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import clnn
from clnn.plan import Copy
from clnn.runtime import selection
from clnn.schedule import apart
from tests.device.test_random_networks import NODES, RandomNet

RANDOM = np.random.default_rng(0)


@pytest.fixture
def apart_pair(clnn_device, tmp_path):
    """A reference to an entry of two devices that share no memory: parts of the one under test, or all of it twice."""
    whole = selection.select(clnn_device)[0].info
    if not whole.subdevices or whole.compute_units < 2:
        pytest.skip("this device cannot be cut")
    lines = [f"      - {{id: d{index}, select: '{clnn_device}', subdevice: {index}, memory: separate}}\n"
             for index in (0, 1)]
    file = tmp_path / "apart.yaml"
    file.write_text("version: 1\nplatforms:\n  apart:\n    devices:\n" + "".join(lines))
    return f"{file}#apart"


@pytest.fixture
def cut_all(monkeypatch):
    """Cuts every layer that can be cut, whether it gains or not."""
    monkeypatch.setattr(apart._Costing, "_hop_ms", lambda self, tensor: 0.0)
    monkeypatch.setattr(apart._Costing, "_whole_ms", lambda self, node: 1e3)


def network(*layers: tuple, channels: int = 3, size: int = 40, batch: int = 1) -> onnx.ModelProto:
    """Layers one after the other: ("Conv", filters, kernel, stride), ("MaxPool", kernel, stride), ("Add", back) ..."""
    nodes, weights, names, depth = [], [], ["x"], [channels]
    for index, (op, *numbers) in enumerate(layers):
        x, y = names[-1], f"t{index}"
        match op:
            case "Conv":
                filters, kernel, stride = numbers
                shape = filters, depth[-1], kernel, kernel
                array = RANDOM.standard_normal(shape, np.float32) * np.float32(1 / np.sqrt(np.prod(shape[1:])))
                weights.append(numpy_helper.from_array(array, f"w{index}"))
                nodes.append(helper.make_node(op, [x, f"w{index}"], [y], strides=[stride] * 2, pads=[kernel // 2] * 4))
                depth.append(filters)
            case "MaxPool" | "AveragePool":
                kernel, stride = numbers
                nodes.append(helper.make_node(op, [x], [y], kernel_shape=[kernel] * 2, strides=[stride] * 2,
                                              pads=[kernel // 2] * 4))
                depth.append(depth[-1])
            case "Add" | "Concat":
                other = names[-1 - numbers[0]]
                nodes.append(helper.make_node(op, [x, other], [y], **({"axis": 1} if op == "Concat" else {})))
                depth.append(depth[-1] + (depth[-1 - numbers[0]] if op == "Concat" else 0))
            case _:
                nodes.append(helper.make_node(op, [x], [y]))
                depth.append(depth[-1])
        names.append(y)
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch, channels, size, size])
    y = helper.make_tensor_value_info(names[-1], onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "apart", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


CONV = ("Conv", 32, 3, 1)


@pytest.mark.parametrize(("layers", "size", "batch"), [
    ((CONV, CONV, CONV), 40, 1),
    ((("Conv", 32, 7, 2), ("MaxPool", 3, 2), CONV, ("Conv", 16, 1, 1)), 37, 1),
    ((("Conv", 32, 5, 1), ("AveragePool", 3, 1), ("Relu",)), 37, 3),
    ((CONV, CONV, CONV, ("Add", 2), ("Concat", 1), ("Conv", 8, 1, 1)), 40, 1),
    ((CONV, ("GlobalAveragePool",)), 37, 3),
], ids=["three", "strided", "pooled", "joined", "whole at the end"])
@pytest.mark.usefixtures("cut_all")
def test_two_devices_compute_the_same_bits_as_one(apart_pair, layers, size, batch):
    model = network(*layers, size=size, batch=batch)
    feeds = {"x": RANDOM.random((batch, 3, size, size), np.float32)}
    with clnn.InferenceSession(model, "d0", "single", platforms=apart_pair) as one:
        expected = one.run(None, feeds)
    with clnn.InferenceSession(model, "d0,d1", "split", platforms=apart_pair) as both:
        assert both.plan().schedule.policy == "split"
        for _ in range(2):
            for got, want in zip(both.run(None, feeds), expected, strict=True):
                np.testing.assert_array_equal(got, want)


@pytest.mark.usefixtures("cut_all")
@pytest.mark.parametrize("seed", [300, 304, 319, 329])
def test_random_networks(apart_pair, seed):
    net = RandomNet(seed)
    model = net.grow(NODES)
    feeds = {"x": net.random.standard_normal(net.shapes["x"], np.float32)}
    with clnn.InferenceSession(model, "d0", "single", platforms=apart_pair) as one:
        expected = one.run(None, feeds)
    with clnn.InferenceSession(model, "d0,d1", "split", platforms=apart_pair) as both:
        assert any("@" in node.name for node in both.plan().graph.nodes), "nothing was cut"
        for got, want in zip(both.run(None, feeds), expected, strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.usefixtures("cut_all")
def test_only_rows_beside_borders_are_exchanged(apart_pair):
    model = network(CONV, CONV, CONV, CONV)
    with clnn.InferenceSession(model, "d0,d1", "split", platforms=apart_pair) as both:
        plan = both.plan()
    types = plan.graph.types
    exchanged = [step.tensor for step in plan.steps if isinstance(step, Copy) and step.tensor not in ("x", "t3")]
    halos = [name for name in exchanged if types[name].shape[2] <= 4]
    # Both sides of a border, three layers behind the first; each goes to the host and on. Then there is the result.
    assert len(halos) == 2 * 2 * 3
    assert len(exchanged) - len(halos) <= 3


def test_a_small_network_is_not_cut(apart_pair):
    model = network(("Conv", 8, 3, 1), size=12)
    with clnn.InferenceSession(model, "d0,d1", "split", platforms=apart_pair) as both:
        schedule = both.plan().schedule
    assert schedule.policy == "single"
    assert "no layer gains" in schedule.reason
