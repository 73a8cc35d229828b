"""Conv: attributes, shapes and cost; its algorithms are in ``convolution``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.devices.model import Work
from clnn.graph import CHANNELS_LAST, PLAIN, Node, TensorType
from clnn.kernels.direct import MAX_CHANNELS
from clnn.ops.base import Cost, InferContext, Layouts, LowerContext, Lowered, Operator, operator
from clnn.ops.convolution import choose, choose_layout, foreseen_work, read_convolution, tile_rows
from clnn.ops.product import product_obstacle, takes_pixels
from clnn.ops.rows import ROW_AXIS, Band, Reach, Rows
from clnn.ops.settings import UNKNOWN, integer, invalid
from clnn.ops.window import band_pads, reach_of, read_axes


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

    def work(self, node: Node, types: Mapping[str, TensorType], device: DeviceInfo) -> Work:
        """That of the algorithm that will be chosen if the weights are constant, and x comes in the layout it reads."""
        x, w = types[node.input(0)], types[node.input(1)]
        if x.rank > 4 or not types[node.outputs[0]].size:
            return super().work(node, types, device)
        if x.shape[1] > MAX_CHANNELS:
            types = {**types, node.input(0): x.with_layout(CHANNELS_LAST)}
        known = {node.input(1): np.broadcast_to(np.float32(0.0), w.shape)}
        return foreseen_work(read_convolution(node, types), LowerContext(node, types, known, device))

    def obstacle(self, ctx: LowerContext) -> str | None:
        if ctx.type(0).rank > 4:
            return f"{ctx.type(0).rank - 2}-D convolution has no kernel"
        return product_obstacle(ctx)

    def layouts(self, ctx: LowerContext) -> Layouts:
        x = choose_layout(ctx)
        wanted = (x, PLAIN, PLAIN, CHANNELS_LAST, PLAIN)
        return Layouts(wanted[: len(ctx.node.inputs)], (CHANNELS_LAST,))

    def takes_region(self, ctx: LowerContext, index: int) -> bool:
        if index == 0 and ctx.type(0).layout == PLAIN:
            return ctx.type(0).strides[-1] == 1  # planes lie where they like, the pixels of a row side by side
        return takes_pixels(ctx, index)

    def gives_region(self, ctx: LowerContext, index: int) -> bool:
        return ctx.output().pixel_pitch is not None

    def by_rows(self, ctx: LowerContext) -> Rows | None:
        if ctx.type(0).rank != 4 or ctx.constant(1) is None or not ctx.output().size:
            return None
        reach = reach_of(read_axes(ctx.node, ctx.type(1).shape[2:])[0], ctx.type(0).shape[ROW_AXIS])
        residual = (None, None, Reach() if ctx.node.input(3) else None, None)
        return Rows((reach, *residual[: len(ctx.node.inputs) - 1]), tile_rows(ctx))

    def band(self, ctx: LowerContext, band: Band) -> tuple[Node, dict[str, TensorType]]:
        return band.node(ctx.node, **band_pads(ctx, ctx.type(1).shape[2:], band)), {}

    def lower(self, ctx: LowerContext) -> Lowered:
        if not ctx.output().size:
            return Lowered()
        return choose(read_convolution(ctx.node, ctx.types), ctx)


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
