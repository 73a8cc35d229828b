"""Chains: runs of nodes that are computed in bands of rows, so that what lies between them stays in cache."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from clnn.devices.info import DeviceInfo
from clnn.graph import Node, TensorType
from clnn.ops import LowerContext, find
from clnn.ops.rows import WHOLE
from clnn.plan.banded import Link, write_out
from clnn.plan.chain_cost import Hierarchy, layer_bytes, layer_ms, row_bytes
from clnn.plan.chain_search import LEAST_GAIN, TIME, TRAFFIC, Row, Segment, best, segments, smallest
from clnn.plan.liveness import crossing_bytes
from clnn.plan.proof import refutation
from clnn.plan.regions import place_in_regions
from clnn.plan.types import Chain, LineBuffer, LoweredGraph, Prediction
from clnn.schedule import HOST, Assignment

MEMORY_SLACK = 0.1
"""How much more memory than the least that is possible "on" takes where that moves less."""
TIME_SLACK = 0.03
"""How much more time than the least that is possible "auto" takes where that needs less memory."""
ARENA_SHARE = 0.9
"""The share of the largest allocation that is planned for: tensors cannot always be placed without gaps."""


def form_chains(lowered: LoweredGraph, devices: Mapping[str, DeviceInfo]) -> LoweredGraph:
    """Compute runs of nodes in bands of rows, see ``Options.chain``.

    "auto" forms chains that are predicted to save time, or without which tensors would not fit the device; "on" makes
    the most memory in use at once as small as it can be, and then what is moved to and from memory.
    """
    if lowered.chain == "off":
        return lowered
    if lowered.chain == "auto" and (reason := _nothing_to_gain(lowered, devices)):
        return replace(lowered, chain_reason=reason)
    forming = _Forming(lowered)
    for start, row in _rows(lowered, devices):
        far_only = lowered.chain == "auto" and _fits(row)
        candidates, problem = segments(row, far_only)
        forming.decide(start, row, candidates, problem)
    return forming.finish()


def _fits(row: Row) -> bool:
    """Whether the device can hold what is alive when a row is computed layer by layer."""
    return max(each.arena_bytes for each in row.layers) <= ARENA_SHARE * row.links[0].ctx.device.max_alloc


def _nothing_to_gain(lowered: LoweredGraph, devices: Mapping[str, DeviceInfo]) -> str:
    """Why chains cannot be worth while, as far as that is seen at once."""
    places = {lowered.schedule.place(node.name) for node in lowered.graph.nodes} - {HOST}
    cache_bytes = min((devices[place].cache_bytes for place in places), default=0)
    kinds = [kind for name, kind in lowered.graph.types.items() if name not in lowered.graph.constants]
    sizes = [kind.nbytes for kind in kinds if kind.is_static] or [0]
    if any(sum(sizes) > ARENA_SHARE * devices[place].max_alloc for place in places):
        return ""
    if not cache_bytes:
        return "it is not known how much the device's cache holds"
    if 2 * max(sizes) <= cache_bytes:
        return f"the largest tensor has {max(sizes) / 1e6:.1f} MB, and a cache of {cache_bytes / 1e6:.1f} MB holds two"
    return ""


def _rows(lowered: LoweredGraph, devices: Mapping[str, DeviceInfo]) -> Iterator[tuple[int, Row]]:
    """Runs of nodes that can be links, with the position of the first; all of one place and number of images."""
    graph = place_in_regions(lowered, dict(devices)).graph
    alive, crossing = crossing_bytes(lowered, graph)
    readers = Counter(name for node in graph.nodes for name in node.reads)
    readers.update(lowered.outputs.values())
    links = [_link(node, lowered, devices) for node in lowered.graph.nodes]

    def kind(index: int) -> tuple[str, int] | None:
        link = links[index]
        return link and (lowered.schedule.place(link.node.name), link.ctx.types[link.writes[0]].shape[0])

    for key, positions in groupby(range(len(links)), kind):
        if key is None:
            continue
        start, *others = positions
        stop = start + 1 + len(others)
        own = tuple(links[start:stop])
        hierarchy = Hierarchy.of(devices[key[0]], lowered.machine)
        nbytes = [layer_bytes(link, graph.types) for link in own]
        layers = [
            Prediction(layer_ms(link, moved, hierarchy), held, moved)
            for link, moved, held in zip(own, nbytes, alive[start:stop], strict=True)
        ]
        yield start, Row(own, hierarchy, layers, crossing[start : stop + 1], readers)


def _link(node: Node, lowered: LoweredGraph, devices: Mapping[str, DeviceInfo]) -> Link | None:
    """A node as a link of a chain, if it can be one: what computes some rows for a device is not cut again."""
    types, place = lowered.graph.types, lowered.schedule.place(node.name)
    if place == HOST or WHOLE in node.attrs or any(types[name].rank != 4 for name in filter(None, node.outputs)):
        return None
    ctx = LowerContext(node, types, lowered.graph.constants, devices[place], lowered.exact)
    rows = find(node.op).by_rows(ctx)
    if rows is None:
        return None
    link = Link(ctx, rows)
    return None if any(name in ctx.constants for name, _ in link.reads) else link


class _Forming:
    """The graph with the chains that were formed so far."""

    def __init__(self, lowered: LoweredGraph) -> None:
        self._lowered = lowered
        self._written: dict[int, tuple[int, tuple[Node, ...]]] = {}
        self._types: dict[str, TensorType] = {}
        self._chains: list[Chain] = []
        self._problem = ""

    def decide(self, start: int, row: Row, candidates: list[Segment], problem: str) -> None:
        """Form the best chains of a row that begins at node ``start``; of others note why they are not formed."""
        self._problem = self._problem or problem
        if not candidates:
            return
        chosen, reason = (_lean if self._lowered.chain == "on" else _fast)(row, candidates)
        for segment in chosen:
            self._write(start, segment, reason)
        if not chosen:
            nearest = min(candidates, key=lambda each: each.banded.ms - each.layered.ms)
            self._chains.append(self._chain(nearest, False, reason))

    def _write(self, start: int, segment: Segment, reason: str) -> None:
        nodes, added = write_out(segment.links, segment.parts, segment.bands, segment.results)
        flaw = refutation(nodes, added, segment.links, segment.parts, segment.results)
        if flaw is not None:
            self._chains.append(self._chain(segment, False, f"cannot be proven right: {flaw}"))
            return
        self._written[start + segment.start] = start + segment.stop, nodes
        self._types.update(added)
        chain = self._chain(segment, True, reason)
        self._chains.append(
            replace(chain, members=tuple(node.name for node in nodes), inside=frozenset(added))
        )

    def _chain(self, segment: Segment, taken: bool, reason: str) -> Chain:
        """What is told of a segment."""
        bands, types, last = segment.bands, segment.links[0].ctx.types, segment.links[-1].writes[0]
        buffers = {}
        for name in bands.starts:
            rows = bands.most_kept[name]
            buffers[name] = LineBuffer(rows, bands.halo[name], rows * row_bytes(types[name]), types[name].nbytes)
        names = tuple(link.node.name for link in segment.links)
        return Chain(
            names, self._lowered.schedule.place(names[0]), taken, reason, types[last].shape[0], bands.count,
            bands.computed(last, 0)[1], bands, buffers, segment.banded, segment.layered, segment.cached,
        )  # fmt: skip

    def finish(self) -> LoweredGraph:
        """The graph with all chains written out."""
        lowered, nodes, index = self._lowered, [], 0
        while index < len(lowered.graph.nodes):
            stop, own = self._written.get(index, (index + 1, (lowered.graph.nodes[index],)))
            nodes.extend(own)
            index = stop
        assignments = dict(lowered.schedule.assignments)
        for number, chain in enumerate((each for each in self._chains if each.taken), 1):
            reason = f"chain {number}: {chain.reason}"
            assignments |= {name: Assignment(name, chain.device, reason) for name in chain.members}
        graph = lowered.graph.replace(nodes=tuple(nodes), types={**lowered.graph.types, **self._types})
        schedule = replace(lowered.schedule, assignments=assignments)
        reason = self._problem
        if not (reason or self._chains):
            reason = "no two layers that follow one another on a device can be computed in bands"
        return replace(lowered, graph=graph, schedule=schedule, chains=tuple(self._chains), chain_reason=reason)


def _lean(row: Row, candidates: list[Segment]) -> tuple[Sequence[Segment], str]:
    """The chains of "on", and why."""
    choice = best(row, candidates, TRAFFIC, (1.0 + MEMORY_SLACK) * smallest(row, candidates, TRAFFIC, math.inf))
    return choice.chains, "saves memory" if choice.chains else "would save no memory"


def _fast(row: Row, candidates: list[Segment]) -> tuple[Sequence[Segment], str]:
    """The chains of "auto", and why."""
    choice = best(row, candidates, TIME, ARENA_SHARE * row.links[0].ctx.device.max_alloc)
    if choice is None:  # the least that is possible may fit after all
        return _lean(row, candidates)[0], "layer by layer would not fit the device"
    if not choice.chains:
        return (), f"predicted to save less than {100 * LEAST_GAIN:.0f} % of the time"
    most_ms = min((1.0 + TIME_SLACK) * choice.cost, sum(each.ms for each in row.layers))
    least_bytes = smallest(row, candidates, TIME, max(choice.cost, most_ms))
    chosen = best(row, candidates, TIME, least_bytes).chains
    return chosen, "predicted to be faster" if _fits(row) else "layer by layer would not fit the device, or take longer"
