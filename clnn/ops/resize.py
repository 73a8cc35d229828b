"""Resizing along any axes: Resize and its predecessor Upsample."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.graph import CHANNELS_LAST, PLAIN, Dim, Node, TensorType
from clnn.kernels import Launch
from clnn.kernels.resample import RESAMPLE, WIDTHS
from clnn.ops.base import InferContext, Layouts, LowerContext, Lowered, operator
from clnn.ops.movement import Movement
from clnn.ops.remap import gives_pixels, remap, too_many_dimensions
from clnn.ops.rows import ROW_AXIS, WHOLE, Band, Reach, Rows
from clnn.ops.sampling import COORDINATES, MODES, NEAREST, Sampling, Taps, sample
from clnn.ops.settings import UNKNOWN, axes, computed_obstacle, integers, invalid, numbers
from clnn.ops.strided import grid, local_size

_POLICIES = ("stretch", "not_larger", "not_smaller")
_ITEM_ELEMENTS = 1 << 12
"""Elements that a CPU's work-item computes at most: some 5 µs of work."""


@dataclass(frozen=True)
class _Plan:
    """Output sizes, scales and regions of interest for every ONNX axis."""

    shape: tuple[Dim, ...]
    scales: tuple[float, ...]
    rois: tuple[tuple[float, float], ...]


