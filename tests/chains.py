"""Random chains of layers for the stages of FPGA-style devices, as graphs, and what NumPy makes of them."""

from __future__ import annotations

import os

import numpy as np

from clnn.graph import Graph, Node, TensorType
from clnn.kernels.activation import Activation

ACTIVATIONS = (Activation(), Activation("RELU"), Activation("LEAKY_RELU", 0.1), Activation("CLIP", 0.0, 6.0))

MANY_CHAINS = int(os.environ.get("CLNN_TEST_CHAINS", "300"))
"""Chains of the tests marked slow; 10,000 take more than an hour."""


class RandomChain:
    """A convolution (of any groups), pool or addition and, often, a pool that follows it, of small random shapes."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[Node] = []
        self.types: dict[str, TensorType] = {}
        self.constants: dict[str, np.ndarray] = {}
        first = self.pick("conv", "conv", "depthwise", "add", "gemm", "pool")
        shape = (self.pick(1, 1, 2), self.pick(1, 3, 8, 17, 40), int(self.random.integers(1, 17)),
                 int(self.random.integers(1, 17)))  # fmt: skip
        self.tensor("x", shape[1::-1] if first == "gemm" else shape)
        if first == "add":
            self.add()
        elif first == "gemm":
            self.gemm()
        elif first == "pool":
            self.pool("x", "a")
        else:
            self.conv(depthwise=first == "depthwise")
        if first not in ("gemm", "pool") and self.pick(True, True, False):
            self.pool("a", "b")
        inputs = tuple(name for name in ("x", "r") if name in self.types)
        self.graph = Graph(tuple(self.nodes), inputs, self.nodes[-1].outputs, self.types, self.constants)

    def pick(self, *choices):
        return choices[self.random.integers(len(choices))]

    def tensor(self, name: str, shape: tuple[int, ...]) -> None:
        self.types[name] = TensorType(shape, "float32")

    def constant(self, name: str, *shape: int) -> str:
        self.constants[name] = self.random.standard_normal(shape, np.float32)
        self.tensor(name, shape)
        return name

    def feeds(self) -> dict[str, np.ndarray]:
        """An array for each input of the graph."""
        shapes = {name: self.types[name].shape for name in self.graph.inputs}
        return {name: self.random.standard_normal(shape, np.float32) for name, shape in shapes.items()}

    def window(self, shape: tuple[int, ...], stride_most: int) -> tuple[dict, tuple[int, int]]:
        """Attributes of a window that fits, and the size of what it gives."""
        kernel = [min(self.pick(1, 2, 3, 3, 5), size) for size in shape[2:]]
        strides = [int(self.random.integers(1, stride_most + 1)) for _ in range(2)]
        dilations = [self.pick(1, 1, 2) if (k - 1) * 2 < size else 1 for k, size in zip(kernel, shape[2:], strict=True)]
        pads = [int(self.random.integers(0, k)) for k in (*kernel, *kernel)]
        free = [shape[2 + i] + pads[i] + pads[i + 2] - (kernel[i] - 1) * dilations[i] - 1 for i in (0, 1)]
        sizes = [size // stride + 1 for size, stride in zip(free, strides, strict=True)]
        attrs = {"kernel_shape": tuple(kernel), "strides": tuple(strides), "pads": tuple(pads)}
        return {**attrs, "dilations": tuple(dilations)}, tuple(sizes)

    def conv(self, depthwise: bool) -> None:
        shape = self.types["x"].shape
        filters, groups = (shape[1], shape[1]) if depthwise else (self.pick(1, 5, 16, 40, 70), 1)
        if not depthwise and shape[1] % 2 == 0 and filters % 2 == 0:
            groups = self.pick(1, 1, 2)
        attrs, size = self.window(shape, 3)
        inputs = ["x", self.constant("w", filters, shape[1] // groups, *attrs["kernel_shape"])]
        inputs.append(self.constant("bias", filters) if self.pick(True, False) else "")
        attrs |= {"group": groups, "activation": self.pick(*ACTIVATIONS)}
        self.tensor("a", (shape[0], filters, *size))
        if self.pick(True, False, False):
            self.tensor("r", self.types["a"].shape)
            inputs.append("r")
            attrs["residual"] = self.pick("before", "after")
        self.nodes.append(Node("first", "Conv", tuple(inputs), ("a",), attrs, 11))

    def gemm(self) -> None:
        depth, rows = self.types["x"].shape[1], self.types["x"].shape[0]
        filters = self.pick(5, 16, 70)
        inputs = ("x", self.constant("w", filters, depth), self.constant("bias", filters))
        self.tensor("a", (rows, filters))
        attrs = {"transB": 1, "activation": self.pick(*ACTIVATIONS)}
        self.nodes.append(Node("first", "Gemm", inputs, ("a",), attrs, 13))

    def add(self) -> None:
        self.tensor("r", self.types["x"].shape)
        self.tensor("a", self.types["x"].shape)
        self.nodes.append(Node("first", "Add", ("x", "r"), ("a",), {}, 14))

    def pool(self, x: str, y: str) -> None:
        shape, op = self.types[x].shape, self.pick("MaxPool", "MaxPool", "AveragePool", "GlobalAveragePool")
        attrs, size = ({}, (1, 1)) if op.startswith("Global") else self.window(shape, 3)
        if op == "AveragePool":
            attrs["count_include_pad"] = self.pick(0, 1)
        self.tensor(y, (*shape[:2], *size))
        self.nodes.append(Node(f"pool {x}", op, (x,), (y,), attrs, 19))

    def expected(self, feeds: dict[str, np.ndarray]) -> np.ndarray:
        """The graph's output in float64."""
        values = {name: array.astype(np.float64) for name, array in {**feeds, **self.constants}.items()}
        for node in self.nodes:
            values[node.outputs[0]] = _value(node, [values.get(name) for name in node.inputs], self.types)
        return values[self.nodes[-1].outputs[0]]


