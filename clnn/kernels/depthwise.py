"""The kernel of depthwise convolutions and its launch."""

from __future__ import annotations

from clnn.devices.info import DeviceInfo
from clnn.kernels.epilogue import EPILOGUE_PARAMS, Epilogue
from clnn.kernels.kernel import Kernel, Launch, Param
from clnn.kernels.window import Pixels, Window

DEPTHWISE = Kernel(
    "depthwise",
    "depthwise.cl",
    (
        Param("TILE_W", 8, (1, 2, 4, 7, 8, 12), "output pixels of a row that a work-item keeps"),
        Param("LANES", 16, (4, 16), "channels that a work-item keeps"),
        *EPILOGUE_PARAMS,
    ),
    cuts=(0, 1),
)

MIN_CHANNELS = 4
"""The narrowest vector of the kernel: it cannot work on fewer channels."""

ITEM_FLOPS = 250_000
"""Work of one work-item on a CPU device: about 8 µs at the rate of this kernel."""


def launch_depthwise(
    window: Window,
    channels: int,
    x: Pixels,
    weights: str,
    zeros: str,
    y: Pixels,
    epilogue: Epilogue,
    device: DeviceInfo,
) -> Launch:
    """The launch of a depthwise convolution of ``channels`` channels, at least ``MIN_CHANNELS``.

    ``weights`` lie as (taps, channels), ``zeros`` holds 16 of them. A work-item of a CPU device takes whole rows,
    one of a GPU 4 channels of a row.
    """
    rows = window.batch * window.out_height
    if device.kind == "cpu":
        lanes, tile_w, local = (16 if channels >= 16 else 4), 8, (1, 1)
        row_flops = 2 * window.out_width * channels * window.taps
        most = rows // (4 * device.compute_units)
        rows_per_item = max(1, min(ITEM_FLOPS // row_flops, most))
        # Where there are too few rows for all compute units, they share the channels of each row.
        shares = -(-4 * device.compute_units // rows)
        chunk = max(lanes, channels // shares // lanes * lanes)
    else:
        lanes, tile_w, local, rows_per_item, chunk = 4, 1, None, 1, 4
    args = (
        x.name, weights, *epilogue.tensors, zeros, y.name, *epilogue.constants,
        rows, rows_per_item, channels, chunk, x.pitch, x.offset, y.pitch, y.offset, *epilogue.residual_args,
        *window.args,
    )  # fmt: skip
    size = (-(-rows // rows_per_item), channels // chunk)
    return DEPTHWISE.launch(args, size, local, TILE_W=tile_w, LANES=lanes, **epilogue.params)
