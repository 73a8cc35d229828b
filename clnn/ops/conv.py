"""Conv: attributes, shapes, cost, and the algorithms to choose from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.graph import CHANNELS_LAST, PLAIN, Node, TensorType
from clnn.kernels.depthwise import MIN_CHANNELS, launch_depthwise
from clnn.kernels.gemm import Product, choose_tile
from clnn.kernels.window import Window
from clnn.ops.base import Cost, InferContext, Layouts, LowerContext, Lowered, Operator, operator
from clnn.ops.product import Weights, lower_product, product_obstacle, read_epilogue
from clnn.ops.settings import UNKNOWN, integer, invalid
from clnn.ops.window import Axis, read_axes


@dataclass(frozen=True)
class Convolution:
    """A 1-D or 2-D convolution with static shapes; channels are those of all groups together."""

    window: Window
    channels_in: int
    channels_out: int
    groups: int

    @property
    def flops(self) -> int:
        return 2 * self.window.rows * self.window.taps * self.channels_in // self.groups * self.channels_out

    @property
    def product(self) -> Product:
        """It as a matrix product per group; a 1×1 convolution without strides is one over all pixels in a row."""
        window = Window.flat(self.window.rows) if self.window.is_pointwise else self.window
        return Product(
            window,
            self.channels_in // self.groups,
            self.channels_out // self.groups,
            self.channels_in,
            self.channels_out,
            self.groups,
        )


def read_convolution(node: Node, types: Mapping[str, TensorType]) -> Convolution:
    """The convolution that a node of static 3-D or 4-D types computes."""
    x, w = types[node.input(0)].shape, types[node.input(1)].shape
    out = types[node.outputs[0]].shape
    axes = read_axes(node, w[2:])
    if len(axes) == 1:
        # one row of pixels
        axes, x, out = (Axis(1, 1, 1, 0, 0, "NOTSET"), *axes), (*x[:2], 1, x[2]), (*out[:2], 1, out[2])
    rows, columns = axes
    window = Window(
        x[0], x[2], x[3], out[2], out[3],
        rows.kernel, columns.kernel, rows.stride, columns.stride, rows.dilation, columns.dilation,
        rows.pad(x[2]), columns.pad(x[3]),
    )  # fmt: skip
    return Convolution(window, x[1], w[0], integer(node, "group", node.attrs.get("group", 1)))


@dataclass(frozen=True)
class Algorithm:
    """A way to compute a convolution.

    ``applies`` tells whether it can, ``work`` estimates the floating-point operations that the device could
    have done in the time it takes, and ``lower`` does it.
    """

    name: str
    applies: Callable[[Convolution, LowerContext], bool]
    work: Callable[[Convolution, DeviceInfo], float]
    lower: Callable[[Convolution, LowerContext], Lowered]


def _gemm_work(conv: Convolution, device: DeviceInfo) -> float:
    product = conv.product
    tile = choose_tile(product, device)
    rows = -(-product.window.rows // tile.m) * tile.m
    columns = -(-product.channels_out // tile.lanes) * tile.lanes
    return 2 * rows * columns * product.depth * product.slices / tile.efficiency


def _lower_gemm(conv: Convolution, ctx: LowerContext) -> Lowered:
    epilogue, constants = read_epilogue(ctx, conv.channels_out, ctx.node.input(2))
    product, groups, taps = conv.product, conv.groups, conv.window.taps
    per_filter = product.channels_in * taps
    weights = Weights.view(
        ctx,
        1,
        (groups, taps, product.channels_in, product.channels_out),
        (product.channels_out * per_filter, 1, taps, per_filter),
    )
    group = np.arange(groups)
    slices = np.stack([group * product.channels_in, group, 0 * group, group * product.channels_out], axis=1)
    lowered = lower_product(ctx, product, ctx.node.input(0), weights, epilogue, slices, "implicit GEMM")
    return replace(lowered, constants={**lowered.constants, **constants})


def _is_depthwise(conv: Convolution, ctx: LowerContext) -> bool:
    enough = conv.channels_in >= MIN_CHANNELS
    return enough and conv.groups == conv.channels_in == conv.channels_out and ctx.constant(1) is not None


def _depthwise_work(conv: Convolution, device: DeviceInfo) -> float:
    # Each multiply-add loads its pixel: about half of the peak at best.
    return conv.flops / 0.5


def _lower_depthwise(conv: Convolution, ctx: LowerContext) -> Lowered:
    epilogue, constants = read_epilogue(ctx, conv.channels_out, ctx.node.input(2))
    x, weights, zeros, y = ctx.node.input(0), ctx.local_name("weights"), ctx.local_name("zeros"), ctx.node.outputs[0]
    constants[weights] = np.ascontiguousarray(ctx.constant(1).reshape(conv.channels_out, -1).T)
    constants[zeros] = np.zeros(16, np.float32)
    launch = launch_depthwise(conv.window, conv.channels_in, x, weights, zeros, y, epilogue, ctx.device)
    return Lowered((launch,), constants, choice="depthwise")


ALGORITHMS = (
    Algorithm("implicit GEMM", lambda conv, ctx: True, _gemm_work, _lower_gemm),
    Algorithm("depthwise", _is_depthwise, _depthwise_work, _lower_depthwise),
)
"""Every way to compute a convolution; the one with the least ``work`` of those that apply is taken."""


@operator("Conv")
class Conv(Operator):
    """Convolution of N, C, *spatial; the kernels know one and two spatial axes.

    Inputs: x, weights (channels_out, channels_in / group, *kernel), bias; after fusion see ``read_epilogue``.
    """

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        x, w = ctx.type(0), ctx.type(1)
        if x.shape is None or w.shape is None:
            return (TensorType(None, x.dtype),)
        if x.rank < 3 or w.rank != x.rank:
            invalid(ctx.node, f"input {x} and weights {w} are not of one rank, 3 or more")
        _check_channels(ctx, x, w)
        if not all(isinstance(dim, int) for dim in w.shape[2:]):
            return (TensorType((x.shape[0], w.shape[0], *(UNKNOWN,) * (x.rank - 2)), x.dtype),)
        axes = read_axes(ctx.node, w.shape[2:])
        spatial = tuple(axis.out(size) for axis, size in zip(axes, x.shape[2:], strict=True))
        if any(isinstance(size, int) and size < 0 for size in spatial):
            invalid(ctx.node, f"its kernel {w.shape[2:]} is larger than the padded input {x.shape[2:]}")
        return (TensorType((x.shape[0], w.shape[0], *spatial), x.dtype),)

    def cost(self, node: Node, types: Mapping[str, TensorType]) -> Cost:
        w, out = types[node.input(1)], types[node.outputs[0]]
        filters = max(1, w.shape[0])
        return Cost(2 * out.size * (w.size // filters), super().cost(node, types).bytes)

    def obstacle(self, ctx: LowerContext) -> str | None:
        if ctx.type(0).rank > 4:
            return f"{ctx.type(0).rank - 2}-D convolution has no kernel"
        return product_obstacle(ctx)

    def layouts(self, ctx: LowerContext) -> Layouts:
        wanted = (CHANNELS_LAST, PLAIN, PLAIN, CHANNELS_LAST, PLAIN)
        return Layouts(wanted[: len(ctx.node.inputs)], (CHANNELS_LAST,))

    def lower(self, ctx: LowerContext) -> Lowered:
        if not ctx.output().size:
            return Lowered()
        conv = read_convolution(ctx.node, ctx.types)
        usable = [algorithm for algorithm in ALGORITHMS if algorithm.applies(conv, ctx)]
        return min(usable, key=lambda algorithm: algorithm.work(conv, ctx.device)).lower(conv, ctx)


def _check_channels(ctx: InferContext, x: TensorType, w: TensorType) -> None:
    """Raise ModelFormatError where channels, groups, weights and bias contradict each other."""
    groups = integer(ctx.node, "group", ctx.node.attrs.get("group", 1))
    channels, filters, depth = x.shape[1], w.shape[0], w.shape[1]
    if groups < 1 or (isinstance(filters, int) and filters % groups):
        invalid(ctx.node, f"{filters} output channels cannot form {groups} groups")
    if isinstance(channels, int) and isinstance(depth, int) and channels != depth * groups:
        invalid(ctx.node, f"{channels} input channels do not fit weights of {depth} channels × {groups} groups")
    if ctx.node.input(2) and isinstance(filters, int):
        bias = ctx.type(2).shape
        if bias is not None and all(isinstance(dim, int) for dim in bias) and bias != (filters,):
            invalid(ctx.node, f"its bias has shape {bias} instead of ({filters},)")
