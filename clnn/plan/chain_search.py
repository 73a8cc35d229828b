"""Choosing which runs of nodes become chains, and how many bands they have."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from clnn.ops.rows import ROW_AXIS
from clnn.plan.banded import Link, Part, origin
from clnn.plan.bands import Bands, Stage, cut
from clnn.plan.chain_cost import Hierarchy, banded
from clnn.plan.types import Prediction

MOST_NODES = 24
"""Nodes of a chain at most: each stage makes the first ones advance further ahead."""
_REACHES = (1, 2, 3, 4, 6, 8, 12, 16, 24)
"""How many places where chains may end lie between the beginning and the end of those that are considered."""
_DIVISIONS = (4, 8, 16, 32, 64, 128)
"""Numbers of bands that are considered."""
LEAST_GAIN = 0.03
"""The share of its time that a chain must be predicted to save to be formed for that alone."""


@dataclass(frozen=True)
class Segment:
    """A run of nodes as a chain: the links ``start`` to ``stop`` (excluded) of a row of them.

    ``parts`` are tensors that are no more than a part of another one, ``results`` those that are read outside.
    ``cached`` tells whether line buffers stay in the cache.
    """

    start: int
    stop: int
    links: tuple[Link, ...]
    parts: Mapping[str, Part]
    results: tuple[str, ...]
    bands: Bands
    banded: Prediction
    layered: Prediction
    cached: bool


@dataclass(frozen=True)
class Row:
    """Nodes one after the other, all of which can be computed in bands, and what they take one by one.

    ``layers`` says what, by node. ``crossing_bytes`` is by gap: bytes written before a node, or before the end, and
    read from there on.
    ``readers`` counts those of each tensor in the graph, where a result of it counts as one more.
    """

    links: tuple[Link, ...]
    hierarchy: Hierarchy
    layers: Sequence[Prediction]
    crossing_bytes: Sequence[int]
    readers: Mapping[str, int]


def segments(row: Row, far_only: bool) -> tuple[list[Segment], str]:
    """All chains that are considered, each in several numbers of bands, and why another one was not possible.

    ``far_only`` leaves out those whose nodes all find what they move in a cache, so that bands cannot be faster.
    """
    found: list[Segment] = []
    problem = ""
    gaps = _gaps(row)
    for index, start in enumerate(gaps):
        reached = (gaps[index + step] for step in _REACHES if index + step < len(gaps))
        for stop in (gap for gap in reached if start + 1 < gap <= start + MOST_NODES):
            most_moved = max(each.traffic_bytes for each in row.layers[start:stop])
            if far_only and most_moved <= row.hierarchy.cache_bytes:
                continue
            made = list(_of(row, start, stop))
            found += [each for each in made if isinstance(each, Segment)]
            problem = next((each for each in made if isinstance(each, str)), problem)
    return found, problem


def _gaps(row: Row) -> list[int]:
    """Where chains may begin and end: at both ends, and where no more is alive than on either side.

    But not behind a node that only cuts a tensor, which takes no copy where its readers are in the chain as well.
    """
    crossing, last = row.crossing_bytes, len(row.links)
    return [
        at for at in range(last + 1)
        if at in (0, last)
        or (crossing[at] <= min(crossing[at - 1], crossing[at + 1]) and not row.links[at - 1].rows.parts)
    ]  # fmt: skip


def _of(row: Row, start: int, stop: int) -> Iterator[Segment | str]:
    """The links of a range as a chain, in as many numbers of bands as can be, or why not."""
    links = row.links[start:stop]
    results = _results(links, row.readers)
    cuts = [link for link in links if link.rows.parts and not set(results).intersection(link.writes)]
    own = tuple(link for link in links if link not in cuts)
    parts = {
        name: Part(link.node.inputs[0], *part)
        for link in cuts for name, part in zip(link.node.outputs, link.rows.parts, strict=True) if name
    }  # fmt: skip
    if len(own) < 2:
        return
    types = own[0].ctx.types
    layers = row.layers[start:stop]
    layered = Prediction(
        sum(each.ms for each in layers), max(each.arena_bytes for each in layers),
        sum(each.traffic_bytes for each in layers),
    )  # fmt: skip
    stages = [_stage(link, parts) for link in own]
    heights = {name: types[name].shape[ROW_AXIS] for stage in stages for name in (*dict(stage.reads), *stage.writes)}
    height = heights[stages[-1].writes[0]]
    outer = row.crossing_bytes[start] + sum(types[name].nbytes for name in results)
    if outer >= layered.arena_bytes:
        yield f"{links[0].node.name} to {links[-1].node.name} would take no less memory in bands"
        return
    for rows in sorted({-(-height // count) for count in _DIVISIONS}):
        bands = cut(stages, heights, results, rows)
        if isinstance(bands, str):  # larger bands keep more rows
            yield bands
            return
        ms, held, traffic = banded(own, parts, bands, results, row.hierarchy)
        prediction = Prediction(ms, outer + held, traffic)
        yield Segment(start, stop, own, parts, results, bands, prediction, layered, row.hierarchy.holds(held))
        if prediction.arena_bytes >= layered.arena_bytes:  # larger bands take still more
            return


def _stage(link: Link, parts: Mapping[str, Part]) -> Stage:
    reads = tuple((origin(name, parts)[0], reach) for name, reach in link.reads)
    return Stage(reads, link.writes, link.rows.tile)


def _results(links: Sequence[Link], readers: Mapping[str, int]) -> tuple[str, ...]:
    """What is read outside of the links."""
    inside: dict[str, int] = {}
    for link in links:
        for name in link.node.reads:
            inside[name] = inside.get(name, 0) + 1
    return tuple(name for link in links for name in link.writes if readers.get(name, 0) > inside.get(name, 0))


@dataclass(frozen=True)
class Aim:
    """What chains are formed for: the least sum of ``cost``; ``pays`` tells whether one may be formed only for that."""

    cost: Callable[[Prediction], float]
    pays: Callable[[Segment], bool]


def _saves_time(segment: Segment) -> bool:
    before, after = segment.layered, segment.banded
    return after.ms <= (1.0 - LEAST_GAIN) * before.ms and after.arena_bytes < before.arena_bytes


def _saves_traffic(segment: Segment) -> bool:
    before, after = segment.layered, segment.banded
    return after.traffic_bytes < before.traffic_bytes and after.arena_bytes < before.arena_bytes


TIME = Aim(lambda way: way.ms, _saves_time)
TRAFFIC = Aim(lambda way: way.traffic_bytes + way.ms, _saves_traffic)
"""Bytes; of ways that move as many the faster one."""


@dataclass(frozen=True)
class Choice:
    """Chains for a row, and what the row then costs."""

    cost: float
    chains: tuple[Segment, ...]


def best(row: Row, candidates: Sequence[Segment], aim: Aim, most_bytes: float) -> Choice | None:
    """The chains with which a row costs least where so much memory is in use at most; ``None`` if it takes more."""
    ends: list[list[Segment]] = [[] for _ in range(len(row.links) + 1)]
    for each in candidates:
        needed = each.layered.arena_bytes > most_bytes
        if each.banded.arena_bytes <= most_bytes and (needed or aim.pays(each)):
            ends[each.stop].append(each)
    found: list[Choice | None] = [Choice(0.0, ())]
    for stop in range(1, len(row.links) + 1):
        ways = [
            Choice(before.cost + aim.cost(each.banded), (*before.chains, each))
            for each in ends[stop] if (before := found[each.start]) is not None
        ]  # fmt: skip
        before, alone = found[stop - 1], row.layers[stop - 1]
        if before is not None and alone.arena_bytes <= most_bytes:
            ways.append(Choice(before.cost + aim.cost(alone), before.chains))
        found.append(min(ways, key=lambda way: way.cost, default=None))
    return found[-1]


def smallest(row: Row, candidates: Sequence[Segment], aim: Aim, most: float) -> float:
    """The least memory in bytes with which a row can cost no more than ``most``; infinite if it always costs more."""
    bounds = sorted({each.arena_bytes for each in (*row.layers, *(each.banded for each in candidates))})
    low, high = 0, len(bounds)
    while low < high:
        middle = (low + high) // 2
        choice = best(row, candidates, aim, bounds[middle])
        low, high = (low, middle) if choice is not None and choice.cost <= most else (middle + 1, high)
    return bounds[low] if low < len(bounds) else math.inf
