"""Loop nests over tensors: broadcasting, and the fewest dimensions that describe an access.

A kernel that works by strides walks through its output in memory order and keeps one offset per operand. Most tensors
need far fewer dimensions for that than they have: neighbouring dimensions that lie contiguously in every operand
become one, dimensions of size 1 vanish.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clnn.errors import ModelFormatError
from clnn.graph import TensorType

MAX_ELEMENTS = 2**31 - 1
"""Kernels compute offsets in int32."""


@dataclass(frozen=True)
class Walk:
    """A loop nest: the sizes of its dimensions, outermost first, and for each operand a stride per dimension.

    Strides are in elements; 0 repeats the operand along the dimension, a negative one runs backwards.
    """

    sizes: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]

    @property
    def rank(self) -> int:
        return len(self.sizes)

    @property
    def size(self) -> int:
        """Number of steps of the whole nest."""
        return math.prod(self.sizes)

    def collapse(self) -> Walk:
        """The same steps in the same order with as few dimensions as possible (none for a single step)."""
        if self.size == 0:
            return Walk((0,), ((0,),) * len(self.strides))
        sizes: list[int] = []
        columns: list[tuple[int, ...]] = []  # per kept dimension, the stride of each operand
        for size, column in zip(self.sizes, self._columns(), strict=True):
            if size == 1:
                continue
            if sizes and all(outer == inner * size for outer, inner in zip(columns[-1], column, strict=True)):
                sizes[-1] *= size
                columns[-1] = column
            else:
                sizes.append(size)
                columns.append(column)
        return Walk(tuple(sizes), tuple(tuple(c[i] for c in columns) for i in range(len(self.strides))))

    def pad(self, rank: int) -> Walk:
        """The same nest with dimensions of size 1 outside, ``rank`` in all.

        Raises:
            ValueError: it has more than ``rank`` dimensions already.
        """
        missing = rank - self.rank
        if missing < 0:
            raise ValueError(f"a walk of {self.rank} dimensions does not fit into {rank}")
        return Walk((1,) * missing + self.sizes, tuple((0,) * missing + strides for strides in self.strides))

    def _columns(self) -> Iterable[tuple[int, ...]]:
        return (tuple(strides[d] for strides in self.strides) for d in range(self.rank))


def walk(shape: Sequence[int], order: Sequence[int], *strides: Sequence[int]) -> Walk:
    """The collapsed nest over ``shape`` that visits its axes in ``order`` (outermost first).

    ``shape`` and each operand's ``strides`` are in ONNX order; ``order`` is ``TensorType.order`` of the tensor
    whose memory is to be visited from front to back.
    """
    sizes = tuple(shape[axis] for axis in order)
    return Walk(sizes, tuple(tuple(s[axis] for axis in order) for s in strides)).collapse()


def broadcast_strides(tensor: TensorType, shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of ``tensor`` along the axes of ``shape``, to which it broadcasts; 0 along repeated axes."""
    missing = len(shape) - tensor.rank
    own = (0 if size == 1 else stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    return (0,) * missing + tuple(own)


def normalize_axis(axis: int, rank: int, where: object) -> int:
    """``axis`` counted from the front.

    Raises:
        ModelFormatError: it lies outside the tensor; ``where`` names the node in the message.
    """
    if not -rank <= axis < max(rank, 1):
        raise ModelFormatError(f"{where}: axis {axis} lies outside a tensor of rank {rank}; the model is not valid")
    return axis % rank if rank else 0


def too_large(tensors: Iterable[TensorType]) -> str | None:
    """Why kernels cannot address the tensors, or ``None`` when they can."""
    if any(tensor.size > MAX_ELEMENTS for tensor in tensors):
        return "a tensor has more than 2^31 elements"
    return None
