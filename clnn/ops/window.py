"""Windows that slide over spatial axes, as convolutions and pooling share them."""

from __future__ import annotations

from dataclasses import dataclass

from clnn.graph import Dim, Node
from clnn.ops.base import InferContext
from clnn.ops.rows import Band, Reach
from clnn.ops.settings import UNKNOWN, integers, invalid


@dataclass(frozen=True)
class Axis:
    """The window along one spatial axis, in pixels."""

    kernel: int
    stride: int
    dilation: int
    pad_begin: int
    pad_end: int
    auto_pad: str

    @property
    def reach(self) -> int:
        """Pixels from the first tap to the last, both included."""
        return (self.kernel - 1) * self.dilation + 1

    def out(self, size: Dim) -> Dim:
        """Output size for an input of ``size``; a symbol stays where the output is as large as the input."""
        if isinstance(size, str):
            keeps = self.auto_pad.startswith("SAME") or self.pad_begin + self.pad_end == self.reach - 1
            return size if keeps and self.stride == 1 else UNKNOWN
        if self.auto_pad.startswith("SAME"):
            return -(-size // self.stride)
        return (size + self.pad_begin + self.pad_end - self.reach) // self.stride + 1

    def pad(self, size: int) -> int:
        """Pixels of padding before an input of ``size``."""
        if not self.auto_pad.startswith("SAME"):
            return self.pad_begin
        total = max(0, (self.out(size) - 1) * self.stride + self.reach - size)
        return total // 2 if self.auto_pad == "SAME_UPPER" else total - total // 2


def read_axes(node: Node, kernel: tuple[int, ...]) -> tuple[Axis, ...]:
    """The attributes of a sliding window over ``len(kernel)`` spatial axes.

    Raises:
        ModelFormatError: they do not fit each other or the kernel.
    """
    rank = len(kernel)
    auto_pad = node.attrs.get("auto_pad", "NOTSET")
    if auto_pad not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        invalid(node, f"auto_pad '{auto_pad}' does not exist")

    def setting(name: str, default: int, count: int, least: int) -> tuple[int, ...]:
        values = integers(node, name, node.attrs.get(name, (default,) * count))
        if len(values) != count or min(values) < least:
            invalid(node, f"{name} {values} does not fit {rank} spatial axes")
        return values

    if setting("kernel_shape", 1, rank, 1) != kernel and "kernel_shape" in node.attrs:
        invalid(node, f"kernel_shape {node.attrs['kernel_shape']} differs from that of the weights, {kernel}")
    strides, dilations = setting("strides", 1, rank, 1), setting("dilations", 1, rank, 1)
    # Pads are given with auto_pad=VALID by some exporters, and mean nothing there.
    pads = setting("pads", 0, 2 * rank, 0) if auto_pad == "NOTSET" else (0,) * (2 * rank)
    return tuple(Axis(kernel[i], strides[i], dilations[i], pads[i], pads[i + rank], auto_pad) for i in range(rank))


def reach_of(axis: Axis, size: int) -> Reach:
    """How far a window reaches along an axis of ``size``."""
    return Reach(axis.reach, axis.stride, axis.pad(size))


def band_pads(ctx: InferContext, kernel: tuple[int, ...], band: Band) -> dict[str, object]:
    """The attributes by which a two-dimensional window slides over a band of rows as it does over all of them.

    Pads are given explicitly, as many as the windows of the result need.
    """
    columns, width = read_axes(ctx.node, kernel)[1], ctx.type(0).shape[3]
    left = columns.pad(width)
    right = (ctx.types[ctx.node.outputs[0]].shape[3] - 1) * columns.stride + columns.reach - left - width
    return {"pads": (band.padding[0], left, band.padding[1], max(0, right)), "auto_pad": "NOTSET"}
