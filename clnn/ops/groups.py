"""Dividing a tensor into groups of elements that share a result, for reductions and normalisations."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from clnn.devices.info import DeviceInfo
from clnn.graph import PLAIN, TensorType
from clnn.kernels.types import vector_width
from clnn.ops.indexing import Walk

MAX_DIMS = 4
"""Dimensions that kernels have, after merging, for the groups and for the elements of a group."""

_ITEM_ELEMENTS = 1 << 14
"""Elements that a CPU's work-item goes through: about 5 µs of work, against 1 µs for handing out an item."""

Dim = tuple[int, int]
"""A dimension's size, and its stride in elements."""


@dataclass(frozen=True)
class Groups:
    """The groups of a tensor: ``kept`` numbers them, ``reduced`` the elements of each; one stride per dimension."""

    kept: Walk
    reduced: Walk

    @classmethod
    def of(cls, kept: Iterable[Dim], reduced: Iterable[Dim]) -> Groups:
        """Groups from dimensions, each kind outermost first."""
        return cls(_nest(kept), _nest(reduced))

    @property
    def count(self) -> int:
        """Number of groups."""
        return self.kept.size

    @property
    def length(self) -> int:
        """Elements per group."""
        return self.reduced.size

    @property
    def fits(self) -> bool:
        """Whether the kernels have enough dimensions."""
        return max(self.kept.rank, self.reduced.rank) <= MAX_DIMS

    def access(self, width: int) -> str:
        """Value of the kernel parameter ACCESS: the best that the strides allow for vectors of ``width`` lanes."""
        if _contiguous(self.reduced, width):
            return "ALONG"
        return "ACROSS" if _contiguous(self.kept, width) else "GATHER"

    def split(self, parts: int) -> Groups:
        """Every group cut into ``parts`` smaller ones; the part is then the outermost dimension that numbers groups.

        A dimension can be cut into a number that divides it: the largest such number up to ``parts`` is taken, and
        the same groups are returned where there is none.
        """
        best = max(
            ((p, d) for d, size in enumerate(self.reduced.sizes) for p in range(2, parts + 1) if size % p == 0),
            default=None,
        )
        if best is None:
            return self
        parts, d = best
        sizes, (strides,) = list(self.reduced.sizes), self.reduced.strides
        sizes[d] //= parts
        kept = [(parts, sizes[d] * strides[d]), *_dims(self.kept)]
        return Groups.of(kept, zip(sizes, strides, strict=True))


def groups(tensor: TensorType, axes: Collection[int], order: Sequence[int] | None = None) -> Groups:
    """Groups of the elements that differ only in ``axes`` (counted from the front).

    ``order`` gives the other axes as the result has them, outermost first; the tensor's own order by default.
    """
    dims = dict(enumerate(zip(tensor.shape, tensor.strides, strict=True)))
    order = tensor.order if order is None else order
    return Groups.of(
        (dims[axis] for axis in order if axis not in axes), (dims[axis] for axis in tensor.order if axis in axes)
    )


def groups_obstacle(tensor: TensorType, axes: Collection[int]) -> str | None:
    """Why kernels cannot walk the groups, or ``None``; tensors of more dimensions than 5 have to be plain."""
    # With up to 5 dimensions neither kind has more than 4, or all are of one kind, and then contiguous.
    if tensor.rank > MAX_DIMS + 1 and not groups(tensor.with_layout(PLAIN), axes).fits:
        return f"more than {MAX_DIMS} separate groups of dimensions have no kernel"
    return None


@dataclass(frozen=True)
class Launching:
    """How a kernel that walks over groups is launched: its last arguments, index space and parameters."""

    arguments: tuple[int, ...]
    global_size: tuple[int, int]
    local_size: tuple[int, int] | None
    params: dict[str, int | str]


def launching(device: DeviceInfo, found: Groups, weight: int = 1) -> Launching:
    """Deal the groups out to work-items; ``weight`` tells how much dearer an element is than in a sum."""
    width = vector_width(device.kind)
    access = found.access(width)
    kept, reduced = found.kept.pad(MAX_DIMS), found.reduced.pad(MAX_DIMS)
    per_block = 1 if access == "ALONG" else width
    columns = kept.sizes[-1] if access == "ACROSS" else found.count
    rows = found.count // columns
    budget = _ITEM_ELEMENTS // weight // max(1, found.length) if device.kind == "cpu" else 1
    budget = max(per_block, min(budget, found.count // (4 * device.compute_units)))
    columns_per_item = min(max(columns // per_block, 1), budget // per_block) * per_block
    rows_per_item = max(1, min(rows, budget // columns))
    arguments = (rows, columns, rows_per_item, columns_per_item, *kept.sizes[1:], *kept.strides[0])
    arguments += (*reduced.sizes, *reduced.strides[0])
    global_size = (max(1, columns // columns_per_item), -(-rows // rows_per_item))
    local_size = (1, 1) if device.kind == "cpu" else None
    return Launching(arguments, global_size, local_size, {"ACCESS": access, "WIDTH": width})


def _nest(dims: Iterable[Dim]) -> Walk:
    dims = list(dims)
    return Walk(tuple(size for size, _ in dims), (tuple(stride for _, stride in dims),)).collapse()


def _dims(walk: Walk) -> Iterable[Dim]:
    return zip(walk.sizes, walk.strides[0], strict=True)


def _contiguous(walk: Walk, length: int) -> bool:
    return walk.rank > 0 and walk.strides[0][-1] == 1 and walk.sizes[-1] >= length


def parts_wanted(device: DeviceInfo, found: Groups) -> int:
    """Into how many parts each group of a sum is best cut, so that all compute units have work; 1 for none."""
    items = 4 * device.compute_units * (1 if device.kind == "cpu" else 64)
    per_block = 1 if found.access(vector_width(device.kind)) == "ALONG" else vector_width(device.kind)
    blocks = math.ceil(found.count / per_block)
    elements = found.count * found.length
    # A second pass costs a launch of 2 to 3 µs: too much below some 10 µs of work.
    return 1 if elements < 2 * _ITEM_ELEMENTS else max(1, min(items // max(1, blocks), elements // _ITEM_ELEMENTS))
