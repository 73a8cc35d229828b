"""A Pad before a window: folded where the window can pad alike, kept elsewhere, against onnx's reference evaluator."""

from __future__ import annotations

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from clnn import InferenceSession
from tests.device.test_regions import Net

RNG = np.random.default_rng(4)
UNEVEN = [0, 0, 0, 1, 0, 0, 2, 3]


def padded(net: Net, pads: list[int] = UNEVEN, x: str = "x", value: float = 0.0, **attrs) -> str:
    return net.node("Pad", x, net.constant(np.array(pads)), net.constant(np.float32(value)), **attrs)


def conv(net: Net, x: str, **attrs) -> str:
    return net.node("Conv", x, net.constant(RNG.standard_normal((5, 3, 3, 3), np.float32)), **attrs)


def average(net: Net, x: str, **attrs) -> str:
    return net.node("AveragePool", x, kernel_shape=[3, 3], **attrs)


def check(device: str, net: Net, *outputs: str, pads: int) -> None:
    """``pads`` is the number of Pad nodes that are left."""
    model, feeds = net.model((2, 3, 7, 9), *outputs), {"x": RNG.standard_normal((2, 3, 7, 9), np.float32)}
    expected = ReferenceEvaluator(model).run(None, feeds)
    with InferenceSession(model, devices=device) as session:
        actual = session.run(None, feeds)
        assert [node.op for node in session.plan().graph.nodes].count("Pad") == pads
    for got, want in zip(actual, expected, strict=True):
        # sums of 27 products of numbers around 1
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("window", "attrs"),
    [
        (conv, {}),
        (conv, {"dilations": [2, 1]}),
        (conv, {"strides": [2, 1], "pads": [0, 0, 0, 0], "auto_pad": "NOTSET"}),
        (average, {}),
        (average, {"strides": [2, 1], "pads": [0, 0, 0, 0], "auto_pad": "NOTSET"}),
    ],
)
def test_a_window_pads_itself(clnn_device, window, attrs):
    net = Net()
    check(clnn_device, net, window(net, padded(net), **attrs), pads=0)


def test_pads_add_up(clnn_device):
    net = Net()
    y = padded(net, [0, 0, 1, 0, 0, 0, 0, 2], padded(net))
    check(clnn_device, net, conv(net, y, pads=[1, 0, 2, 1]), pads=0)
    net = Net()
    check(clnn_device, net, average(net, padded(net), pads=[1, 0, 2, 1], count_include_pad=1), pads=0)


def test_pads_of_some_axes(clnn_device):
    net = Net()
    y = net.node("Pad", "x", net.constant(np.array([4, 1])), "", net.constant(np.array([-1])))
    check(clnn_device, net, conv(net, y), pads=0)


@pytest.mark.parametrize(
    "pad",
    [
        {"value": 1.0},
        {"value": 1e-30},
        {"mode": "reflect"},
        {"mode": "edge"},
        {"pads": [1, 0, 0, 0, 0, 0, 1, 1]},
    ],
)
def test_other_padding_stays(clnn_device, pad):
    net = Net()
    check(clnn_device, net, conv(net, padded(net, **pad)), pads=1)


def test_cropping_stays(clnn_device):
    """onnx's evaluator cannot crop: what comes out is that of a Slice instead."""
    net = Net()
    cropped, sliced = padded(net, [0, 0, 0, -1, 0, 0, 0, 0]), net.slice("x", 1, 9, axis=3)
    weights = net.constant(RNG.standard_normal((5, 3, 3, 3), np.float32))
    model = net.model((2, 3, 7, 9), *(net.node("Conv", x, weights) for x in (cropped, sliced)))
    with InferenceSession(model, devices=clnn_device) as session:
        actual, expected = session.run(None, {"x": RNG.standard_normal((2, 3, 7, 9), np.float32)})
        assert "Pad" in [node.op for node in session.plan().graph.nodes]
    # the two may lie in different layouts, and be computed in another order
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_zeros_in_front_of_channels_stay(clnn_device):
    net = Net()
    y = padded(net, [0, 1, 1, 1, 0, 0, 1, 1], net.slice("x", 0, 2))
    check(clnn_device, net, conv(net, y), pads=1)


@pytest.mark.parametrize(
    ("window", "attrs"),
    [
        (conv, {"auto_pad": "SAME_UPPER"}),
        (average, {"auto_pad": "SAME_LOWER"}),
        (average, {"pads": [1, 0, 2, 1]}),
        (average, {"ceil_mode": 1, "strides": [2, 2]}),
        (lambda net, x: net.node("MaxPool", x, kernel_shape=[3, 3]), {}),
    ],
)
def test_a_window_that_pads_otherwise_keeps_it(clnn_device, window, attrs):
    net = Net()
    check(clnn_device, net, window(net, padded(net), **attrs), pads=1)


def test_what_others_read_stays(clnn_device):
    net = Net()
    y = padded(net)
    check(clnn_device, net, conv(net, y), net.node("Relu", y), pads=1)
    net = Net()
    y = padded(net)
    check(clnn_device, net, conv(net, y), y, pads=1)
