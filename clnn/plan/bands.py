"""How far each tensor of a chain has got after each band of rows, and which rows are kept for the bands to come.

All is about one image; numbers count rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from clnn.ops.rows import Reach

LEAST_BANDS = 4
LARGEST_SHARE = 4
"""A chain has so many bands at least, and of no tensor inside are more rows kept than one in so many."""


@dataclass(frozen=True)
class Stage:
    """A node of a chain: the tensors that it reads by rows, with how far it reaches, and those that it writes.

    Bands of its results begin at multiples of ``tile``.
    """

    reads: tuple[tuple[str, Reach], ...]
    writes: tuple[str, ...]
    tile: int = 1


@dataclass(frozen=True)
class Bands:
    """When which rows are computed.

    Attributes:
        ends: for each tensor that is written, how many of its rows there are after each band.
        starts: for each of these that is also read, from which row on it is kept when the band is computed.
    """

    ends: Mapping[str, tuple[int, ...]]
    starts: Mapping[str, tuple[int, ...]]

    @property
    def count(self) -> int:
        return len(next(iter(self.ends.values())))

    def computed(self, tensor: str, band: int) -> tuple[int, int]:
        """The rows of a tensor that a band computes."""
        ends = self.ends[tensor]
        return (ends[band - 1] if band else 0), ends[band]

    def kept(self, tensor: str, band: int) -> tuple[int, int]:
        """The rows of a tensor that are there for what reads it in a band."""
        new, end = self.computed(tensor, band)
        return min(new, self.starts[tensor][band]), end

    @cached_property
    def most_kept(self) -> Mapping[str, int]:
        """The most rows of each tensor that are kept at once."""
        return {
            name: max(end - start for start, end in (self.kept(name, band) for band in range(self.count)))
            for name in self.starts
        }

    @cached_property
    def halo(self) -> Mapping[str, int]:
        """The most rows of each tensor that a band needs of the one before."""
        return {
            name: max(self.computed(name, band)[0] - self.kept(name, band)[0] for band in range(self.count))
            for name in self.starts
        }


def cut(
    stages: Sequence[Stage], heights: Mapping[str, int], results: Sequence[str], rows: int
) -> Bands | str:
    """Cut a chain into bands of ``rows`` rows of its last tensor; of the others as many as that takes.

    What no stage reads advances in proportion to the last tensor.

    Args:
        stages: in order; a tensor that none of them writes is there from the start.
        heights: rows of each tensor.
        results: what is needed to its last row after all: what is read outside of the chain.

    Returns:
        The bands, or why the chain cannot be computed in bands.
    """
    last = stages[-1].writes[0]
    count = -(-heights[last] // rows)
    if count < LEAST_BANDS:
        return f"{heights[last]} rows of '{last}' make {count} bands of {rows}, less than {LEAST_BANDS}"
    advance = _Advance(stages, heights, frozenset(results))
    for band in range(count):
        done = min(heights[last], (band + 1) * rows)
        if (problem := advance.to(done, heights[last])) is not None:
            return problem
    bands = advance.bands()
    for tensor in bands.starts:
        if LARGEST_SHARE * bands.most_kept[tensor] > heights[tensor]:
            return f"{bands.most_kept[tensor]} rows of {heights[tensor]} of '{tensor}' would have to be kept"
    return bands


class _Advance:
    """The ends of all tensors, band by band."""

    def __init__(self, stages: Sequence[Stage], heights: Mapping[str, int], results: frozenset[str]) -> None:
        self._stages = stages
        self._heights = heights
        self._results = results
        self._read = {name for stage in stages for name, _ in stage.reads}
        self._ends: dict[str, list[int]] = {name: [] for stage in stages for name in stage.writes}

    def to(self, done: int, whole: int) -> str | None:
        """Append the band after which ``done`` of ``whole`` rows of the last tensor are there, or tell why not."""
        wanted: dict[str, int] = {}
        for stage in reversed(self._stages):
            height, before = self._heights[stage.writes[0]], self._before(stage)
            end = max(before, *(wanted.get(name, 0) for name in stage.writes))
            if not self._read.intersection(stage.writes):
                end = max(end, -(-height * done // whole))
            if done == whole and self._results.intersection(stage.writes):
                end = height
            end = min(height, -(-end // stage.tile) * stage.tile)
            for name in stage.writes:
                self._ends[name].append(end)
            for name, reach in stage.reads if end > before else ():
                first, stop = reach.rows(before, end, self._heights[name])
                if first >= stop:
                    return f"rows {before} to {end} of '{stage.writes[0]}' see nothing but padding"
                wanted[name] = max(wanted.get(name, 0), stop)
        return None

    def _before(self, stage: Stage) -> int:
        ends = self._ends[stage.writes[0]]
        return ends[-1] if ends else 0

    def bands(self) -> Bands:
        ends = {name: tuple(rows) for name, rows in self._ends.items()}
        return Bands(ends, {name: self._starts(name, ends) for name in ends if name in self._read})

    def _starts(self, tensor: str, ends: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        """The first row that a reader needs in each band or later."""
        firsts = []
        for stage in self._stages:
            for reach in (reach for name, reach in stage.reads if name == tensor):
                own = ends[stage.writes[0]]
                befores = (0, *own[:-1])
                # A reader that is through needs nothing more.
                firsts.append([
                    max(0, reach.first(before)) if before < own[-1] else self._heights[tensor] for before in befores
                ])
        return tuple(min(rows) for rows in zip(*firsts, strict=True))
