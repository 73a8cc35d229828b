"""The kernel of Winograd convolutions: transformed weights, blocking and launch."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import truediv

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.devices.model import apportion
from clnn.kernels import aligned
from clnn.kernels.epilogue import EPILOGUE_PARAMS, Epilogue
from clnn.kernels.gemm import VECTOR
from clnn.kernels.kernel import Constraint, Kernel, Launch, Local, Param, Span
from clnn.kernels.window import Pixels, Window

WINOGRAD = Kernel(
    "winograd",
    "winograd.cl",
    (
        Param("SIZE", 4, (2, 4), "output pixels of a tile, along each axis"),
        Param("TILE_M", 6, (4, 5, 6, 7, 8, 10, 12), "tiles that a product keeps in registers"),
        Param("TILE_N", 4, (1, 2, 3, 4, 5), "vectors of 16 output channels that a product keeps"),
        *EPILOGUE_PARAMS,
    ),
    (Constraint(lambda p: p["TILE_M"] * p["TILE_N"] <= 28, "TILE_M·TILE_N accumulators fit 32 vector registers"),),
    cuts=(0, 1),
)

MIN_CHANNELS = VECTOR
"""The kernel cannot work on fewer input channels."""

_SKEW = 16
"""SKEW of winograd.cl."""
_ROWS = {16: (12,), 32: (8,), 48: (8,), 64: (4, 5), 80: (5,)}
"""Choices of TILE_M for each width of a panel; the best of 4 to 12 on two Zen 5 cores with PoCL 3.1."""
_NARROW_ROWS = {16: (6,)}
"""The same where a vector of 16 takes two registers or more, of which there are then 16."""
_MOST_TILES = 30
"""Tiles per work-item at most: more save nothing on weights, and crowd the cache."""

_FILTER_TRANSFORM = {
    # G of Lavin and Gray 2016, for the points 0, 1, -1 and, for 4, 2, -2.
    2: np.array([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]),
    4: np.array(
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ]
    ),
}


@dataclass(frozen=True)
class Blocking:
    """How a convolution is cut: tiles of ``size``² pixels, ``tiles`` of them and ``panels`` panels per work-item.

    Products are computed ``rows`` tiles × ``lanes`` channels at a time. ``work`` is the number of floating-point
    operations that the device could have done, at its peak, in the time that the convolution takes.
    """

    size: int
    lanes: int
    rows: int
    tiles: int
    panels: int
    work: float

    def __str__(self) -> str:
        return f"F({self.size}×{self.size}), {self.tiles} tiles × {self.panels}·{self.lanes} channels"


def weight_elements(blocking: Blocking, channels_in: int, channels_out: int) -> int:
    """Floats of the transformed weights, filled up to whole panels."""
    return (blocking.size + 2) ** 2 * channels_in * -(-channels_out // blocking.lanes) * blocking.lanes


def tile_grid(window: Window, size: int) -> tuple[int, int]:
    """Rows and columns of tiles in one picture."""
    return -(-window.out_height // size), -(-window.out_width // size)


def scratch_floats(size: int, tiles: int, channels_in: int, lanes: int) -> int:
    """Floats of scratch memory that a work-item needs."""
    return (size + 2) ** 2 * (tiles * (channels_in + lanes) + 2 * _SKEW)


@lru_cache(maxsize=1024)
def choose_blocking(
    window: Window, channels_in: int, channels_out: int, size: int, device: DeviceInfo, lanes: int | None = None
) -> Blocking | None:
    """The blocking with the least ``work``; ``None`` where the device has too little local memory for any.

    ``lanes`` is the only width of a panel that may be taken, if it is given.
    """
    candidates = _blockings(window, channels_in, channels_out, size, device)
    fitting = (each for each in candidates if lanes in (None, each.lanes))
    return min(fitting, key=lambda blocking: blocking.work, default=None)


def _blockings(
    window: Window, channels_in: int, channels_out: int, size: int, device: DeviceInfo
) -> Iterator[Blocking]:
    grid_rows, grid_columns = tile_grid(window, size)
    all_tiles = window.batch * grid_rows * grid_columns
    tile_rows = _ROWS if device.vector_width >= VECTOR else _NARROW_ROWS
    for lanes, rows in ((lanes, rows) for lanes, choices in tile_rows.items() for rows in choices):
        all_panels = -(-channels_out // lanes)
        for tiles in range(rows, min(_MOST_TILES, all_tiles + rows - 1) + 1, rows):
            if 4 * scratch_floats(size, tiles, channels_in, lanes) > device.local_mem:
                break
            for panels in {-(-all_panels // groups) for groups in range(1, all_panels + 1)}:
                blocking = Blocking(size, lanes, rows, tiles, panels, 0.0)
                yield replace(blocking, work=_work(blocking, all_tiles, channels_in, channels_out, device))


# Fitted to some 2,500 blockings of 20 layers on two Zen 5 cores with PoCL 3.1, weights out of cache: of each layer the
# blocking with the least work took 1.05 times as long as the fastest one in the mean, 1.5 times at worst. In
# floating-point operations at the device's peak:
_EFFICIENCY = {16: 0.75, 32: 0.84, 48: 0.85, 64: 0.88, 80: 0.88}
_NARROW_EFFICIENCY = 0.6  # not measured: that of the same tile in CPU_TILES, less what the transforms spill
_TRANSFORM_WORK = 65.0 / VECTOR  # per element of a transformed tile
_WEIGHT_WORK = 20.0  # per weight, to read it from memory
_REREAD_WORK = 4.0  # per weight that a work-item reads from a cache
_FAR_REREAD_WORK = 25.0  # where the weights of one item are more than _CACHED_WEIGHTS
_CACHED_WEIGHTS = 2 << 20  # that one work-item leaves in the last-level cache for the next
_ITEM_WORK = 5e5
_SHARED_WEIGHTS = 1 << 20  # that several devices may read all of


def _work(blocking: Blocking, all_tiles: int, channels_in: int, channels_out: int, device: DeviceInfo) -> float:
    positions, all_panels = (blocking.size + 2) ** 2, -(-channels_out // blocking.lanes)
    efficiency = _EFFICIENCY[blocking.lanes] if device.vector_width >= VECTOR else _NARROW_EFFICIENCY

    def item(tiles: int, panels: int) -> float:
        columns = panels * blocking.lanes
        padded = -(-tiles // blocking.rows) * blocking.rows
        products = 2.0 * padded * channels_in * columns / efficiency
        transforms = _TRANSFORM_WORK * tiles * (channels_in + columns)
        weights = channels_in * columns
        reread = _REREAD_WORK if positions * weights <= _CACHED_WEIGHTS else _FAR_REREAD_WORK
        return positions * (products + transforms + reread * weights) + _ITEM_WORK

    weights = _WEIGHT_WORK * positions * channels_in * all_panels * blocking.lanes
    if speeds := device.member_speeds:
        # Each member takes blocks of tiles in proportion to its speed, or, of many weights, panels: then it reads only
        # its own.
        blocks, groups = -(-all_tiles // blocking.tiles), -(-all_panels // blocking.panels)
        if positions * channels_in * channels_out > _SHARED_WEIGHTS and all_panels > len(speeds):
            works = [blocks * item(blocking.tiles, count) for count in apportion(all_panels, speeds)]
        else:
            works = [count * groups * item(blocking.tiles, blocking.panels) for count in apportion(blocks, speeds)]
        return max(map(truediv, works, speeds)) * sum(speeds) + weights
    items = [
        (item(tiles, panels), count * times)
        for panels, times in _parts(all_panels, blocking.panels)
        for tiles, count in _parts(all_tiles, blocking.tiles)
    ]
    return _makespan(items, device.compute_units) * device.compute_units + weights


def _parts(whole: int, part: int) -> Iterator[tuple[int, int]]:
    """The sizes of the parts of ``whole`` and how many there are of each: all are ``part``, but for the last."""
    if whole >= part:
        yield part, whole // part
    if whole % part:
        yield whole % part, 1


def _makespan(items: list[tuple[float, int]], units: int) -> float:
    """Time until ``units`` have done all items, given as work and number: the longest first, each to whom is free."""
    if sum(count for _, count in items) > 8 * units:
        return sum(work * count for work, count in items) / units
    busy = [0.0] * units
    for work, count in sorted(items, reverse=True):
        for _ in range(count):
            heapq.heapreplace(busy, busy[0] + work)
    return max(busy)


def transform_weights(weights: np.ndarray, size: int, lanes: int) -> np.ndarray:
    """G·g·G' of each filter, in memory that devices can take, packed for panels of ``lanes`` channels.

    Args:
        weights: (channels_out, channels_in, 3, 3).

    Returns:
        A float32 vector in the order [panel][position][channel_in][lane]; it was computed in float64.
    """
    g = _FILTER_TRANSFORM[size]
    channels_out, channels_in = weights.shape[:2]
    panels, edge = -(-channels_out // lanes), size + 2
    packed = aligned.zeros((panels, edge, edge, channels_in, lanes))
    for panel in range(panels):  # all at once would take three times the memory of the result
        filters = weights[panel * lanes : (panel + 1) * lanes]
        taps = filters.transpose(2, 3, 1, 0).astype(np.float64, order="C")
        columns = _along_first(g, _along_first(g, taps).swapaxes(0, 1))
        packed[panel, ..., : len(filters)] = columns.swapaxes(0, 1)
    return packed.reshape(-1)


def _along_first(g: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """``g`` applied to the first axis; not by a product, for which NumPy would start threads that fight for cores."""
    result = np.empty((len(g), *taps.shape[1:]))
    for row, factors in enumerate(g):
        np.multiply(taps[0], factors[0], out=result[row])
        for factor, tap in zip(factors[1:], taps[1:], strict=True):
            if factor:
                result[row] += factor * tap
    return result


def launch_winograd(
    window: Window,
    channels_in: int,
    channels_out: int,
    x: Pixels,
    weights: str,
    zeros: str,
    y: Pixels,
    epilogue: Epilogue,
    blocking: Blocking,
) -> Launch:
    """The launch of a 3×3 convolution of stride 1, whose weights were transformed for ``blocking``."""
    rows, columns = tile_grid(window, blocking.size)
    all_tiles, all_panels = window.batch * rows * columns, -(-channels_out // blocking.lanes)
    scratch = Local(4 * scratch_floats(blocking.size, blocking.tiles, channels_in, blocking.lanes))
    args = (
        x.name, weights, *epilogue.tensors, zeros, y.name, scratch, *epilogue.constants,
        all_tiles, blocking.tiles, 0, all_panels, blocking.panels, channels_in, channels_out,
        x.pitch, x.offset, y.pitch, y.offset, *epilogue.residual_args,
        window.height, window.width, window.out_height, window.out_width, rows, columns,
        window.pad_top, window.pad_left,
    )  # fmt: skip
    size = (-(-all_tiles // blocking.tiles), -(-all_panels // blocking.panels))
    params = {"SIZE": blocking.size, "TILE_M": blocking.rows, "TILE_N": blocking.lanes // VECTOR}
    first_panel = args.index(scratch) + len(epilogue.constants) + 3
    launch = WINOGRAD.launch(args, size, (1, 1), **params, **epilogue.params)
    return replace(launch, span=Span(1, first_panel, first_panel + 1, first_panel + 2))
