"""Sharing one arena between tensors that are not alive at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A block of ``nbytes`` that must stay intact from step ``first`` to step ``last``, both included.

    Steps of several queues run at once: there ``until`` is the last step of each queue that touches the block, and
    ``since`` the last step of each that has surely ended before the first touch. Without them steps run in order.
    """

    name: str
    nbytes: int
    first: int
    last: int
    since: Mapping[str, int] | None = None
    until: Mapping[str, int] | None = None

    def precedes(self, other: Interval) -> bool:
        """Whether every touch of this block happens before every touch of ``other``."""
        if self.until is None or other.since is None:
            return self.last < other.first
        return all(step <= other.since.get(queue, -1) for queue, step in self.until.items())


MOST_TRIES = 64
MOST_MEETINGS = 200_000
"""Bounds of the search for a place: how often all blocks are placed, and, some 40 ms, for how many pairs in all."""


def place(intervals: Sequence[Interval], alignment: int) -> tuple[dict[str, int], int]:
    """Assign each interval an offset such that no two that overlap in time overlap in memory.

    Greedy by size: the largest block first, each at the lowest gap that fits between its neighbours in time
    (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020, "greedy by size"). As long as
    that takes more than the lower bound, the block that reaches highest is placed first in a further try.

    Returns:
        Offsets in bytes by name, multiples of ``alignment``, and the size of the arena in bytes.
    """
    blocks = sorted(intervals, key=lambda block: (-block.nbytes, block.first, block.name))
    sizes = [align(block.nbytes, alignment) for block in blocks]
    meetings = [_meetings(block, blocks) for block in blocks]
    bound = lower_bound(intervals, alignment)
    tries = max(1, min(MOST_TRIES, MOST_MEETINGS // (1 + sum(map(len, meetings)))))
    order = list(range(len(blocks)))
    best, least = _place_in(order, sizes, meetings)
    offsets, size = best, least
    while least > bound and (tries := tries - 1):
        highest = next(index for index in order if offsets[index] + sizes[index] == size)
        order.remove(highest)
        order.insert(0, highest)
        offsets, size = _place_in(order, sizes, meetings)
        if size < least:
            best, least = offsets, size
    return {block.name: best[index] for index, block in enumerate(blocks)}, least


def _meetings(block: Interval, blocks: Sequence[Interval]) -> list[int]:
    """The positions of the blocks that may be alive together with ``block``, its own among them."""
    if block.until is None:  # steps run in order; thousands of bands have as many blocks
        first, last = block.first, block.last
        return [index for index, other in enumerate(blocks) if other.first <= last and other.last >= first]
    return [
        index for index, other in enumerate(blocks) if not (block.precedes(other) or other.precedes(block))
    ]


def _place_in(order: list[int], sizes: list[int], meetings: list[list[int]]) -> tuple[dict[int, int], int]:
    """The offset of each block, placed in this order, and the end of the highest."""
    offsets: dict[int, int] = {}
    for index in order:
        taken = sorted((offsets[other], offsets[other] + sizes[other]) for other in meetings[index] if other in offsets)
        offsets[index] = _lowest_gap(taken, sizes[index])
    return offsets, max((offset + sizes[index] for index, offset in offsets.items()), default=0)


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
