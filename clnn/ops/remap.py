"""Copies in which every dimension has a table of source positions, as a launch of the kernel ``remap``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clnn.graph import TensorType
from clnn.kernels.copy import REMAP
from clnn.ops.base import LowerContext, Lowered
from clnn.ops.strided import element_type, grid, local_size, row_blocks

OUTSIDE = -1
"""Table entry for positions that come from no element of the source."""

_MAX_DIMS = 6


@dataclass(frozen=True)
class _Run:
    """Columns [start, stop) come from consecutive elements, column c from c + shift; the others from none."""

    start: int
    stop: int
    shift: int


def too_many_dimensions(shape: Sequence[int]) -> str | None:
    """Why a target of this shape is beyond the kernel, or ``None``."""
    count = sum(size != 1 for size in shape)
    return f"{count} dimensions are more than the kernel's {_MAX_DIMS}" if count > _MAX_DIMS else None


def remap(ctx: LowerContext, tables: Sequence[np.ndarray], fill: str | None = None) -> Lowered:
    """Write output 0 from input 0: along ONNX axis ``a``, position ``i`` comes from position ``tables[a][i]``.

    ``OUTSIDE`` positions get the element in buffer ``fill`` (zero without one).
    """
    data, result = ctx.type(0), ctx.output()
    if result.size == 0:
        return Lowered()
    offsets = [_offsets(tables[a], data.shape[a], data.strides[a]) for a in result.order]
    backwards = sum((n - 1) * stride for n, stride in zip(data.shape, data.strides, strict=True) if stride < 0)
    offsets[0] = np.where(offsets[0] < 0, OUTSIDE, offsets[0] + data.offset + backwards)
    dims = _merge(offsets, result)
    dims = [np.zeros(1, np.int64)] * (_MAX_DIMS - len(dims)) + dims
    sizes = [len(table) for table in dims]
    run = _as_run(dims[-1])
    planes, rows, cols = math.prod(sizes[:4]), *sizes[4:]
    blocks = row_blocks(ctx.device, planes, rows, cols)
    starts = np.cumsum(sizes[:-1]).tolist()
    name = ctx.local_name("offsets")
    args = (
        *(ctx.node.inputs[0], ctx.node.outputs[0], name, fill),
        *(planes, rows, cols, *blocks, *sizes[1:4], *starts),
        *((run.start, run.stop, run.shift) if run else (0, 0, 0)),
        *(cols if result.region is None else result.pixel_pitch, result.offset),
    )
    launch = REMAP.launch(
        args,
        grid((planes, rows, cols), blocks),
        local_size(ctx.device),
        TYPE=element_type(result.dtype),
        RUN=int(run is not None),
    )
    return Lowered((launch,), {name: np.concatenate(dims).astype(np.int32)}, choice="copy by tables")


def _offsets(positions: np.ndarray, size: int, stride: int) -> np.ndarray:
    """Elements from the first in memory, which is that of the last position where an axis runs backwards."""
    ahead = positions * stride if stride >= 0 else (positions - (size - 1)) * stride
    return np.where(positions < 0, OUTSIDE, ahead)


def gives_pixels(result: TensorType) -> bool:
    """Whether ``remap`` can write a tensor that lies in a larger one: pixel by pixel, at an even distance."""
    return result.pixel_pitch is not None and result.shape[result.order[-1]] > 1


def _merge(tables: Sequence[np.ndarray], result: TensorType) -> list[np.ndarray]:
    """The same positions with contiguous neighbours made one dimension; pixels with gaps between them stay apart."""
    merged: list[np.ndarray] = []
    last = len(tables) - 1 if result.region is not None else None
    for index, table in enumerate(tables):
        step = len(table)
        if step == 1 and table[0] == 0:
            continue
        if index != last and merged and _is_progression(table, 1) and _is_progression(merged[-1], step):
            merged[-1] = (merged[-1][:, None] + table).reshape(-1)
        else:
            merged.append(table)
    return merged


def _is_progression(table: np.ndarray, step: int) -> bool:
    return bool((table >= 0).all() and (np.diff(table) == step).all())


def _as_run(table: np.ndarray) -> _Run | None:
    inside = np.flatnonzero(table >= 0)
    if not len(inside):
        return _Run(0, 0, 0)
    start, stop = int(inside[0]), int(inside[-1]) + 1
    if not _is_progression(table[start:stop], 1):
        return None
    return _Run(start, stop, int(table[start]) - start)
