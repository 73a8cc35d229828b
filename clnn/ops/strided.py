"""Copies between strided views of two tensors, as launches of the kernel ``copy``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.graph import TensorType
from clnn.kernels import Launch
from clnn.kernels.copy import COPY, ELEMENT_TYPES
from clnn.ops.indexing import too_large, walk

_MAX_DIMS = 6
_TILE = 16
_ITEM_ELEMENTS = 1 << 14
"""Elements that a CPU's work-item copies at most: some 5 µs of work, against 0.1 µs for handing out an item."""
_MIN_ITEM_ELEMENTS = 1 << 10


@dataclass(frozen=True)
class View:
    """Elements of a tensor: the one at ``offset`` and its neighbours at ``strides``, all counted in elements."""

    name: str
    strides: tuple[int, ...]
    offset: int = 0

    @classmethod
    def of(cls, name: str, tensor: TensorType) -> View:
        """The whole of a tensor, one stride per ONNX axis."""
        return cls(name, tensor.strides)


@dataclass(frozen=True)
class _Dim:
    size: int
    source: int
    target: int


def movable(*tensors: TensorType) -> str | None:
    """Why elements of these types cannot be copied by a kernel, or ``None``."""
    for tensor in tensors:
        if tensor.dtype == "string" or np.dtype(tensor.dtype).itemsize not in ELEMENT_TYPES:
            return f"dtype {tensor.dtype} has no kernel"
    return too_large(tensors)


def element_type(dtype: str) -> str:
    """OpenCL type by which kernels move elements of ``dtype``."""
    return ELEMENT_TYPES[np.dtype(dtype).itemsize]


def copy(device: DeviceInfo, dtype: str, sizes: Sequence[int], source: View, target: View) -> tuple[Launch, ...]:
    """Launches that copy ``sizes`` elements of ``source`` to ``target``; none if there is nothing to copy.

    Strides of the source may be 0 (repeat) or negative; those of the target must not make elements coincide.
    """
    if 0 in sizes:
        return ()
    dims = merge(sizes, source.strides, target.strides)
    return tuple(_launches(device, element_type(dtype), dims, source, target))


def merge(sizes: Sequence[int], source: Sequence[int], target: Sequence[int]) -> tuple[_Dim, ...]:
    """The same elements with as few dimensions as possible, outermost in the target first."""
    order = sorted(range(len(sizes)), key=lambda axis: -target[axis])
    nest = walk(sizes, order, source, target)
    return tuple(_Dim(*dim) for dim in zip(nest.sizes, *nest.strides, strict=True))


def _launches(device: DeviceInfo, element: str, dims: tuple[_Dim, ...], source: View, target: View) -> Iterator[Launch]:
    if len(dims) <= _MAX_DIMS:
        yield _launch(device, element, dims, source, target)
        return
    # More dimensions than the kernel has: one launch per index of the shortest of the outer ones.
    loop = min(dims[:-2], key=lambda dim: dim.size)
    rest = tuple(dim for dim in dims if dim is not loop)
    for index in range(loop.size):
        yield from _launches(
            device,
            element,
            rest,
            View(source.name, (), source.offset + index * loop.source),
            View(target.name, (), target.offset + index * loop.target),
        )


def _launch(device: DeviceInfo, element: str, dims: tuple[_Dim, ...], source: View, target: View) -> Launch:
    planes, row, col = _roles(dims)
    mode = _mode(row, col) if device.kind == "cpu" else "STRIDED"
    count = math.prod(dim.size for dim in planes)
    blocks = _blocks(device, mode, count, row.size, col.size)
    args = (
        *(source.name, target.name, source.offset, target.offset),
        *(count, row.size, col.size, *blocks),
        *(dim.size for dim in planes[1:]),
        *(dim.source for dim in (*planes, row, col)),
        *(dim.target for dim in (*planes, row, col)),
    )
    global_size = grid((count, row.size, col.size), blocks)
    return COPY.launch(args, global_size, local_size(device), TYPE=element, MODE=mode)


def grid(extents: Sequence[int], blocks: Sequence[int]) -> tuple[int, ...]:
    """Global size of a launch over blocks of a rectangle; the innermost extent comes last, its work-items first."""
    return tuple(-(-extent // block) for extent, block in zip(reversed(extents), reversed(blocks), strict=True))


def local_size(device: DeviceInfo, dims: int = 3) -> tuple[int, ...] | None:
    """Work-group size of kernels whose work-items are large on a CPU (one each) and small elsewhere (any)."""
    return (1,) * dims if device.kind == "cpu" else None


def _roles(dims: tuple[_Dim, ...]) -> tuple[list[_Dim], _Dim, _Dim]:
    """Four plane dimensions, the rows and the columns."""
    one = _Dim(1, 0, 0)
    rest = list(dims)
    # A dimension of size one has no stride of its own; as columns it counts as contiguous.
    col = rest.pop() if rest else _Dim(1, 1, 1)
    row = next((dim for dim in rest if dim.source == 1), rest[-1] if rest else one)
    if row in rest:
        rest.remove(row)
    return [one] * (_MAX_DIMS - 2 - len(rest)) + rest, row, col


def _mode(row: _Dim, col: _Dim) -> str:
    if col.target != 1:
        return "STRIDED"
    if col.source in (0, 1):
        return ("FILL", "UNIT")[col.source]
    return "TRANSPOSE" if row.source == 1 else "STRIDED"


def _blocks(device: DeviceInfo, mode: str, planes: int, rows: int, cols: int) -> tuple[int, int, int]:
    if mode != "TRANSPOSE":
        return row_blocks(device, planes, rows, cols)
    budget = _budget(device, planes * rows * cols)
    col_block = min(cols, 4 * _TILE)
    row_block = min(rows, -(-budget // (col_block * _TILE)) * _TILE)
    return min(planes, max(1, budget // (row_block * col_block))), row_block, col_block


def row_blocks(device: DeviceInfo, planes: int, rows: int, cols: int) -> tuple[int, int, int]:
    """Planes, rows and columns per work-item: much on a CPU, where an item costs, one element elsewhere."""
    if device.kind != "cpu":
        return 1, 1, 1
    budget = _budget(device, planes * rows * cols)
    col_block = min(cols, budget)
    row_block = min(rows, max(1, budget // col_block))
    return min(planes, max(1, budget // (row_block * col_block))), row_block, col_block


def _budget(device: DeviceInfo, elements: int) -> int:
    """Elements per work-item on a CPU, such that every compute unit has several items and none is tiny."""
    return min(_ITEM_ELEMENTS, max(_MIN_ITEM_ELEMENTS, elements // (4 * device.compute_units)))