@operator("Resize", "Upsample")
class Resize(Movement):
    """Scales or sizes are given per axis; each axis is resized on its own, by tables prepared on the host."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        return (TensorType(self._plan(ctx).shape, ctx.type(0).dtype),)

    def _plan(self, ctx: InferContext) -> _Plan:
        shape = ctx.type(0).shape
        scales, sizes, roi = self._given(ctx)
        which = axes(ctx.node, ctx.node.attrs.get("axes", range(len(shape))), len(shape))
        given = scales if sizes is None else sizes
        if given is None or len(given) != len(which) or (roi and len(roi) != 2 * len(which)):
            invalid(ctx.node, f"scales, sizes or roi do not fit {len(which)} axes")
        rois = [(0.0, 1.0)] * len(shape)
        for position, axis in enumerate(which if roi else ()):
            rois[axis] = (roi[position], roi[position + len(which)])
        if sizes is not None:
            return _by_sizes(ctx, shape, dict(zip(which, sizes, strict=True)), tuple(rois))
        if any(not math.isfinite(scale) or scale <= 0 for scale in scales):
            invalid(ctx.node, f"scales {list(scales)} are not positive")
        factors = dict(zip(which, scales, strict=True))
        result = tuple(_scaled(dim, factors.get(axis, 1.0)) for axis, dim in enumerate(shape))
        return _Plan(result, tuple(factors.get(axis, 1.0) for axis in range(len(shape))), tuple(rois))

    @staticmethod
    def _given(
        ctx: InferContext,
    ) -> tuple[tuple[float, ...] | None, tuple[int, ...] | None, tuple[float, ...]]:
        """Scales, sizes and roi as far as they are given (an empty tensor counts as not given)."""
        old = ctx.node.op == "Upsample" or ctx.node.version < 11
        sizes = None if old else ctx.setting("sizes", 3)
        if sizes is not None and np.size(sizes):
            sizes = integers(ctx.node, "sizes", sizes)
            if min(sizes) < 0:
                invalid(ctx.node, f"sizes {list(sizes)} are negative")
        else:
            sizes = None
        scales = ctx.setting("scales", 1 if old else 2)
        scales = None if scales is None or not np.size(scales) else numbers(ctx.node, "scales", scales)
        roi = None if old else ctx.setting("roi", 1)
        return scales, sizes, () if roi is None else numbers(ctx.node, "roi", roi)

    def _sampling(self, ctx: InferContext) -> Sampling:
        attrs = ctx.node.attrs
        old = ctx.node.op == "Upsample" or ctx.node.version < 11
        how = Sampling(
            attrs.get("mode", "nearest"),
            "asymmetric" if old else attrs.get("coordinate_transformation_mode", "half_pixel"),
            "simple" if old else attrs.get("nearest_mode", "round_prefer_floor"),
            attrs.get("cubic_coeff_a", -0.75),
            bool(attrs.get("antialias", 0)),
            bool(attrs.get("exclude_outside", 0)),
        )
        for value, known in ((how.mode, MODES), (how.coordinates, COORDINATES), (how.nearest, NEAREST)):
            if value not in known:
                invalid(ctx.node, f"'{value}' is none of {', '.join(known)}")
        return how

    def obstacle(self, ctx: LowerContext) -> str | None:
        data, mode = ctx.type(0), self._sampling(ctx).mode
        if mode != "nearest" and data.dtype != "float32":
            return f"mode {mode} of dtype {data.dtype} has no kernel"
        return computed_obstacle(ctx, 1, 2, 3) or super().obstacle(ctx) or too_many_dimensions(ctx.output().shape)

    def layouts(self, ctx: LowerContext) -> Layouts:
        """Channels last, for vectors over the channels, where only spatial axes are resized."""
        data = ctx.type(0)
        spatial = data.rank > 2 and data.shape[:2] == ctx.output().shape[:2]
        layout = CHANNELS_LAST if spatial else PLAIN
        return Layouts((layout, *[None] * (len(ctx.node.inputs) - 1)), (layout,))

    def takes_region(self, ctx: LowerContext, index: int) -> bool:
        return index == 0 and self._is_remapped(ctx)

    def gives_region(self, ctx: LowerContext, index: int) -> bool:
        return self._is_remapped(ctx) and gives_pixels(ctx.output())

    def _is_remapped(self, ctx: LowerContext) -> bool:
        """Whether elements are copied by tables; where no axis changes its size, the output may be an alias."""
        return self._sampling(ctx).mode == "nearest" and ctx.type(0).shape != ctx.output().shape

    def by_rows(self, ctx: LowerContext) -> Rows | None:
        """Only where every element is repeated a whole number of times, along spatial axes."""
        data, result, how = ctx.type(0), ctx.output(), self._sampling(ctx)
        if data.rank != 4 or not result.size or data.shape[:2] != result.shape[:2] or how.mode != "nearest":
            return None
        plan = self._plan(ctx)
        for axis in (2, 3):
            size, out = data.shape[axis], result.shape[axis]
            taps = sample(how, size, out, plan.scales[axis], plan.rois[axis])
            if out % size or (taps.positions[:, 0] != np.arange(out) // (out // size)).any():
                return None
        others = (None,) * (len(ctx.node.inputs) - 1)
        repeat = result.shape[ROW_AXIS] // data.shape[ROW_AXIS]
        return Rows((Reach(repeat=repeat), *others), tile=repeat)

    def band(self, ctx: LowerContext, band: Band) -> tuple[Node, dict[str, TensorType]]:
        """An Upsample, which is given scales, never sizes."""
        data, result = ctx.type(0), ctx.output()
        scales = tuple(float(out // size) for size, out in zip(data.shape, result.shape, strict=True))
        attrs = {"mode": "nearest", "scales": scales, WHOLE: ctx.node}
        return Node(ctx.node.name + band.suffix, "Upsample", band.inputs[:1], band.outputs, attrs, 7), {}

    def lower(self, ctx: LowerContext) -> Lowered:
        data, result, how = ctx.type(0), ctx.output(), self._sampling(ctx)
        if result.size == 0:
            return Lowered()
        plan = self._plan(ctx)
        taps = {
            axis: sample(how, data.shape[axis], result.shape[axis], plan.scales[axis], plan.rois[axis])
            for axis in range(data.rank)
        }
        taps = {
            axis: table
            for axis, table in taps.items()
            if data.shape[axis] != result.shape[axis] or not table.is_identity
        }
        outside = float(ctx.node.attrs.get("extrapolation_value", 0.0))
        if not taps:
            return Lowered(alias={ctx.node.outputs[0]: ctx.node.inputs[0]}, choice="shares the input's memory")
        if how.mode != "nearest":
            return _Resampling(ctx, taps, outside).lower()
        fill = ctx.local_name("outside")
        tables = [taps[a].positions[:, 0] if a in taps else np.arange(data.shape[a]) for a in range(data.rank)]
        lowered = remap(ctx, tables, fill)
        constants = {**lowered.constants, fill: np.array([outside]).astype(result.dtype)}
        return Lowered(lowered.launches, constants, choice=lowered.choice)


def _scaled(dim: Dim, scale: float) -> Dim:
    """The length of a scaled axis, rounded down in float32 as onnx's shape inference does."""
    if isinstance(dim, str):
        return dim if scale == 1 else UNKNOWN
    return int(np.floor(np.float32(dim) * np.float32(scale)))


