"""Convolutions on every device, against onnx's reference evaluator."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from clnn import InferenceSession
from clnn.runtime import selection
from tests.support import check_node

RNG = np.random.default_rng(7)

# x, weights, attributes: odd sizes everywhere, so that no tile and no vector divides them
DENSE = [
    ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    ((1, 3, 9, 11), (5, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
    ((2, 3, 20, 20), (16, 3, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((2, 8, 7, 7), (33, 8, 3, 3), {"pads": [0, 1, 2, 1]}),
    ((1, 4, 13, 17), (70, 4, 5, 3), {"strides": [2, 3], "pads": [2, 0, 1, 1]}),
    ((1, 6, 13, 17), (20, 6, 3, 3), {"dilations": [2, 3], "pads": [2, 3, 2, 3]}),
    ((1, 3, 16, 30), (17, 3, 7, 7), {"strides": [2, 2], "pads": [3, 3, 3, 3]}),
    ((2, 64, 6, 6), (50, 64, 1, 1), {}),
    ((2, 20, 6, 6), (50, 20, 1, 1), {"strides": [2, 2]}),
    ((2, 5, 6, 6), (7, 5, 1, 1), {"pads": [1, 2, 0, 1]}),
    ((1, 4, 3, 3), (4, 4, 5, 5), {"pads": [2, 2, 2, 2]}),
    ((1, 16, 4, 1), (20, 16, 3, 1), {"pads": [1, 0, 1, 0]}),
    ((1, 4, 11, 12), (6, 4, 3, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ((1, 4, 11, 12), (6, 4, 2, 4), {"auto_pad": "SAME_LOWER", "strides": [1, 2]}),
    ((1, 4, 11, 12), (6, 4, 3, 3), {"auto_pad": "VALID"}),
    ((1, 3, 30), (8, 3, 5), {"pads": [2, 2], "strides": [2]}),
    ((0, 4, 5, 5), (3, 4, 3, 3), {}),
]
GROUPED = [
    ((1, 6, 9, 9), (9, 2, 3, 3), {"group": 3, "pads": [1, 1, 1, 1]}),
    ((1, 57, 5, 5), (60, 19, 1, 1), {"group": 3}),
    ((1, 6, 12, 10), (12, 1, 3, 3), {"group": 6, "pads": [1, 1, 1, 1]}),
    ((1, 3, 8, 9), (3, 1, 3, 3), {"group": 3}),
]
DEPTHWISE = [
    ((1, 24, 10, 14), (24, 1, 3, 3), {"group": 24, "pads": [1, 1, 1, 1]}),
    ((2, 19, 15, 13), (19, 1, 5, 5), {"group": 19, "strides": [2, 2], "pads": [2, 2, 2, 2]}),
    ((1, 7, 15, 13), (7, 1, 3, 3), {"group": 7, "pads": [1, 1, 1, 1], "dilations": [2, 2]}),
    ((1, 40, 5, 4), (40, 1, 7, 7), {"group": 40, "pads": [3, 3, 3, 3]}),
    ((1, 40, 6, 21), (40, 1, 3, 3), {"group": 40, "pads": [1, 1, 0, 0], "strides": [1, 2]}),
    ((2, 20, 31), (20, 1, 5), {"group": 20, "pads": [2, 2]}),
]
ACTIVATIONS = [
    ("Relu", {}),
    ("LeakyRelu", {"alpha": 0.1}),
    ("Clip", {}),
    ("HardSigmoid", {"alpha": 0.25, "beta": 0.4}),
    ("HardSwish", {}),
    ("Sigmoid", {}),
    ("Silu", {}),
    ("Tanh", {}),
    ("PRelu", {}),
]
RESIDUALS = [None, "before", "after"]
EPILOGUES = [(*activation, RESIDUALS[index % 3]) for index, activation in enumerate(ACTIVATIONS)]
"""One residual with each activation: for kernels that compute both by the same lines as one tested with all pairs."""


@pytest.fixture
def as_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make sessions take the device for a GPU, so that they use the kernels for those."""
    select = selection.select

    def pretend(*args, **kwargs):
        return [replace(opened, info=replace(opened.info, kind="gpu")) for opened in select(*args, **kwargs)]

    monkeypatch.setattr(selection, "select", pretend)


def array(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, np.float32)


def tolerance(depth: int) -> float:
    """Absolute tolerance of a sum of ``depth`` products of normal numbers in float32.

    The partial sums grow like √k, so that the rounding errors (6e-8 of each) add up to about 4e-8·depth in a
    random walk; five times that is never exceeded in practice.
    """
    return 2e-7 * max(5, depth)


def check_conv(device: str, x: tuple, w: tuple, attrs: dict, *, bias: bool = True, constants=(1, 2)) -> None:
    inputs = [array(*x), array(*w), array(w[0]) if bias else None]
    check_node(device, "Conv", inputs, constants=constants, atol=tolerance(math.prod(w[1:])), **attrs)


@pytest.mark.parametrize(("x", "w", "attrs"), DENSE + GROUPED + DEPTHWISE)
def test_conv(clnn_device, x, w, attrs):
    check_conv(clnn_device, x, w, attrs)


@pytest.mark.parametrize(("x", "w", "attrs"), [DENSE[3], GROUPED[0], DEPTHWISE[1]])
def test_conv_without_bias(clnn_device, x, w, attrs):
    check_conv(clnn_device, x, w, attrs, bias=False)