def _value(node: Node, inputs: list[np.ndarray | None], types: dict[str, TensorType]) -> np.ndarray:
    x = inputs[0]
    if node.op == "Add":
        return x + inputs[1]
    if node.op == "GlobalAveragePool":
        return x.mean((2, 3), keepdims=True)
    if node.op == "Gemm":
        return _activated(node, x @ inputs[1].T + inputs[2])
    size = types[node.outputs[0]].shape[2:]
    if node.op == "Conv":
        return _conv(node, inputs, size)
    fill = -np.inf if node.op == "MaxPool" else 0.0
    windows = np.stack(list(_taps(node, x, size, fill)))
    if node.op == "MaxPool":
        return windows.max(0)
    ones = np.ones_like(x)
    counted = np.stack(list(_taps(node, ones, size, float(node.attrs["count_include_pad"]))))
    return windows.sum(0) / counted.sum(0)


def _taps(node: Node, x: np.ndarray, size: tuple[int, ...], fill: float):
    """What each tap of the window sees of x."""
    (top, left, bottom, right), (dh, dw), (sh, sw) = (node.attrs[name] for name in ("pads", "dilations", "strides"))
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    for kh in range(node.attrs["kernel_shape"][0]):
        for kw in range(node.attrs["kernel_shape"][1]):
            rows = slice(kh * dh, kh * dh + (size[0] - 1) * sh + 1, sh)
            yield padded[:, :, rows, kw * dw : kw * dw + (size[1] - 1) * sw + 1 : sw]


def _conv(node: Node, inputs: list[np.ndarray | None], size: tuple[int, ...]) -> np.ndarray:
    x, w, bias, residual = (*inputs, None)[:4]
    groups = node.attrs["group"]
    total = 0.0 if bias is None else bias.reshape(1, -1, 1, 1)
    for index, seen in enumerate(_taps(node, x, size, 0.0)):
        taps = w.reshape(groups, w.shape[0] // groups, w.shape[1], -1)[..., index]
        parts = seen.reshape(seen.shape[0], groups, -1, *size)
        total = total + np.einsum("goc,ngchw->ngohw", taps, parts).reshape(seen.shape[0], -1, *size)
    place = node.attrs.get("residual")
    total = total + residual if place == "before" else total
    total = _activated(node, total)
    return total + residual if place == "after" else total


def _activated(node: Node, x: np.ndarray) -> np.ndarray:
    activation = node.attrs["activation"]
    if activation.kind == "LEAKY_RELU":
        return np.where(x < 0, activation.alpha * x, x)
    if activation.kind == "CLIP":
        return np.clip(x, activation.alpha, activation.beta)
    return np.maximum(x, 0) if activation.kind == "RELU" else x
