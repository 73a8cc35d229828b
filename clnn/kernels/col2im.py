"""The kernel that gathers the products of a transposed convolution, and its launch."""

from __future__ import annotations

from clnn.devices.info import DeviceInfo
from clnn.kernels.kernel import Kernel, Launch, Param
from clnn.kernels.window import Window

COL2IM = Kernel("col2im", "col2im.cl", (Param("LANES", 16, (4, 16), "channels that a work-item keeps"),), cuts=(0, 1))

ITEM_LOADS = 4_000
"""Vector loads of one work-item on a CPU device: about 10 µs."""


def launch_col2im(
    window: Window, groups: int, channels: int, columns: str, bias: str | None, y: str, device: DeviceInfo
) -> Launch:
    """The launch that sums ``columns``, of shape (batch, height, width, groups, taps, channels), to ``y``.

    ``window`` slides over ``y``, as in the convolution that this one transposes, but its ``height`` and ``width``
    are those of ``columns`` and ``out_height`` and ``out_width`` those of ``y``; ``channels`` are those of a group.
    """
    lanes, pixels = 4, 1
    if device.kind == "cpu":
        lanes, pixels = 16, max(1, ITEM_LOADS // window.taps)
        pixels = max(1, min(pixels, window.rows // (4 * device.compute_units)))
    args = (columns, bias, y, window.rows, pixels, groups, channels, *window.args)
    size = (-(-window.rows // pixels), groups * -(-channels // lanes))
    return COL2IM.launch(args, size, (1, 1) if device.kind == "cpu" else None, LANES=lanes)