@pytest.mark.parametrize(("x", "w", "attrs"), [DENSE[4], GROUPED[1], DEPTHWISE[1]])
def test_weights_computed_at_run_time(clnn_device, x, w, attrs):
    check_conv(clnn_device, x, w, attrs, constants=())


@pytest.mark.parametrize(("x", "w", "attrs"), DENSE[1:8] + GROUPED + DEPTHWISE[:3])
def test_kernels_for_gpus(clnn_device, as_gpu, x, w, attrs):
    check_conv(clnn_device, x, w, attrs)


def fused_model(x, w, attrs, activation, settings, residual) -> onnx.ModelProto:
    """Conv, activation, and an addition before or after it (``residual``), as exporters write them."""
    channels, spatial = w[0], (1,) * (len(w) - 2)
    initializers = {"w": array(*w), "b": array(channels), "low": np.float32(0), "high": np.float32(1.5)}
    initializers["slope"] = array(channels, *spatial)
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], **attrs)]
    last = "c"
    if residual == "before":
        nodes.append(helper.make_node("Add", ["r", last], ["s"]))
        last = "s"
    if activation == "Silu":
        nodes += [helper.make_node("Sigmoid", [last], ["g"]), helper.make_node("Mul", [last, "g"], ["a"])]
    elif activation:
        extra = {"Clip": ["low", "high"], "PRelu": ["slope"]}.get(activation, [])
        nodes.append(helper.make_node(activation, [last, *extra], ["a"], **settings))
    last = "a" if activation else last
    if residual == "after":
        nodes.append(helper.make_node("Add", [last, "r"], ["y"]))
    else:
        nodes[-1].output[0] = "y"
    out = (
        ReferenceEvaluator(
            helper.make_model(
                helper.make_graph(
                    nodes[:1],
                    "shape",
                    [helper.make_tensor_value_info("x", 1, x)],
                    [helper.make_tensor_value_info(nodes[0].output[0], 1, None)],
                    [numpy_helper.from_array(initializers[name], name) for name in "wb"],
                )
            )
        )
        .run(None, {"x": np.zeros(x, np.float32)})[0]
        .shape
    )
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "fused",
        [helper.make_tensor_value_info("x", 1, x)] + [helper.make_tensor_value_info("r", 1, out)] * bool(residual),
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in initializers.items() if name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def check_fused(
    device: str, case: tuple, activation: str, settings: dict, residual: str | None, atol: float | None = None
) -> None:
    model = fused_model(*case, activation, settings, residual)
    feeds = {i.name: array(*(d.dim_value for d in i.type.tensor_type.shape.dim)) for i in model.graph.input}
    expected = ReferenceEvaluator(model).run(None, feeds)[0]
    with InferenceSession(model, devices=device) as session:
        actual = session.run(None, feeds)[0]
        fused = [node.op for node in session.plan().graph.nodes if node.op != "clnn.Relayout"]
    assert fused == ["Conv"]
    atol = tolerance(math.prod(case[1][1:])) if atol is None else atol
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize(("activation", "settings"), ACTIVATIONS, ids=[name for name, _ in ACTIVATIONS])
def test_fused(clnn_device, activation, settings, residual):
    check_fused(clnn_device, DENSE[3], activation, settings, residual)


@pytest.mark.parametrize("case", [DENSE[7], GROUPED[0], DEPTHWISE[0], DEPTHWISE[5]])
def test_residual_without_activation(clnn_device, case):
    check_fused(clnn_device, case, "", {}, "before")


@pytest.mark.parametrize("case", [DENSE[7], GROUPED[0], DEPTHWISE[0], DEPTHWISE[2]])
def test_fused_on_gpus(clnn_device, as_gpu, case):
    check_fused(clnn_device, case, "PRelu", {}, "after")


@pytest.mark.parametrize("activation", ["Relu", "HardSwish", "Sigmoid", "Tanh", "Clip"])
def test_not_a_number_stays_visible(clnn_device, activation):
    model = fused_model((1, 20, 3, 3), (20, 20, 1, 1), {}, activation, {}, None)
    x = array(1, 20, 3, 3)
    x[0, :, 1, 1] = np.nan
    with InferenceSession(model, devices=clnn_device) as session:
        y = session.run(None, {"x": x})[0]
    assert np.isnan(y[0, :, 1, 1]).all()
    assert np.isfinite(np.delete(y.reshape(20, 9), 4, axis=1)).all()


@pytest.mark.parametrize("scale", [1e2, 1e30])
def test_saturating_activations(clnn_device, scale):
    """Far from zero the exponential leaves its range; the limits are reached all the same."""
    for activation, limits in {"Sigmoid": (0.0, 1.0), "Tanh": (-1.0, 1.0)}.items():
        model = fused_model((1, 1, 1, 2), (1, 1, 1, 1), {}, activation, {}, None)
        for init in model.graph.initializer:
            init.CopyFrom(numpy_helper.from_array(np.full(tuple(init.dims), init.name == "w", np.float32), init.name))
        with InferenceSession(model, devices=clnn_device) as session:
            y = session.run(None, {"x": np.float32([[[[-scale, scale]]]])})[0]
        np.testing.assert_allclose(y.ravel(), limits, atol=1e-30)
