"""Pooling over sliding windows: MaxPool, AveragePool, LpPool."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from clnn.devices.info import DeviceInfo
from clnn.graph import CHANNELS_LAST, Dim, Node, TensorType
from clnn.kernels.pool import POOL, POOL_TYPES, WIDTHS
from clnn.kernels.window import Window
from clnn.ops.base import Cost, InferContext, Layouts, LowerContext, Lowered, Operator, operator
from clnn.ops.indexing import too_large
from clnn.ops.rows import ROW_AXIS, Band, Rows
from clnn.ops.settings import UNKNOWN, integer, integers, invalid
from clnn.ops.strided import local_size
from clnn.ops.window import Axis, band_pads, reach_of, read_axes

_MAX_AXES = 3
_ITEM_LOADS = 1 << 13
"""Elements that a CPU's work-item reads: some 5 µs of work."""
_CHANNEL_BLOCK = 256
"""Channels of a CPU's work-item where there are too few pixels for all compute units."""


@dataclass(frozen=True)
class _Extent:
    """The window along one spatial axis of static size: input, output and padding before and after."""

    axis: Axis
    size: int
    out: int

    @property
    def begin(self) -> int:
        return self.axis.pad(self.size)

    @property
    def end(self) -> int:
        if not self.axis.auto_pad.startswith("SAME"):
            return self.axis.pad_end
        return max(0, (self.out - 1) * self.axis.stride + self.axis.reach - self.size) - self.begin


_NO_AXIS = _Extent(Axis(1, 1, 1, 0, 0, "NOTSET"), 1, 1)


def _axes(node: Node) -> tuple[Axis, ...]:
    kernel = integers(node, "kernel_shape", node.attrs.get("kernel_shape"))
    if not kernel:
        invalid(node, "kernel_shape is empty")
    return read_axes(node, kernel)


def _extents(ctx: LowerContext, count: int) -> list[_Extent]:
    """The window of a node of static types along each of its axes, after as many others as make ``count``."""
    sizes = zip(_axes(ctx.node), ctx.type(0).shape[2:], ctx.output().shape[2:], strict=True)
    found = [_Extent(*extent) for extent in sizes]
    return [_NO_AXIS] * (count - len(found)) + found


def pool_window(ctx: LowerContext) -> tuple[Window, int, int]:
    """The window of a node that pools over one or two axes, and its padding below and to the right."""
    rows, columns = _extents(ctx, 2)
    window = Window(
        ctx.type(0).shape[0], rows.size, columns.size, rows.out, columns.out, rows.axis.kernel, columns.axis.kernel,
        rows.axis.stride, columns.axis.stride, rows.axis.dilation, columns.axis.dilation, rows.begin, columns.begin,
    )  # fmt: skip
    return window, rows.end, columns.end


