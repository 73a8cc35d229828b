"""The ways to compute a convolution, each with what it demands and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.devices.model import Work
from clnn.graph import CHANNELS_LAST, PLAIN, Node, TensorType
from clnn.kernels import Kernel, direct, winograd
from clnn.kernels.depthwise import DEPTHWISE, MIN_CHANNELS, launch_depthwise
from clnn.kernels.gemm import Product, Tile, choose_tile, product_kernel
from clnn.kernels.window import Window
from clnn.kernels.winograd import choose_blocking, launch_winograd, transform_weights
from clnn.ops.base import LowerContext, Lowered
from clnn.ops.indexing import MAX_ELEMENTS
from clnn.ops.product import (
    STORE_WORK,
    Weights,
    epilogue_work,
    lower_product,
    moved_bytes,
    pixels,
    product_work,
    read_epilogue,
)
from clnn.ops.settings import integer
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
        return Product(window, self.channels_in // self.groups, self.channels_out // self.groups, self.groups)


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

    ``applies`` tells whether it can on a device, ``work`` estimates the floating-point operations that the device could
    have done, at its peak, in the time it takes, and ``lower`` does it, by a launch of ``kernel``. ``layout`` is that
    of x, as it reads it, ``store_work`` what it takes to store an element, in such operations. ``tile_rows`` are the
    rows of a tile whose place decides on how sums are rounded.
    """

    name: str
    kernel: Callable[[DeviceInfo], Kernel]
    applies: Callable[[Convolution, LowerContext], bool]
    work: Callable[[Convolution, LowerContext], float]
    lower: Callable[[Convolution, LowerContext], Lowered]
    layout: str = CHANNELS_LAST
    store_work: float = STORE_WORK
    tile_rows: int = 1

    def whole_work(self, conv: Convolution, ctx: LowerContext) -> Work:
        """What a launch has to do, storing its results included."""
        operations = self.work(conv, ctx) + epilogue_work(ctx.node, ctx.output().size, self.store_work)
        return Work(self.kernel(ctx.device).name, operations, moved_bytes(ctx.node, ctx.types))


def _whole(ctx: LowerContext) -> Convolution:
    """The convolution of which the node computes a band, or the node's own."""
    return read_convolution(ctx.whole.node, ctx.types)


def _ranking(ctx: LowerContext) -> list[tuple[float, Algorithm]]:
    """The algorithms that apply, least work first; that of bringing x into the layout they read included.

    They are compared as on one compute unit, so that devices of one driver choose alike, however many units each has,
    and so compute the same bits; for a band of rows as for all of them.
    """
    ctx, conv = ctx.whole, _whole(ctx)
    x = ctx.type(0)
    ctx = replace(ctx, device=replace(ctx.device, compute_units=1, member_speeds=()))
    usable = [
        (
            algorithm.work(conv, ctx) + (0.0 if x.same_memory(algorithm.layout) else _RELAYOUT_WORK * x.size),
            algorithm,
        )
        for algorithm in ALGORITHMS
        if algorithm.applies(conv, ctx)
    ]
    return sorted(usable, key=lambda candidate: candidate[0])


def choose_layout(ctx: LowerContext) -> str:
    """The layout of x for the algorithm with the least work, given the one in which x comes."""
    return _ranking(ctx)[0][1].layout


def tile_rows(ctx: LowerContext) -> int:
    """The rows from a multiple of which on bands of the result compute the same bits as the whole."""
    return _best(_ranking(ctx), ctx)[1].tile_rows


def _best(ranking: list[tuple[float, Algorithm]], ctx: LowerContext) -> tuple[float, Algorithm]:
    """The algorithm with the least work of those that read the layout that x has, and that work."""
    return next((work, each) for work, each in ranking if each.layout == ctx.type(0).layout)


def foreseen_work(conv: Convolution, ctx: LowerContext) -> Work:
    """What the algorithm with the least work has to do, as far as that can be told before layouts are known."""
    return _ranking(ctx)[0][1].whole_work(conv, ctx)


def choose(conv: Convolution, ctx: LowerContext) -> Lowered:
    """Lower a convolution by the algorithm with the least work of those that read the layout that x has."""
    ranking = _ranking(ctx)
    work, best = _best(ranking, ctx)
    lowered = replace(best.lower(conv, ctx), work=best.whole_work(conv, ctx))
    others = [(work, algorithm) for work, algorithm in ranking if algorithm is not best]
    if not others:
        return lowered
    next_work, runner_up = others[0]
    return replace(lowered, reason=f"{runner_up.name} would take {next_work / work:.1f} times as long")


_RELAYOUT_WORK = 100.0
"""Operations at the peak in the time that it takes to move one element to where another layout has it."""


def _gemm_tile(ctx: LowerContext) -> Tile:
    return choose_tile(_whole(ctx).product, ctx.device)


def _gemm_work(conv: Convolution, ctx: LowerContext) -> float:
    return product_work(conv.product, _gemm_tile(ctx))


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
    x, y = pixels(ctx, ctx.node.input(0)), pixels(ctx, ctx.node.outputs[0])
    lowered = lower_product(ctx, product, x, weights, y, epilogue, slices, "implicit GEMM", _gemm_tile(ctx))
    return replace(lowered, constants={**lowered.constants, **constants})


def is_depthwise(conv: Convolution, ctx: LowerContext) -> bool:
    """Whether every channel has a constant kernel of its own, and there are enough for the vectors of the kernel."""
    enough = conv.channels_in >= MIN_CHANNELS
    return enough and conv.groups == conv.channels_in == conv.channels_out and ctx.constant(1) is not None


def depthwise_work(conv: Convolution) -> float:
    """Operations that a device could have done, at its peak, in the time that a depthwise convolution takes."""
    # Each multiply-add loads its pixel: about half of the peak at best.
    return conv.flops / 0.5


