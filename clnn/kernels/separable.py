"""The kernel of depthwise-separable convolutions, and its launch."""

from __future__ import annotations

from clnn.devices.info import DeviceInfo
from clnn.kernels.activation import ACTIVATIONS, Activation
from clnn.kernels.epilogue import EPILOGUE_PARAMS, Epilogue
from clnn.kernels.gemm import CONV_GEMM, VECTOR, Tile
from clnn.kernels.kernel import Kernel, Launch, Local, Param
from clnn.kernels.window import Pixels, Window

SEPARABLE = Kernel(
    "separable",
    "separable.cl",
    (
        *CONV_GEMM.params[:2],
        Param("INNER", "NONE", tuple(ACTIVATIONS), "function applied to the result of the depthwise convolution"),
        *EPILOGUE_PARAMS,
    ),
    CONV_GEMM.constraints,
    cuts=(0,),
)

MIN_CHANNELS = VECTOR
"""The kernel cannot work on fewer channels."""

_SKEW = 16
"""SKEW of separable.cl."""
_SCRATCH_BYTES = 1 << 18
"""Scratch of a work-item at most: a quarter of the second-level caches of today."""
_ITEMS_PER_UNIT = 4


def pixels_per_item(rows: int, channels: int, tile: Tile, device: DeviceInfo) -> int:
    """Output pixels that a work-item takes, a multiple of ``tile.m``; 0 where not even one tile fits local memory."""
    fitting = min(_SCRATCH_BYTES, device.local_mem) // (4 * (channels + _SKEW)) // tile.m
    wanted = -(-rows // (_ITEMS_PER_UNIT * device.compute_units * tile.m))
    return min(fitting, wanted) * tile.m


def launch_separable(
    window: Window,
    channels: int,
    channels_out: int,
    x: Pixels,
    taps: tuple[str, str | None],
    weights: str,
    zeros: str,
    y: Pixels,
    inner: Activation,
    epilogue: Epilogue,
    tile: Tile,
    device: DeviceInfo,
) -> Launch:
    """The launch of a depthwise convolution and a 1×1 convolution of its result.

    ``taps`` are weights, (taps, channels), and bias of the first one; ``inner`` is its activation. ``weights`` of the
    second are packed for ``tile``.
    """
    pixels = pixels_per_item(window.rows, channels, tile, device)
    args = (
        x.name, *taps, weights, *epilogue.tensors, zeros, y.name, Local(4 * pixels * (channels + _SKEW)),
        float(inner.alpha), float(inner.beta), *epilogue.constants,
        window.rows, pixels, channels, channels_out, -(-channels_out // tile.lanes),
        x.pitch, x.offset, y.pitch, y.offset, *epilogue.residual_args, *window.args,
    )  # fmt: skip
    params = {"TILE_M": tile.m, "TILE_N": tile.lanes // VECTOR, "INNER": inner.kind}
    return SEPARABLE.launch(args, (-(-window.rows // pixels),), (1,), **params, **epilogue.params)