class _Pool(Operator):
    """Base: shapes, and the launch. Works with the channels last, on one to three spatial axes."""

    op = ""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        data, node = ctx.type(0), ctx.node
        axes = _axes(node)
        if data.rank != len(axes) + 2:
            invalid(node, f"a window over {len(axes)} axes does not fit an input of {data.rank} dimensions")
        outs = (self._out(node, *pair) for pair in zip(axes, data.shape[2:], strict=True))
        shape = (*data.shape[:2], *outs)
        return (TensorType(shape, data.dtype), TensorType(shape, "int64"))[: len(node.outputs)]

    @staticmethod
    def _out(node: Node, axis: Axis, size: Dim) -> Dim:
        out = axis.out(size)
        if isinstance(size, str):
            return UNKNOWN if node.attrs.get("ceil_mode", 0) and axis.stride > 1 else out
        if node.attrs.get("ceil_mode", 0) and axis.auto_pad == "NOTSET":
            out = -(-(size + axis.pad_begin + axis.pad_end - axis.reach) // axis.stride) + 1
            # A window that would start in the padding at the end is left out.
            out -= (out - 1) * axis.stride >= size + axis.pad_begin
        if out < 1 and size:
            invalid(node, f"a window of {axis.reach} does not fit {size} elements with their padding")
        return max(out, 0)

    def cost(self, node: Node, types: Mapping[str, TensorType]) -> Cost:
        data, result = types[node.inputs[0]], types[node.outputs[0]]
        taps = math.prod(axis.kernel for axis in _axes(node))
        return Cost(result.size * taps, data.nbytes + sum(types[name].nbytes for name in node.outputs if name))

    def obstacle(self, ctx: LowerContext) -> str | None:
        data = ctx.type(0)
        if data.dtype not in self._dtypes(ctx.device):
            return f"dtype {data.dtype} has no kernel"
        if data.rank - 2 > _MAX_AXES:
            return f"{data.rank - 2} spatial axes are more than the kernel's {_MAX_AXES}"
        return too_large((data, ctx.output()))

    def _dtypes(self, device: DeviceInfo) -> tuple[str, ...]:
        return ("float32", "float64") if device.fp64 else ("float32",)

    def layouts(self, ctx: LowerContext) -> Layouts:
        return Layouts((CHANNELS_LAST,), (CHANNELS_LAST,) * len(ctx.node.outputs))

    def takes_region(self, ctx: LowerContext, index: int) -> bool:
        return ctx.type(0).pixel_pitch is not None

    def gives_region(self, ctx: LowerContext, index: int) -> bool:
        # The indices of the maxima are numbered without gaps.
        return index == 0 and ctx.output().pixel_pitch is not None

    def by_rows(self, ctx: LowerContext) -> Rows | None:
        node, data = ctx.node, ctx.type(0)
        counts = node.attrs.get("count_include_pad", 0) and node.attrs.get("ceil_mode", 0)
        if data.rank != 4 or not ctx.output().size or any(node.outputs[1:]) or counts:
            return None
        return Rows((reach_of(_axes(node)[0], data.shape[ROW_AXIS]),))

    def band(self, ctx: LowerContext, band: Band) -> tuple[Node, dict[str, TensorType]]:
        pads = band_pads(ctx, ctx.node.attrs["kernel_shape"], band)
        return band.node(ctx.node, **pads, ceil_mode=0), {}

    def lower(self, ctx: LowerContext) -> Lowered:
        data, result = ctx.type(0), ctx.output()
        if result.size == 0:
            return Lowered()
        extents = _extents(ctx, _MAX_AXES)
        indices = ctx.node.outputs[1] if len(ctx.node.outputs) > 1 and ctx.node.outputs[1] else None
        channels, pixels = data.shape[1], result.size // data.shape[1]
        pixel_block, channel_block = _blocks(ctx.device, pixels, channels, [e.axis.kernel for e in extents])
        launch = POOL.launch(
            (
                *(ctx.node.inputs[0], ctx.node.outputs[0], indices),
                *(data.pixel_pitch, data.offset, result.pixel_pitch, result.offset),
                *(pixels, channels, pixel_block, channel_block),
                *(extent.size for extent in extents),
                *(extent.out for extent in extents),
                *(extent.axis.kernel for extent in extents),
                *(extent.axis.stride for extent in extents),
                *(extent.axis.dilation for extent in extents),
                *(extent.begin for extent in extents),
                *(extent.end for extent in extents),
                *(self._setting(ctx.node, name) for name in ("count_include_pad", "p", "storage_order")),
            ),
            (-(-channels // channel_block), -(-pixels // pixel_block)),
            local_size(ctx.device, 2),
            TYPE=POOL_TYPES[data.dtype],
            OP=self.op,
            WIDTH=next(width for width in WIDTHS if width <= (channels % channel_block or channel_block)),
            INDICES=int(indices is not None),
        )
        return Lowered((launch,), choice="window by window, channels in vectors")

    @staticmethod
    def _setting(node: Node, name: str) -> int:
        return integer(node, name, node.attrs.get(name, 2 if name == "p" else 0))


def _blocks(device: DeviceInfo, pixels: int, channels: int, kernel: list[int]) -> tuple[int, int]:
    """Output pixels and channels per work-item."""
    if device.kind != "cpu":
        return 1, 1
    taps = math.prod(kernel)
    budget = min(_ITEM_LOADS, max(512, pixels * channels * taps // (4 * device.compute_units)))
    if pixels >= device.compute_units or channels <= _CHANNEL_BLOCK:
        return min(pixels, max(1, budget // (channels * taps))), channels
    return 1, _CHANNEL_BLOCK


@operator("MaxPool")
class MaxPool(_Pool):
    """The largest element of each window and, if the second output is used, where it was."""

    op = "MAX"

    def _dtypes(self, device: DeviceInfo) -> tuple[str, ...]:
        return (*super()._dtypes(device), "int8", "uint8")


@operator("AveragePool")
class AveragePool(_Pool):
    """The mean of each window, of the elements inside or (``count_include_pad``) with the padding's zeros."""

    op = "AVERAGE"


@operator("LpPool")
class LpPool(_Pool):
    """The p-norm of each window."""

    op = "LP"
