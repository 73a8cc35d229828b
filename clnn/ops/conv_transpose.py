"""ConvTranspose: a matrix product per input pixel, and a gather of its results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.devices.model import Work
from clnn.graph import CHANNELS_LAST, PLAIN, Dim, Node, TensorType
from clnn.kernels.col2im import launch_col2im
from clnn.kernels.epilogue import Epilogue
from clnn.kernels.gemm import Product, product_kernel
from clnn.kernels.window import Pixels, Window
from clnn.ops.base import Cost, InferContext, Layouts, LowerContext, Lowered, Operator, operator
from clnn.ops.indexing import MAX_ELEMENTS
from clnn.ops.product import Weights, lower_product, product_obstacle
from clnn.ops.settings import UNKNOWN, integer, integers, invalid, known
from clnn.ops.window import Axis, read_axes


def _read_axis(axis: Axis, size: int, output_padding: int, wanted: int | None) -> tuple[int, int]:
    """Output size and padding before it, for an input of ``size`` along a spatial axis.

    ``wanted`` is the output size that the model asks for; like the automatic ones, it decides the padding.
    """
    full = (size - 1) * axis.stride + axis.reach + output_padding
    if wanted is None and not axis.auto_pad.startswith("SAME"):
        return full - axis.pad_begin - axis.pad_end, axis.pad_begin
    out = size * axis.stride if wanted is None else wanted
    total = max(0, full - out)
    return out, total // 2 if axis.auto_pad == "SAME_UPPER" else total - total // 2


def _read(node: Node, x: tuple[Dim, ...], w: tuple[int, ...]) -> tuple[tuple[Axis, ...], list[tuple[Dim, Dim]]]:
    """The spatial axes, and for each the output size and the padding before it (``UNKNOWN`` for symbols)."""
    axes, rank = read_axes(node, w[2:]), len(w) - 2
    extra = integers(node, "output_padding", node.attrs.get("output_padding", (0,) * rank))
    wanted = integers(node, "output_shape", node.attrs.get("output_shape", ()))[-rank:] or (None,) * rank
    if not len(extra) >= rank == len(wanted) or min(extra) < 0:
        invalid(node, f"output_padding {extra} and output_shape {wanted} do not fit {rank} spatial axes")
    return axes, [
        _read_axis(axis, size, extra[i], wanted[i]) if isinstance(size, int) else (wanted[i] or UNKNOWN, UNKNOWN)
        for i, (axis, size) in enumerate(zip(axes, x[2:], strict=True))
    ]


@operator("ConvTranspose")
class ConvTranspose(Operator):
    """Transposed convolution of N, C, *spatial; the kernels know one and two spatial axes.

    Inputs: x, weights (channels_in, channels_out / group, *kernel), bias.
    """

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        x, w = ctx.type(0), ctx.type(1)
        if x.shape is None or w.shape is None:
            return (TensorType(None, x.dtype),)
        if x.rank < 3 or w.rank != x.rank:
            invalid(ctx.node, f"input {x} and weights {w} are not of one rank, 3 or more")
        groups = integer(ctx.node, "group", ctx.node.attrs.get("group", 1))
        if known((x.shape[1], w.shape[0])) and (x.shape[1] != w.shape[0] or groups < 1 or w.shape[0] % groups):
            invalid(ctx.node, f"{x.shape[1]} input channels do not fit weights of {w.shape[0]} and {groups} groups")
        channels = w.shape[1] * groups if isinstance(w.shape[1], int) else UNKNOWN
        if not known(w.shape[2:]):
            return (TensorType((x.shape[0], channels, *(UNKNOWN,) * (x.rank - 2)), x.dtype),)
        spatial = tuple(out for out, _ in _read(ctx.node, x.shape, w.shape)[1])
        if any(isinstance(out, int) and out < 0 for out in spatial):
            invalid(ctx.node, f"its output would have shape {spatial}")
        return (TensorType((x.shape[0], channels, *spatial), x.dtype),)

    def cost(self, node: Node, types: Mapping[str, TensorType]) -> Cost:
        x, w = types[node.input(0)], types[node.input(1)]
        per_pixel = math.prod(w.shape[1:])
        return Cost(2 * x.size * per_pixel, super().cost(node, types).bytes)

    def work(self, node: Node, types: Mapping[str, TensorType], device: DeviceInfo) -> Work:
        return replace(super().work(node, types, device), kind=product_kernel(device).name)

    def obstacle(self, ctx: LowerContext) -> str | None:
        if ctx.type(0).rank > 4:
            return f"{ctx.type(0).rank - 2}-D transposed convolution has no kernel"
        if ctx.constant(1) is None:
            return "its weights are computed at run time"
        x, w, channels = ctx.type(0).shape, ctx.type(1).shape, ctx.output().shape[1]
        if x[0] * math.prod(x[2:]) * channels * math.prod(w[2:]) > MAX_ELEMENTS:
            return "it has more than 2^31 products of pixels and taps"
        return product_obstacle(ctx)

    def layouts(self, ctx: LowerContext) -> Layouts:
        return Layouts((CHANNELS_LAST, PLAIN, PLAIN)[: len(ctx.node.inputs)], (CHANNELS_LAST,))

    def lower(self, ctx: LowerContext) -> Lowered:
        if not ctx.output().size:
            return Lowered()
        x, w = ctx.type(0).shape, ctx.constant(1)
        groups = integer(ctx.node, "group", ctx.node.attrs.get("group", 1))
        depth, channels, taps = x[1] // groups, w.shape[1], math.prod(w.shape[2:])
        columns, width = ctx.local_name("columns"), taps * w.shape[1]
        pixels = x[0] * math.prod(x[2:])
        # columns of B in the order (tap, channel), so that the gather loads neighbouring channels
        b = w.reshape(groups, depth, channels, taps).transpose(0, 1, 3, 2).reshape(groups, 1, depth, width)
        group = np.arange(groups)
        slices = np.stack([group * depth, group, 0 * group, group * width], axis=1)
        product = Product(Window.flat(pixels), depth, width, groups)
        source, target = Pixels(ctx.node.input(0), x[1]), Pixels(columns, groups * width)
        weights = Weights(ctx.node.input(1), b.shape, value=b)
        lowered = lower_product(ctx, product, source, weights, target, Epilogue(), slices, "GEMM")
        gather = launch_col2im(
            _window(ctx), groups, channels, columns, ctx.node.input(2) or None, ctx.node.outputs[0], ctx.device
        )
        return replace(
            lowered,
            launches=(*lowered.launches, gather),
            scratch={**lowered.scratch, columns: 4 * pixels * groups * width},
            choice=f"{lowered.choice}, then gather",
        )


def _window(ctx: LowerContext) -> Window:
    x, w, out = ctx.type(0).shape, ctx.type(1).shape, ctx.output().shape
    axes, results = _read(ctx.node, x, w)
    pads = [pad for _, pad in results]
    if len(axes) == 1:
        # one row of pixels
        axes, pads = (Axis(1, 1, 1, 0, 0, "NOTSET"), *axes), [0, *pads]
        x, out = (*x[:2], 1, x[2]), (*out[:2], 1, out[2])
    rows, cols = axes
    return Window(
        x[0], x[2], x[3], out[2], out[3], rows.kernel, cols.kernel, rows.stride, cols.stride,
        rows.dilation, cols.dilation, *pads,
    )  # fmt: skip