def _lower_depthwise(conv: Convolution, ctx: LowerContext) -> Lowered:
    epilogue, constants = read_epilogue(ctx, conv.channels_out, ctx.node.input(2))
    x, y = pixels(ctx, ctx.node.input(0)), pixels(ctx, ctx.node.outputs[0])
    weights, zeros = ctx.shared_name("weights"), ctx.shared_name("zeros")
    constants[weights] = ctx.pack(weights, lambda: pack_taps(ctx.constant(1)))
    constants[zeros] = np.zeros(16, np.float32)
    launch = launch_depthwise(conv.window, conv.channels_in, x, weights, zeros, y, epilogue, ctx.device)
    return Lowered((launch,), constants, choice="depthwise")


def pack_taps(weights: np.ndarray) -> np.ndarray:
    """The weights of a depthwise convolution, (channels, 1, *kernel), as (taps, channels)."""
    return np.ascontiguousarray(weights.reshape(len(weights), -1).T)


def _direct_applies(conv: Convolution, ctx: LowerContext) -> bool:
    return (
        ctx.device.kind == "cpu"
        and conv.groups == 1
        and conv.channels_in <= direct.MAX_CHANNELS
        and direct.is_supported(conv.window)
        and ctx.constant(1) is not None
    )


def _direct_work(conv: Convolution, ctx: LowerContext) -> float:
    return direct.work(*_geometry(conv), direct.choose_tile(*_geometry(_whole(ctx)), ctx.device))


def _geometry(conv: Convolution) -> tuple[Window, int, int]:
    return conv.window, conv.channels_in, conv.channels_out


def _lower_direct(conv: Convolution, ctx: LowerContext) -> Lowered:
    epilogue, constants = read_epilogue(ctx, conv.channels_out, ctx.node.input(2))
    tile = direct.choose_tile(*_geometry(_whole(ctx)), ctx.device)
    planes, weights = ctx.type(0), ctx.shared_name("weights")
    # a 1-D convolution is one row, wherever the next one would be
    n, c, h, _ = planes.strides if planes.rank == 4 else (*planes.strides[:2], 0, 1)
    x, y = direct.Planes(ctx.node.input(0), n, c, h, planes.offset), pixels(ctx, ctx.node.outputs[0])
    constants[weights] = ctx.pack(weights, lambda: direct.pack_weights(ctx.constant(1), tile.lanes))
    launch = direct.launch_direct(*_geometry(conv), x, weights, y, epilogue, tile, ctx.device)
    return Lowered((launch,), constants, choice=f"direct, tile {tile}")


def _winograd_applies(size: int, conv: Convolution, ctx: LowerContext) -> bool:
    window = conv.window
    suits = (
        not ctx.exact
        and ctx.device.kind == "cpu"
        and conv.groups == 1
        and conv.channels_in >= winograd.MIN_CHANNELS
        and (window.kernel_h, window.kernel_w) == (3, 3)
        and (window.stride_h, window.stride_w, window.dilation_h, window.dilation_w) == (1, 1, 1, 1)
        and ctx.constant(1) is not None
    )
    blocking = _blocking(size, conv, ctx) if suits else None
    if blocking is None:
        return False
    return winograd.weight_elements(blocking, conv.channels_in, conv.channels_out) <= MAX_ELEMENTS


def _blocking(size: int, conv: Convolution, ctx: LowerContext) -> winograd.Blocking | None:
    """The blocking with the least work, of a band with the panels for which the weights of the whole are packed."""
    whole = choose_blocking(*_geometry(_whole(ctx)), size, ctx.device)
    if ctx.whole is ctx or whole is None:
        return whole
    return choose_blocking(*_geometry(conv), size, ctx.device, whole.lanes)


def _winograd_work(size: int, conv: Convolution, ctx: LowerContext) -> float:
    return _blocking(size, conv, ctx).work


def _lower_winograd(size: int, conv: Convolution, ctx: LowerContext) -> Lowered:
    epilogue, constants = read_epilogue(ctx, conv.channels_out, ctx.node.input(2))
    blocking = _blocking(size, conv, ctx)
    x, y = pixels(ctx, ctx.node.input(0)), pixels(ctx, ctx.node.outputs[0])
    weights, zeros = ctx.shared_name("weights"), ctx.shared_name("zeros")
    constants[weights] = ctx.pack(weights, lambda: transform_weights(ctx.constant(1), size, blocking.lanes))
    constants[zeros] = np.zeros(16, np.float32)
    channels = conv.channels_in, conv.channels_out
    launch = launch_winograd(conv.window, *channels, x, weights, zeros, y, epilogue, blocking)
    return Lowered((launch,), constants, choice=f"Winograd {blocking}")


def _winograd(size: int) -> Algorithm:
    steps = (partial(step, size) for step in (_winograd_applies, _winograd_work, _lower_winograd))
    return Algorithm(f"Winograd F({size}×{size})", _always(winograd.WINOGRAD), *steps, tile_rows=size)


def _always(kernel: Kernel) -> Callable[[DeviceInfo], Kernel]:
    """The same kernel for every device."""
    return lambda device: kernel


ALGORITHMS = (
    Algorithm("implicit GEMM", product_kernel, lambda conv, ctx: True, _gemm_work, _lower_gemm),
    Algorithm("depthwise", _always(DEPTHWISE), is_depthwise, lambda conv, ctx: depthwise_work(conv), _lower_depthwise),
    Algorithm("direct", _always(direct.CONV_DIRECT), _direct_applies, _direct_work, _lower_direct, PLAIN, 30.0),
    _winograd(2),
    _winograd(4),
)
"""Every way to compute a convolution."""
