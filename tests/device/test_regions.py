"""Tensors inside larger ones: networks of joins and cuts on every device, against onnx's reference evaluator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from clnn import InferenceSession
from clnn.plan import Host, Run

RNG = np.random.default_rng(11)


class Net:
    """Builds a network node by node; every method returns the name of a tensor."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op: str, *inputs: str, outputs: int = 1, **attrs: Any) -> Any:
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=f"{op}{len(self.nodes)}", **attrs))
        return names[0] if outputs == 1 else names

    def conv(self, x: str, channels_in: int, channels_out: int, kernel: int = 1, act: str = "", **attrs: Any) -> str:
        shape = (channels_out, channels_in // attrs.get("group", 1), kernel, kernel)
        w = RNG.standard_normal(shape, np.float32) / np.float32(np.sqrt(np.prod(shape[1:])))
        y = self.node("Conv", x, self.constant(w), pads=[kernel // 2] * 4, **attrs)
        return self.node(act, y) if act else y

    def split(self, x: str, *sizes: int, axis: int = 1) -> list[str]:
        return self.node("Split", x, self.constant(np.array(sizes)), outputs=len(sizes), axis=axis)

    def concat(self, *parts: str, axis: int = 1) -> str:
        return self.node("Concat", *parts, axis=axis)

    def slice(self, x: str, start: int, end: int, step: int = 1, axis: int = 1) -> str:
        return self.node("Slice", x, *(self.constant(np.array([v])) for v in (start, end, axis, step)))

    def model(self, shape: Sequence[int], *outputs: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def c2f(net: Net) -> list[str]:
    """Halves of a convolution, a shortcut from one of them, and all of it joined again, as in YOLOv8."""
    x = net.conv("x", 3, 40, 3, "Relu")
    a, b = net.split(net.conv(x, 40, 38, 1, "Relu"), 19, 19)
    c = net.node("Add", b, net.conv(net.conv(b, 19, 19, 3, "Relu"), 19, 19, 3, "Relu"))
    return [net.conv(net.concat(a, b, c), 57, 21)]


def dense_block(net: Net) -> list[str]:
    """Each layer reads all that came before, joined: concatenations feed each other, as in DenseNet."""
    x = net.conv("x", 3, 17, 3)
    for depth in range(3):
        x = net.concat(x, net.conv(x, 17 + 16 * depth, 16, 3, "Relu"))
    return [net.node("Sigmoid", x)]


def pyramid(net: Net) -> list[str]:
    """A picture of half the size, enlarged, beside a pooled one and a depthwise convolution."""
    x = net.conv("x", 3, 20, 3)
    small = net.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    big = net.node(
        "Resize", net.conv(small, 20, 18), "", net.constant(np.float32([1, 1, 2, 2])), mode="nearest",
        nearest_mode="floor", coordinate_transformation_mode="asymmetric",
    )  # fmt: skip
    pooled = net.node("MaxPool", x, kernel_shape=[5, 5], pads=[2] * 4)
    deep = net.conv(x, 20, 20, 3, group=20)
    return [net.conv(net.concat(big, pooled, deep, x), 78, 10, 3)]


def shuffle(net: Net) -> list[str]:
    """Two halves go different ways and are interleaved, as in ShuffleNet."""
    a, b = net.split(net.conv("x", 3, 36), 18, 18)
    joined = net.concat(a, net.conv(b, 18, 18, 3, "Relu"))
    wide = net.node("Reshape", joined, net.constant([0, 2, 18, 0, -1]))
    turned = net.node("Transpose", wide, perm=[0, 2, 1, 3, 4])
    back = net.node("Reshape", turned, net.constant([0, 36, 8, -1]))
    return [net.conv(net.slice(back, 18, 36), 18, 5), net.node("Relu", net.slice(back, 0, 18))]


def heads(net: Net) -> list[str]:
    """Grids of two sizes flattened and put behind each other, then cut by channels, as at the end of a detector."""
    x = net.conv("x", 3, 16, 3)
    rows = []
    for stride in (1, 2):
        y = net.concat(net.conv(x, 16, 5, strides=[stride] * 2), net.conv(x, 16, 19, strides=[stride] * 2))
        rows.append(net.node("Reshape", y, net.constant([0, 24, -1])))
    boxes, scores = net.split(net.concat(*rows, axis=2), 4, 20)
    return [net.concat(net.node("Exp", boxes), net.node("Sigmoid", scores))]


def cuts(net: Net) -> list[str]:
    """Every n-th element, backwards too, and pieces that are outputs of the network."""
    x = net.conv("x", 3, 33)
    a, b, c = net.split(x, 1, 16, 16)
    every_third, reversed_ = net.slice(x, 0, 33, 3), net.slice(x, -1, -34, -1)
    return [a, net.node("Mul", b, c), net.node("Neg", every_third), net.node("Add", reversed_, x), net.slice(x, 2, 7)]


def spatial_joins(net: Net) -> list[str]:
    """Joins of rows, of columns and of pictures; one tensor twice, a constant, and one part read in two joins."""
    x = net.conv("x", 3, 17)
    y = net.node("Relu", net.conv(x, 17, 17, 3))
    fixed = net.constant(RNG.standard_normal((2, 17, 8, 9), np.float32))
    return [
        net.conv(net.concat(x, y, axis=2), 17, 6, 3),
        net.conv(net.concat(y, y, axis=3), 17, 6, 3),
        net.concat(x, y, fixed, axis=0),
        net.node("Softmax", net.concat(x, fixed, y), axis=1),
    ]


def halves_of_the_input(net: Net) -> list[str]:
    """Rows of the network's own input, as of a stack of patches."""
    top, bottom = net.split("x", 5, 3, axis=2)
    left = net.slice("x", 0, 9, 2, axis=3)
    return [net.node("Exp", top), net.conv(bottom, 3, 7, 3), net.conv(left, 3, 7)]


def mirrored(net: Net) -> list[str]:
    """Pictures back to front along each axis, enlarged from where they lie."""
    x = net.conv("x", 3, 17, 3)
    scales = net.constant(np.float32([1, 1, 2, 2]))
    return [
        net.node("Resize", net.slice(x, -1, -100, -1, axis), "", scales, mode="nearest") for axis in range(4)
    ]


NETS = [c2f, dense_block, pyramid, shuffle, heads, cuts, spatial_joins, halves_of_the_input, mirrored]


def check(device: str, build: Callable[[Net], list[str]]) -> None:
    net, shape = Net(), (2, 3, 8, 9 if build in (spatial_joins, halves_of_the_input) else 10)
    model = net.model(shape, *build(net))
    feeds = {"x": RNG.standard_normal(shape, np.float32)}
    expected = ReferenceEvaluator(model).run(None, feeds)
    with InferenceSession(model, devices=device) as session:
        for _ in range(2):  # the second run meets what the first left in memory
            actual = session.run(None, feeds)
            for got, want in zip(actual, expected, strict=True):
                assert got.shape == want.shape
                # up to four convolutions in a row of sums of some hundred terms around 1
                np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-5)
        assert not any(isinstance(step, Host) for step in session.plan().steps)


@pytest.mark.parametrize("build", NETS)
def test_regions(clnn_device, build):
    check(clnn_device, build)


@pytest.mark.parametrize("build", NETS)
def test_regions_with_the_kernels_of_gpus(clnn_device, as_gpu, build):
    check(clnn_device, build)


@pytest.mark.parametrize("build", [c2f, dense_block, pyramid, heads])
def test_nothing_is_copied(clnn_device, build):
    """But the input to channels last, where not all its readers take planes, and the output from there."""
    net = Net()
    model = net.model((1, 3, 8, 10), *build(net))
    with InferenceSession(model, devices=clnn_device) as session:
        kernels = [(step.node, step.launch.kernel.name) for step in session.plan().steps if isinstance(step, Run)]
    copied = [node for node, kernel in kernels if kernel == "copy" and node != "x/channels_last"]
    assert len(copied) == 1, copied
