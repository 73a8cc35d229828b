"""Nodes that cut tensors and join them, as lowering adds them; ``place_in_regions`` spares most of them their copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from clnn.graph import Node, TensorType

Ranges = Mapping[int, tuple[int, int]]
"""By axis, the first position and the last + 1."""


def piece_type(kind: TensorType, ranges: Ranges) -> TensorType:
    """The type of a part of a tensor."""
    shape = list(kind.shape)
    for axis, (start, stop) in ranges.items():
        shape[axis] = stop - start
    return replace(kind, shape=tuple(shape))


def piece_name(name: str, ranges: Ranges) -> str:
    """What a part of tensor ``name`` is called."""
    return f"{name}/{','.join(f'{axis}={start}:{stop}' for axis, (start, stop) in ranges.items())}"


def slice_node(source: str, ranges: Ranges, result: str) -> Node:
    """The node, called like its result, that cuts a part out of a tensor."""
    starts, ends = zip(*ranges.values(), strict=True)
    return Node(result, "Slice", (source,), (result,), {"axes": tuple(ranges), "starts": starts, "ends": ends}, 1)


def concat_node(name: str, axis: int, parts: Sequence[str], result: str) -> Node:
    """The node that joins tensors along an axis."""
    return Node(name, "Concat", tuple(parts), (result,), {"axis": axis}, 4)
