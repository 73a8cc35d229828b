"""Depthwise and 1×1 convolutions in one kernel, on every device, against onnx's reference evaluator."""

from __future__ import annotations

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from clnn import InferenceSession
from tests.device.test_regions import Net

RNG = np.random.default_rng(5)

# batch, height, width, channels, channels of the output, size of the kernel, attributes of the depthwise convolution
CASES = [
    (1, 9, 11, 16, 16, 3, {}),
    (2, 7, 5, 19, 33, 3, {"strides": [2, 1]}),
    (1, 13, 13, 40, 80, 5, {"strides": [2, 2]}),
    (1, 1, 1, 17, 5, 3, {}),
    (3, 6, 30, 24, 100, 3, {"dilations": [2, 3]}),
    (1, 20, 3, 70, 65, 7, {"pads": [1, 4, 0, 2]}),
]


def separable(net: Net, case: tuple, inner: str = "Relu", outer: str = "") -> str:
    """A depthwise convolution with bias, an activation, a 1×1 convolution with bias, and perhaps one more."""
    _, _, _, channels, channels_out, kernel, attrs = case
    taps = net.constant(RNG.standard_normal((channels, 1, kernel, kernel), np.float32) / np.float32(kernel))
    attrs = {"pads": [kernel // 2] * 4, **attrs}
    y = net.node("Conv", "x", taps, net.constant(f32(channels)), group=channels, **attrs)
    y = net.node(inner, y) if inner else y
    w = net.constant(f32(channels_out, channels, 1, 1) / np.float32(np.sqrt(channels)))
    y = net.node("Conv", y, w, net.constant(f32(channels_out)))
    return net.node(outer, y) if outer else y


def f32(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, np.float32)


def check(device: str, net: Net, shape: tuple[int, ...], *outputs: str, fused: int = 1) -> None:
    model, feeds = net.model(shape, *outputs), {"x": f32(*shape)}
    expected = ReferenceEvaluator(model).run(None, feeds)
    with InferenceSession(model, devices=device) as session:
        actual = session.run(None, feeds)
        ops = [node.op for node in session.plan().graph.nodes]
    assert ops.count("clnn.Separable") == fused
    for got, want in zip(actual, expected, strict=True):
        # sums of at most some hundred products of numbers around 1
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_separable(clnn_device, case):
    net = Net()
    check(clnn_device, net, (case[0], case[3], case[1], case[2]), separable(net, case))


@pytest.mark.parametrize(("inner", "outer"), [("", "Sigmoid"), ("HardSwish", "LeakyRelu"), ("Tanh", "")])
def test_activations(clnn_device, inner, outer):
    net = Net()
    check(clnn_device, net, (2, 19, 7, 5), separable(net, CASES[1], inner, outer))


def test_the_residual_of_an_inverted_bottleneck(clnn_device):
    """The input is added to the result, as in MobileNetV2; here it also lies inside a larger tensor."""
    net, case = Net(), (2, 7, 9, 21, 21, 3, {})
    y = net.node("Add", "x", separable(net, case))
    check(clnn_device, net, (2, 21, 7, 9), net.node("Softmax", net.concat(y, net.node("Relu", "x")), axis=1))


def test_what_others_read_is_kept(clnn_device):
    """A second reader, or being an output, keeps the tensor between the two in memory."""
    net = Net()
    y = net.conv("x", 20, 20, 3, group=20)
    check(clnn_device, net, (1, 20, 6, 7), net.conv(y, 20, 8), net.node("Relu", y), fused=0)
    net = Net()
    y = net.conv("x", 20, 20, 3, group=20)
    check(clnn_device, net, (1, 20, 6, 7), net.conv(y, 20, 8), y, fused=0)


@pytest.mark.parametrize("act", ["", "Relu"])
def test_what_the_second_convolution_reads_twice_is_kept(clnn_device, act):
    """The tensor between the two is also what is added to the result."""
    net = Net()
    y = net.conv("x", 20, 20, 3, act, group=20)
    check(clnn_device, net, (2, 20, 6, 7), net.node("Add", net.conv(y, 20, 20), y), fused=0)


def test_a_second_convolution_with_a_window_is_not_joined(clnn_device):
    net = Net()
    check(clnn_device, net, (1, 20, 6, 7), net.conv(net.conv("x", 20, 20, 3, group=20), 20, 8, 3), fused=0)
    net = Net()
    check(clnn_device, net, (1, 20, 6, 7), net.conv(net.conv("x", 20, 20, 3, group=20), 20, 8, strides=[2, 2]), fused=0)
