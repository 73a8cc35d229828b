"""Sharing one arena between tensors that are not alive at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A block of ``nbytes`` that must stay intact from step ``first`` to step ``last``, both included."""

    name: str
    nbytes: int
    first: int
    last: int


def place(intervals: Sequence[Interval], alignment: int) -> tuple[dict[str, int], int]:
    """Assign each interval an offset such that no two that overlap in time overlap in memory.

    Greedy by size: the largest block first, each at the lowest gap that fits between its neighbours in time
    (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020, "greedy by size").

    Returns:
        Offsets in bytes by name, multiples of ``alignment``, and the size of the arena in bytes.
    """
    placed: list[tuple[int, int, Interval]] = []
    offsets: dict[str, int] = {}
    for interval in sorted(intervals, key=lambda block: (-block.nbytes, block.first, block.name)):
        size = align(interval.nbytes, alignment)
        neighbours = sorted(
            (start, end)
            for start, end, other in placed
            if other.first <= interval.last and interval.first <= other.last
        )
        offset = _lowest_gap(neighbours, size)
        offsets[interval.name] = offset
        placed.append((offset, offset + size, interval))
    return offsets, max((end for _, end, _ in placed), default=0)


def _lowest_gap(taken: list[tuple[int, int]], size: int) -> int:
    offset = 0
    for start, end in taken:
        if start - offset >= size:
            break
        offset = max(offset, end)
    return offset


def lower_bound(intervals: Sequence[Interval], alignment: int) -> int:
    """The largest number of bytes alive at one step, each block rounded up to ``alignment``."""
    change: dict[int, int] = {}
    for interval in intervals:
        size = align(interval.nbytes, alignment)
        change[interval.first] = change.get(interval.first, 0) + size
        change[interval.last + 1] = change.get(interval.last + 1, 0) - size
    alive = peak = 0
    for step in sorted(change):
        alive += change[step]
        peak = max(peak, alive)
    return peak


def align(nbytes: int, alignment: int) -> int:
    """``nbytes`` rounded up to a multiple of ``alignment``; at least one multiple, as no buffer may be empty."""
    return max(1, -(-nbytes // alignment)) * alignment
