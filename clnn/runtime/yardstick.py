"""The synthetic network by which devices are measured: layers of every kind, over the sizes that networks have.

It comes in two sizes of picture, which share their programs. It is like no real network on purpose: what it is used to
predict must not be in it. Layers feed one another, so that each finds its input as warm as it would be, and together
have more weights than caches hold, so that each finds its own as cold. It is written like a model's file, so that
passes, lowering and planning make of it what they make of any.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clnn.graph import Graph, Node, TensorType

INPUT = "picture"
SIZES = (480, 96)
"""Pixels along each edge of the picture."""

_OPSET = 17
_STAGES = (32, 64, 128, 192, 320)
"""Channels after each halving of the picture, to 240, 120, 60, 30 and 15, or 48, 24, 12, 6 and 3 pixels.

They fill whole panels of kernels: few tiles, as each is a program to compile, up to a second with PoCL.
"""


_SQUEEZED, _WIDEST = 64, 512


@dataclass
class _Builder:
    """Nodes so far; tensors are named by number."""

    random: np.random.Generator
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, op: str, *inputs: str, **attrs: Any) -> str:
        """Append a node and return its output's name."""
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(Node(name, op, inputs, (f"{name}_out",), attrs, _OPSET))
        return f"{name}_out"

    def constant(self, value: np.ndarray) -> str:
        name = f"constant{len(self.constants)}"
        self.constants[name] = value
        return name

    def weights(self, *shape: int) -> str:
        """Random weights that keep the size of what they are applied to (He et al. 2015): no denormals, no overflow."""
        deviation = np.float32(np.sqrt(2.0 / np.prod(shape[1:])))
        return self.constant(self.random.standard_normal(shape, np.float32) * deviation)

    def conv(self, x: str, channels_in: int, channels_out: int, kernel: int = 1, stride: int = 1,
             depthwise: bool = False) -> str:
        """A convolution with bias and ReLU that keeps the size of the picture, or halves it."""
        depth = 1 if depthwise else channels_in
        y = self.add(
            "Conv", x, self.weights(channels_out, depth, kernel, kernel), self.constant(np.zeros(channels_out, "f4")),
            kernel_shape=(kernel, kernel), strides=(stride, stride), pads=(kernel // 2,) * 4,
            group=channels_in if depthwise else 1,
        )  # fmt: skip
        return self.add("Relu", y)


def yardstick(pixels: int) -> Graph:
    """The network for a float32 picture of shape (1, 3, pixels, pixels); its output has shape (1, 250)."""
    build = _Builder(np.random.default_rng(0))
    picture = TensorType((1, 3, pixels, pixels), "float32")
    x, channels = INPUT, 3
    for wider in _STAGES:
        x = build.conv(x, channels, wider, 3, 2)
        channels, pixels = wider, -(-pixels // 2)
        x = _convolutions(build, x, channels)
        x = _separables(build, x, channels)
        x = _elementwise(build, x, channels)
        x = _movements(build, x, channels, pixels)
        x = _gate(build, x, channels)
    x = build.conv(x, channels, _WIDEST, 3)
    logits = build.add("Flatten", build.add("GlobalAveragePool", x))
    logits = build.add("Gemm", logits, build.weights(_WIDEST, 1500), build.constant(np.zeros(1500, "f4")))
    y = build.add("Gemm", logits, build.weights(1500, 250), build.constant(np.zeros(250, "f4")))
    types = {INPUT: picture, y: TensorType((1, 250), "float32")}
    types |= {name: TensorType(array.shape, str(array.dtype)) for name, array in build.constants.items()}
    return Graph(tuple(build.nodes), (INPUT,), (y,), types, build.constants, "yardstick")


def _convolutions(build: _Builder, x: str, channels: int) -> str:
    """1×1 convolutions, which are matrix products, and 3×3 ones, for Winograd."""
    x = build.conv(x, channels, 2 * channels)
    x = build.conv(x, 2 * channels, channels)
    return build.conv(build.conv(x, channels, channels, 3), channels, channels, 3)


def _separables(build: _Builder, x: str, channels: int) -> str:
    """Depthwise convolutions, with a 1×1 convolution behind them and without, and pooling."""
    for kernel in (3, 5):
        x = build.conv(x, channels, channels, kernel, depthwise=True)
        x = build.conv(x, channels, channels)
    x = build.conv(x, channels, channels, 3, depthwise=True)
    return build.add("MaxPool", x, kernel_shape=(3, 3), strides=(1, 1), pads=(1, 1, 1, 1))


def _elementwise(build: _Builder, x: str, channels: int) -> str:
    """A chain of cheap operations and one with an exponential, pooling between them, and a softmax over channels."""
    x = build.add("Relu", build.add("Sub", x, build.constant(np.float32(0.5))))
    y = build.add("MaxPool", x, kernel_shape=(5, 5), strides=(1, 1), pads=(2, 2, 2, 2))
    y = build.add("Add", build.add("Mul", y, build.add("Sigmoid", y)), x)
    return build.add("Mul", build.add("Softmax", y, axis=1), build.constant(np.float32(channels)))


def _movements(build: _Builder, x: str, channels: int, pixels: int) -> str:
    """Changes of layout with a shuffle of channels, cutting and joining, doubling and halving of the picture."""
    def shape(*dims: int) -> str:
        return build.constant(np.array(dims, np.int64))

    x = build.add("Reshape", x, shape(1, 2, channels // 2, pixels, pixels))
    x = build.add("Reshape", build.add("Transpose", x, perm=(0, 2, 1, 3, 4)), shape(1, channels, pixels, pixels))
    first = build.add("Slice", x, shape(0), shape(channels // 2), shape(1))
    second = build.add("Slice", x, shape(channels // 2), shape(channels), shape(1))
    x = build.add("Concat", second, first, axis=1)
    scales = build.constant(np.array([1, 1, 2, 2], np.float32))
    x = build.add("Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric",
                  nearest_mode="floor")
    return build.add("MaxPool", x, kernel_shape=(2, 2), strides=(2, 2))


def _gate(build: _Builder, x: str, channels: int) -> str:
    """What squeeze-and-excitation does: the mean of each channel, two tiny convolutions of it, a broadcast product."""
    y = build.conv(build.add("GlobalAveragePool", x), channels, _SQUEEZED)
    return build.add("Mul", x, build.conv(y, _SQUEEZED, channels))
