"""The Focus layer: a convolution of the four phases of a picture reads the picture itself."""

from __future__ import annotations

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from clnn import InferenceSession
from tests.device.test_regions import Net

RNG = np.random.default_rng(2)


def focus(net: Net, order: list[tuple[int, int]], twice: bool = True) -> str:
    """Every second row and column, by two slices or by one, joined in the ``order`` of (row, column) they start at."""
    parts = []
    for row, column in order:
        if twice:
            parts.append(net.slice(net.slice("x", row, 1 << 40, 2, axis=2), column, 1 << 40, 2, axis=3))
        else:
            ends = (net.constant(np.array(v)) for v in ([row, column], [100, 100], [2, 3], [2, 2]))
            parts.append(net.node("Slice", "x", *ends))
    return net.concat(*parts)


def check(device: str, net: Net, shape: tuple[int, ...], output: str, ops: list[str]) -> None:
    model, feeds = net.model(shape, output), {"x": RNG.standard_normal(shape, np.float32)}
    (expected,) = ReferenceEvaluator(model).run(None, feeds)
    with InferenceSession(model, devices=device) as session:
        (actual,) = session.run(None, feeds)
        assert [node.op for node in session.plan().graph.nodes if node.op != "clnn.Relayout"] == ops
    # sums of some hundred products of numbers around 1
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


YOLOX = [(0, 0), (1, 0), (0, 1), (1, 1)]


@pytest.mark.parametrize("twice", [True, False])
@pytest.mark.parametrize(("kernel", "attrs"), [(3, {}), (1, {}), (3, {"strides": [2, 1]})])
def test_focus(clnn_device, twice, kernel, attrs):
    net = Net()
    check(clnn_device, net, (2, 3, 12, 18), net.conv(focus(net, YOLOX, twice), 12, 17, kernel, **attrs), ["Conv"])


def test_any_order_of_the_phases(clnn_device):
    net = Net()
    y = focus(net, [(1, 1), (0, 1), (1, 0), (0, 0)])
    check(clnn_device, net, (1, 2, 8, 6), net.node("Relu", net.conv(y, 8, 5, 3)), ["Conv"])


@pytest.mark.parametrize(("order", "attrs"), [([(0, 0), (1, 0), (0, 1), (0, 1)], {}), (YOLOX, {"group": 2})])
def test_what_is_not_a_focus_layer_stays(clnn_device, order, attrs):
    """One phase twice, or a convolution in groups."""
    net = Net()
    y = net.conv(focus(net, order, False), 12, 6, 3, **attrs)
    check(clnn_device, net, (1, 3, 8, 6), y, ["Slice"] * 4 + ["Concat", "Conv"])
