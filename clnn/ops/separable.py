"""A depthwise convolution and the 1×1 convolution that alone reads it, as one node; lowering puts it together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from clnn.devices.model import Work
from clnn.graph import CHANNELS_LAST, PLAIN, Node, TensorType
from clnn.kernels.activation import NO_ACTIVATION
from clnn.kernels.gemm import choose_tile, pack_panels
from clnn.kernels.separable import MIN_CHANNELS, launch_separable, pixels_per_item
from clnn.ops.base import Cost, InferContext, Layouts, LowerContext, Lowered, Operator, find, operator
from clnn.ops.convolution import depthwise_work, is_depthwise, read_convolution
from clnn.ops.product import epilogue_work, moved_bytes, pixels, product_work, read_epilogue, takes_pixels

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
        flops = sum(find(part.op).cost(part, types).flops for part in node.attrs.values())
        return Cost(flops, super().cost(node, types).bytes)

    def layouts(self, ctx: LowerContext) -> Layouts:
        return Layouts((CHANNELS_LAST, PLAIN, PLAIN, CHANNELS_LAST, PLAIN, PLAIN, PLAIN), (CHANNELS_LAST,))

    def takes_region(self, ctx: LowerContext, index: int) -> bool:
        return takes_pixels(ctx, index)

    def gives_region(self, ctx: LowerContext, index: int) -> bool:
        return ctx.output().pixel_pitch is not None

    def lower(self, ctx: LowerContext) -> Lowered:
        before, after = (replace(ctx, node=part) for part in parts(ctx.node))
        first, second = read_convolution(before.node, ctx.types), read_convolution(after.node, ctx.types)
        tile = choose_tile(second.product, ctx.device)
        epilogue, constants = read_epilogue(after, second.channels_out, after.node.input(2))
        taps, weights, zeros = before.local_name("weights"), ctx.local_name("weights"), ctx.local_name("zeros")
        constants[taps] = np.ascontiguousarray(before.constant(1).reshape(first.channels_in, -1).T)
        matrix = after.constant(1).reshape(1, 1, second.channels_out, second.channels_in)
        constants[weights] = pack_panels(matrix.transpose(0, 1, 3, 2), tile.lanes)
        constants[zeros] = np.zeros(16, np.float32)
        launch = launch_separable(
            first.window, first.channels_in, second.channels_out, pixels(ctx, ctx.node.input(0)),
            (taps, before.node.input(2) or None), weights, zeros, pixels(ctx, ctx.node.outputs[0]),
            before.node.attrs.get("activation", NO_ACTIVATION), epilogue, tile, ctx.device,
        )  # fmt: skip
        operations = (
            depthwise_work(first) + epilogue_work(before.node, ctx.types[after.node.input(0)].size)
            + product_work(second.product, tile) + epilogue_work(after.node, ctx.output().size)
        )  # fmt: skip
        work = Work(launch.kernel.name, operations, moved_bytes(ctx))
        return Lowered((launch,), constants, choice=f"depthwise, then GEMM in cache, tile {tile}", work=work)
