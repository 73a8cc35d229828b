"""The kernel of direct convolutions of few input channels, whose input lies in planes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.kernels.epilogue import EPILOGUE_PARAMS, Epilogue
from clnn.kernels.gemm import ITEM_FLOPS, VECTOR, Tile, pack_panels
from clnn.kernels.kernel import Constraint, Kernel, Launch, Local, Param
from clnn.kernels.window import Pixels, Window

KERNEL_WIDTHS = (1, 2, 3, 4, 5, 6, 7)
STRIDES = (1, 2, 3, 4)
"""What networks begin with; each is a program of its own, whose loops along the row are unrolled. With more taps there
are too few registers left for a tile: implicit GEMM is as fast."""

CONV_DIRECT = Kernel(
    "conv_direct",
    "conv_direct.cl",
    (
        Param("TILE_M", 16, (4, 7, 8, 14, 16), "output pixels of a row that a work-item keeps"),
        Param("TILE_N", 1, (1, 2), "vectors of 16 output channels that a work-item keeps"),
        Param("KERNEL_W", 3, KERNEL_WIDTHS, "taps of a kernel row"),
        Param("STRIDE_W", 1, STRIDES, "input pixels between neighbours of an output row"),
        *EPILOGUE_PARAMS,
    ),
    (
        Constraint(
            lambda p: (p["TILE_M"] + p["KERNEL_W"]) * p["TILE_N"] <= 30,
            "(TILE_M + KERNEL_W)·TILE_N accumulators and weights fit 32 vector registers",
        ),
    ),
    cuts=(0, 1),
)

MAX_CHANNELS = 4
"""More input channels are better off channels last, where they lie side by side."""

_TILES = (
    # Measured with PoCL 3.1 on two Zen 5 cores: the first layers of ten networks, 3×3 to 7×7 of 1 to 3 channels.
    Tile(8, 32, 0.95),
    Tile(7, 32, 0.95),
    Tile(16, 16, 0.92),
    Tile(14, 16, 0.92),
    Tile(4, 16, 0.6),
)


@dataclass(frozen=True)
class Planes:
    """A tensor as the kernel sees it: from element ``offset`` on, pictures of planes of rows, pitches apart."""

    name: str
    batch_pitch: int
    plane_pitch: int
    row_pitch: int
    offset: int = 0


def is_supported(window: Window) -> bool:
    """Whether the kernel knows a convolution with this window."""
    return window.kernel_w in KERNEL_WIDTHS and window.stride_w in STRIDES and window.dilation_w == 1


def choose_tile(window: Window, channels_in: int, channels_out: int, device: DeviceInfo) -> Tile:
    """The tile with the least work."""
    # Narrower vectors than those of AVX-512 take several of fewer registers for each vector of the kernel.
    limit = 30 if device.vector_width >= VECTOR else 8
    fitting = [tile for tile in _TILES if (tile.m + window.kernel_w) * tile.lanes // VECTOR <= limit] or [_TILES[-1]]
    return min(fitting, key=lambda tile: work(window, channels_in, channels_out, tile))


def work(window: Window, channels_in: int, channels_out: int, tile: Tile) -> float:
    """Operations that the device could have done, at its peak, in the time that this tile takes.

    Work beyond the end of a row and beyond the last channel counts too.
    """
    pixels = window.batch * window.out_height * -(-window.out_width // tile.m) * tile.m
    lanes = -(-channels_out // tile.lanes) * tile.lanes
    return 2 * pixels * lanes * window.taps * channels_in / tile.efficiency


def pack_weights(weights: np.ndarray, lanes: int) -> np.ndarray:
    """Pack (channels_out, channels_in, *kernel) to [panel][channel_in][kernel_h][kernel_w][lane]."""
    channels_out, channels_in = weights.shape[:2]
    return pack_panels(weights.reshape(1, channels_out, channels_in, -1).transpose(0, 2, 3, 1), lanes)


def launch_direct(
    window: Window,
    channels_in: int,
    channels_out: int,
    x: Planes,
    weights: str,
    y: Pixels,
    epilogue: Epilogue,
    tile: Tile,
    device: DeviceInfo,
) -> Launch:
    """The launch of a convolution of planes ``x``, whose weights were packed for ``tile``."""
    row_tiles, panels = -(-window.out_width // tile.m), -(-channels_out // tile.lanes)
    all_tiles = window.batch * window.out_height * row_tiles
    most = all_tiles * panels // (4 * device.compute_units)
    tiles = max(1, min(-(-ITEM_FLOPS // (2 * tile.m * tile.lanes * window.taps * channels_in)), most))
    reach = (tile.m - 1) * window.stride_w + window.kernel_w
    args = (
        x.name, weights, *epilogue.tensors, y.name, Local(4 * (-(-reach // VECTOR) * VECTOR)), *epilogue.constants,
        all_tiles, tiles, row_tiles, channels_in, channels_out,
        x.batch_pitch, x.plane_pitch, x.row_pitch, x.offset, y.pitch, y.offset, *epilogue.residual_args,
        window.height, window.width, window.out_height, window.out_width,
        window.kernel_h, window.stride_h, window.dilation_h, window.pad_top, window.pad_left,
    )  # fmt: skip
    params = {"TILE_M": tile.m, "TILE_N": tile.lanes // VECTOR}
    params |= {"KERNEL_W": window.kernel_w, "STRIDE_W": window.stride_w}
    size = (-(-all_tiles // tiles), panels)
    return CONV_DIRECT.launch(args, size, (1, 1), **params, **epilogue.params)