def _by_sizes(
    ctx: InferContext,
    shape: tuple[Dim, ...],
    sizes: dict[int, int],
    rois: tuple[tuple[float, float], ...],
) -> _Plan:
    policy = ctx.node.attrs.get("keep_aspect_ratio_policy", "stretch")
    if policy not in _POLICIES:
        invalid(ctx.node, f"keep_aspect_ratio_policy '{policy}' is none of {', '.join(_POLICIES)}")
    if any(isinstance(shape[axis], str) for axis in sizes):
        result = tuple(sizes.get(axis, dim) if policy == "stretch" else UNKNOWN for axis, dim in enumerate(shape))
        return _Plan(result, (1.0,) * len(shape), rois)
    if any(shape[axis] == 0 and size for axis, size in sizes.items()):
        invalid(ctx.node, "an empty axis cannot be resized")
    ratios = {axis: size / max(shape[axis], 1) for axis, size in sizes.items()}
    if policy != "stretch" and ratios:
        common = min(ratios.values()) if policy == "not_larger" else max(ratios.values())
        ratios = dict.fromkeys(ratios, common)
        sizes = {axis: int(common * shape[axis] + 0.5) for axis in sizes}
    result = tuple(sizes.get(axis, dim) for axis, dim in enumerate(shape))
    return _Plan(result, tuple(ratios.get(axis, 1.0) for axis in range(len(shape))), rois)


class _Resampling:
    """Launches of ``resample``: two neighbouring axes at a time, through scratch tensors where there are more."""

    def __init__(self, ctx: LowerContext, taps: dict[int, Taps], outside: float) -> None:
        self.ctx = ctx
        self.order = ctx.type(0).order
        self.taps = taps
        self.outside = outside
        self.constants: dict[str, np.ndarray] = {}
        self.scratch: dict[str, int] = {}

    def lower(self) -> Lowered:
        launches = tuple(self._launches())
        return Lowered(launches, self.constants, self.scratch, choice="weighted sums by tables")

    def _launches(self) -> Iterator[Launch]:
        sizes = list(self.ctx.type(0).physical_shape)
        source = self.ctx.node.inputs[0]
        groups = list(self._groups())
        for number, group in enumerate(groups):
            before = list(sizes)
            for position in group:
                sizes[position] = self._count(position)
            target = self.ctx.node.outputs[0]
            if number + 1 < len(groups):
                target = self.ctx.local_name(f"stage{number}")
                self.scratch[target] = 4 * math.prod(sizes)
            yield self._launch(source, target, before, group)
            source = target

    def _groups(self) -> Iterator[tuple[int, ...]]:
        """Physical positions of the resized axes, in pairs where they are neighbours."""
        positions = [position for position, axis in enumerate(self.order) if axis in self.taps]
        while positions:
            length = 2 if positions[1:2] == [positions[0] + 1] else 1
            yield tuple(positions[:length])
            positions = positions[length:]

    def _count(self, position: int) -> int:
        return len(self.taps[self.order[position]].positions)

    def _launch(self, source: str, target: str, sizes: Sequence[int], group: tuple[int, ...]) -> Launch:
        outer, inner = math.prod(sizes[: group[0]]), math.prod(sizes[group[-1] + 1 :])
        axes_in = [sizes[position] for position in group] + [1] * (2 - len(group))
        axes_out = [self._count(position) for position in group] + [1] * (2 - len(group))
        tables = [self._table(position) for position in group] + [self._table(None)] * (2 - len(group))
        (row_index, row_weight, taps_row), (col_index, col_weight, taps_col) = tables
        blocks = _blocks(self.ctx.device, outer * axes_out[0], axes_out[1], inner)
        args = (
            *(source, target, row_index, row_weight, col_index, col_weight),
            *(outer, *axes_in, inner, *axes_out, taps_row, taps_col, *blocks, self.outside),
        )
        width = next(width for width in WIDTHS if width <= inner)
        extents = (outer * axes_out[0], axes_out[1])
        return RESAMPLE.launch(args, grid(extents, blocks), local_size(self.ctx.device, 2), WIDTH=width)

    def _table(self, position: int | None) -> tuple[str, str, int]:
        """Names of the constants with the positions and weights of an axis, and the taps per element."""
        label = "one" if position is None else f"axis{self.order[position]}"
        taps = Taps(np.zeros((1, 1)), np.ones((1, 1))) if position is None else self.taps[self.order[position]]
        index, weight = self.ctx.local_name(f"{label}/index"), self.ctx.local_name(f"{label}/weight")
        self.constants[index] = taps.positions.astype(np.int32)
        self.constants[weight] = taps.weights.astype(np.float32)
        return index, weight, taps.positions.shape[1]


def _blocks(device: DeviceInfo, rows: int, cols: int, inner: int) -> tuple[int, int]:
    """Output rows and columns per work-item."""
    if device.kind != "cpu":
        return 1, 1
    budget = min(_ITEM_ELEMENTS, max(256, rows * cols * inner // (4 * device.compute_units)))
    col_block = min(cols, max(1, budget // inner))
    return min(rows, max(1, budget // (col_block * inner))), col_block
