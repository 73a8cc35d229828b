"""Direct convolutions on every device, as the only algorithm, against onnx's reference evaluator."""

from __future__ import annotations

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from clnn import InferenceSession
from clnn.kernels import direct
from clnn.kernels.gemm import Tile
from clnn.ops import convolution
from clnn.plan import Run
from tests.device.test_conv import EPILOGUES, array, check_conv, check_fused, tolerance
from tests.device.test_regions import Net
from tests.support import node_model

# x, weights, attributes: sizes that no tile, no vector and no strip divides
CASES = [
    ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    ((1, 3, 1, 1), (5, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
    ((1, 3, 8, 64), (16, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
    ((2, 3, 9, 67), (16, 3, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    ((3, 2, 7, 35), (17, 2, 5, 5), {"pads": [0, 3, 2, 1]}),
    ((1, 4, 13, 50), (33, 4, 5, 3), {"pads": [2, 0, 1, 1], "strides": [2, 3]}),
    ((1, 3, 16, 61), (80, 3, 7, 7), {"pads": [3, 3, 3, 3], "strides": [2, 2]}),
    ((1, 3, 24, 99), (20, 3, 11, 7), {"pads": [2, 2, 2, 2], "strides": [4, 4]}),
    ((1, 1, 12, 44), (64, 1, 6, 6), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ((1, 3, 9, 40), (5, 3, 3, 2), {"dilations": [3, 1], "pads": [2, 0, 4, 1]}),
    # kernels larger than the picture, and tiles that see nothing but padding
    ((1, 4, 3, 3), (4, 4, 9, 7), {"pads": [4, 3, 4, 3]}),
    ((1, 2, 2, 3), (16, 2, 1, 1), {"pads": [20, 40, 1, 30]}),
    ((2, 1, 200), (16, 1, 7), {"pads": [3, 3]}),
    ((1, 3, 37), (40, 3, 4), {"strides": [4]}),
]


@pytest.fixture(autouse=True)
def only_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave it as the only algorithm."""
    only = tuple(algorithm for algorithm in convolution.ALGORITHMS if algorithm.name == "direct")
    assert len(only) == 1
    monkeypatch.setattr(convolution, "ALGORITHMS", only)


@pytest.mark.parametrize(("x", "w", "attrs"), CASES)
@pytest.mark.parametrize("bias", [True, False])
def test_direct(clnn_device, x, w, attrs, bias):
    check_conv(clnn_device, x, w, attrs, bias=bias)


@pytest.mark.parametrize(("m", "lanes"), [(tile.m, tile.lanes) for tile in direct._TILES])
@pytest.mark.parametrize(("x", "w", "attrs"), [CASES[3], CASES[4], CASES[6]])
def test_tiles(clnn_device, monkeypatch, m, lanes, x, w, attrs):
    monkeypatch.setattr(direct, "_TILES", (Tile(m, lanes, 1.0),))
    check_conv(clnn_device, x, w, attrs)


@pytest.mark.parametrize(
    ("kernel_w", "stride_w"), [(k, 2) for k in direct.KERNEL_WIDTHS] + [(3, s) for s in direct.STRIDES if s != 2]
)
def test_kernel_widths_and_strides(clnn_device, kernel_w, stride_w):
    attrs = {"pads": [0, kernel_w // 2, 0, kernel_w // 2], "strides": [1, stride_w]}
    check_conv(clnn_device, (1, 2, 3, 80), (16, 2, 2, kernel_w), attrs)


@pytest.mark.parametrize(("activation", "settings", "residual"), EPILOGUES, ids=[name for name, *_ in EPILOGUES])
def test_fused(clnn_device, activation, settings, residual):
    check_fused(clnn_device, CASES[5], activation, settings, residual)


def test_planes_are_read_as_they_come(clnn_device):
    model = node_model("Conv", [array(1, 3, 32, 64), array(16, 3, 3, 3)], constants=(1,), pads=[1, 1, 1, 1])
    with InferenceSession(model, devices=clnn_device) as session:
        kernels = [step.launch.kernel.name for step in session.plan().steps if isinstance(step, Run)]
    assert kernels[0] == "conv_direct"


@pytest.mark.parametrize(("axis", "start", "end"), [(0, 1, 2), (1, 1, 4), (2, 3, 11), (3, 5, 60)])
def test_planes_inside_larger_tensors(clnn_device, axis, start, end):
    """A cut of the planes, along any axis, is read where it lies."""
    net = Net()
    model = net.model((2, 3 + 3 * (axis == 1), 12, 64), net.conv(net.slice("x", start, end, axis=axis), 3, 20, 3))
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": array(*shape)}
    (expected,) = ReferenceEvaluator(model).run(None, feeds)
    with InferenceSession(model, devices=clnn_device) as session:
        (actual,) = session.run(None, feeds)
        kernels = [step.launch.kernel.name for step in session.plan().steps if isinstance(step, Run)]
    assert kernels[0] == "conv_direct"
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=tolerance(27))


def test_result_inside_a_larger_tensor(clnn_device):
    """The parts of a Concat are written where they lie in the whole, the tensor added is read where it lies."""
    net = Net()
    a = net.conv("x", 3, 19, 3)
    b = net.node("Add", net.conv("x", 3, 19, 5), net.split(net.concat(a, net.conv("x", 3, 5, 1)), 19, 5)[0])
    model = net.model((1, 3, 6, 37), net.concat(a, b, net.conv("x", 3, 33, 3)))
    feeds = {"x": array(1, 3, 6, 37)}
    (expected,) = ReferenceEvaluator(model).run(None, feeds)
    with InferenceSession(model, devices=clnn_device) as session:
        (actual,) = session.run(None, feeds)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=tolerance(75))
