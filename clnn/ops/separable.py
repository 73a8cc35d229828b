"""A depthwise convolution and the 1×1 convolution that alone reads it, as one node; lowering puts it together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.devices.model import Work
from clnn.graph import CHANNELS_LAST, PLAIN, Node, TensorType
from clnn.kernels.activation import NO_ACTIVATION
from clnn.kernels.gemm import choose_tile, pack_panels
from clnn.kernels.separable import MIN_CHANNELS, launch_separable, pixels_per_item
from clnn.kernels.separable import SEPARABLE as KERNEL
from clnn.ops.base import Cost, InferContext, Layouts, LowerContext, Lowered, Operator, find, operator
from clnn.ops.convolution import depthwise_work, is_depthwise, pack_taps, read_convolution
from clnn.ops.product import epilogue_work, moved_bytes, pixels, product_work, read_epilogue, takes_pixels
from clnn.ops.rows import ROW_AXIS, WHOLE, Band, Reach, Rows
from clnn.ops.window import band_pads, reach_of, read_axes

SEPARABLE = "clnn.Separable"


def separable(ctx: LowerContext, pointwise: Node) -> Node | None:
    """The node that computes the convolution of ``ctx`` and then ``pointwise``; ``None`` where one kernel cannot.

    Its inputs are those of ``pointwise``, with the input of the depthwise convolution as the first, and behind them
    the depthwise weights and bias. The attributes of that name hold the two nodes as they were.
    """
    depthwise = ctx.node
    after = replace(ctx, node=pointwise)
    first, second = read_convolution(depthwise, ctx.types), read_convolution(pointwise, ctx.types)
    inner = depthwise.attrs.get("activation", NO_ACTIVATION)
    fits = (
        ctx.device.kind == "cpu"
        and is_depthwise(first, ctx)
        and first.channels_in >= MIN_CHANNELS
        and inner.kind != "PRELU"
        and "residual" not in depthwise.attrs
        and second.window.is_pointwise
        and second.groups == 1
        and after.constant(1) is not None
        and pixels_per_item(second.window.rows, first.channels_in, choose_tile(second.product, ctx.device), ctx.device)
    )
    if not fits:
        return None
    padded = (*pointwise.inputs, *("",) * (5 - len(pointwise.inputs)))
    inputs = (depthwise.input(0), *padded[1:], depthwise.input(1), depthwise.input(2))
    return Node(pointwise.name, SEPARABLE, inputs, pointwise.outputs, {"depthwise": depthwise, "pointwise": pointwise})


def parts(node: Node) -> tuple[Node, Node]:
    """The depthwise and the 1×1 convolution, reading what the inputs of their node have become."""
    x, *others, taps, bias = node.inputs
    depthwise = node.attrs["depthwise"].replace(inputs=(x, taps, bias))
    # the tensor between the two, then the inputs as they have become
    return depthwise, node.attrs["pointwise"].replace(inputs=(depthwise.outputs[0], *others))


@operator(SEPARABLE)
class Separable(Operator):
    """Inputs: x, weights, bias, residual and slope of the 1×1 convolution; weights and bias of the depthwise one."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        return (ctx.types[ctx.node.outputs[0]],)

    def cost(self, node: Node, types: Mapping[str, TensorType]) -> Cost:
        """What lies between the two is neither written nor read."""
        flops = sum(find(part.op).cost(part, types).flops for part in parts(node))
        return Cost(flops, super().cost(node, types).bytes)

    def work(self, node: Node, types: Mapping[str, TensorType], device: DeviceInfo) -> Work:
        before, after = parts(node)
        first, second = read_convolution(before, types), read_convolution(after, types)
        operations = (
            depthwise_work(first) + epilogue_work(before, types[after.input(0)].size)
            + product_work(second.product, choose_tile(second.product, device))
            + epilogue_work(after, types[node.outputs[0]].size)
        )  # fmt: skip
        return Work(KERNEL.name, operations, moved_bytes(node, types))

    def layouts(self, ctx: LowerContext) -> Layouts:
        return Layouts((CHANNELS_LAST, PLAIN, PLAIN, CHANNELS_LAST, PLAIN, PLAIN, PLAIN), (CHANNELS_LAST,))

    def takes_region(self, ctx: LowerContext, index: int) -> bool:
        return takes_pixels(ctx, index)

    def gives_region(self, ctx: LowerContext, index: int) -> bool:
        return ctx.output().pixel_pitch is not None

    def by_rows(self, ctx: LowerContext) -> Rows | None:
        kernel = ctx.types[ctx.node.input(5)].shape[2:]
        if len(kernel) != 2:
            return None
        reach = reach_of(read_axes(ctx.node.attrs["depthwise"], kernel)[0], ctx.type(0).shape[ROW_AXIS])
        return Rows((reach, None, None, Reach() if ctx.node.input(3) else None, None, None, None))

    def band(self, ctx: LowerContext, band: Band) -> tuple[Node, dict[str, TensorType]]:
        depthwise, pointwise = ctx.node.attrs["depthwise"], ctx.node.attrs["pointwise"]
        (between,), (result,) = depthwise.outputs, band.outputs
        pads = band_pads(replace(ctx, node=parts(ctx.node)[0]), ctx.types[ctx.node.input(5)].shape[2:], band)
        own = f"{between}{band.suffix}"
        node = band.node(
            ctx.node,
            depthwise=depthwise.replace(outputs=(own,)).with_attrs(**pads, **{WHOLE: depthwise}),
            pointwise=pointwise.replace(outputs=band.outputs).with_attrs(**{WHOLE: pointwise}),
        )
        n, _, h, w = ctx.types[result].shape
        kind = ctx.types[between]
        return node, {own: replace(kind, shape=(n, kind.shape[1], h, w))}

    def lower(self, ctx: LowerContext) -> Lowered:
        before, after = (replace(ctx, node=part) for part in parts(ctx.node))
        first, second = read_convolution(before.node, ctx.types), read_convolution(after.node, ctx.types)
        whole = read_convolution(after.whole.node, ctx.types)
        tile = choose_tile(whole.product, ctx.device)
        epilogue, constants = read_epilogue(after, second.channels_out, after.node.input(2))
        taps, weights, zeros = before.shared_name("weights"), ctx.shared_name("weights"), ctx.shared_name("zeros")
        constants[taps] = ctx.pack(taps, lambda: pack_taps(before.constant(1)))
        matrix = after.constant(1).reshape(1, 1, second.channels_out, second.channels_in)
        constants[weights] = ctx.pack(weights, lambda: pack_panels(matrix.transpose(0, 1, 3, 2), tile.lanes))
        constants[zeros] = np.zeros(16, np.float32)
        launch = launch_separable(
            first.window, first.channels_in, second.channels_out, pixels(ctx, ctx.node.input(0)),
            (taps, before.node.input(2) or None), weights, zeros, pixels(ctx, ctx.node.outputs[0]),
            before.node.attrs.get("activation", NO_ACTIVATION), epilogue, tile, ctx.device,
        )  # fmt: skip
        work = self.work(ctx.node, ctx.types, ctx.device)
        return Lowered((launch,), constants, choice=f"depthwise, then GEMM in cache, tile {tile}", work=work)
