"""What is known about a tensor before it exists."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

Dim = int | str
"""A dimension: a size, or the name of a symbolic one."""

PLAIN = "plain"
"""Elements lie in the order of the ONNX shape (row-major)."""
CHANNELS_LAST = "channels_last"
"""Dimension 1 (the channels) is innermost: N, C, *spatial lies in memory as N, *spatial, C."""


@dataclass(frozen=True)
class Region:
    """Where a tensor lies inside ``home``, a larger one: first element and strides, counted in elements."""

    home: str
    offset: int
    strides: tuple[int, ...]


@dataclass(frozen=True)
class TensorType:
    """Shape, dtype and layout of a tensor.

    ``shape`` is always in ONNX order, whatever the layout; ``None`` when even the rank is unknown.
    ``dtype`` is NumPy's name ("float32", "int64", "bool", ...), or "string". A tensor without a ``region`` has memory
    of its own, with no gaps between its elements.
    """

    shape: tuple[Dim, ...] | None
    dtype: str
    layout: str = PLAIN
    region: Region | None = None

    @property
    def is_static(self) -> bool:
        """Whether every dimension is a number."""
        return self.shape is not None and all(isinstance(dim, int) for dim in self.shape)

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements of a static shape (1 for a scalar)."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes per element; those of a reference for texts."""
        return np.dtype(object if self.dtype == "string" else self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of a static shape."""
        return self.size * self.itemsize

    @property
    def order(self) -> tuple[int, ...]:
        """ONNX axes from the outermost in memory to the innermost."""
        axes = tuple(range(self.rank))
        return axes if self.layout == PLAIN or self.rank < 3 else (0, *axes[2:], 1)

    @property
    def physical_shape(self) -> tuple[int, ...]:
        """The shape as it lies in memory."""
        return tuple(self.shape[axis] for axis in self.order)

    @property
    def strides(self) -> tuple[int, ...]:
        """Distance in elements between neighbours along each ONNX axis, in ONNX order."""
        if self.region is not None:
            return self.region.strides
        strides, step = [0] * self.rank, 1
        for axis in reversed(self.order):
            strides[axis] = step
            step *= self.shape[axis]
        return tuple(strides)

    @property
    def offset(self) -> int:
        """Elements before the first one, in the memory that holds the tensor."""
        return 0 if self.region is None else self.region.offset

    def home(self, name: str) -> str:
        """The tensor in whose memory this one, called ``name``, lies: itself where it has memory of its own."""
        return name if self.region is None else self.region.home

    @property
    def pixel_pitch(self) -> int | None:
        """Elements from one pixel to the next, where channels lie side by side and pixels evenly; else ``None``."""
        strides, inner = self.strides, self.order[-1]
        if strides[inner] != 1 and self.shape[inner] != 1:
            return None
        pitch = step = None
        for axis in reversed(self.order[:-1]):
            if self.shape[axis] == 1:
                continue
            if step is None:
                pitch, step = strides[axis], strides[axis]
            if strides[axis] != step:
                return None
            step *= self.shape[axis]
        return self.shape[inner] if pitch is None else pitch

    def same_memory(self, layout: str) -> bool:
        """Whether the tensor's bytes would be the same in ``layout`` (as when all but one dimension are 1)."""
        if self.region is not None:
            return layout == self.layout
        other = replace(self, layout=layout)
        long = [axis for axis in self.order if self.shape[axis] != 1]
        return long == [axis for axis in other.order if self.shape[axis] != 1]

    def with_layout(self, layout: str) -> TensorType:
        return replace(self, layout=layout)

    def inside(self, region: Region) -> TensorType:
        """The same tensor in the memory of a larger one."""
        return replace(self, region=region)

    def __str__(self) -> str:
        shape = "?" if self.shape is None else "×".join(map(str, self.shape)) or "scalar"
        return f"{self.dtype}[{shape}]" + ("" if self.layout == PLAIN else f" {self.layout}")
