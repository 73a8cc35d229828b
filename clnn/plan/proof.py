"""Proving that a chain in bands computes what its nodes compute, whoever wrote it out.

The nodes are followed in their order, in which one queue runs them. Of every tensor it is known of which tensor of the
unbanded nodes it holds which rows; a node may only read what an earlier one has written, and what it writes is worked
out from what it reads. So no stage ever waits, and none reads rows that are not there or writes over any that are still
needed: every band writes a tensor of its own, which memory planning keeps while something reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from clnn.graph import Node, TensorType
from clnn.ops.rows import ROW_AXIS, WHOLE, Reach
from clnn.ops.separable import SEPARABLE
from clnn.plan.banded import Link, Part, origin
from clnn.plan.bands import LARGEST_SHARE, LEAST_BANDS

_BATCH_AXIS = 0

Box = tuple[tuple[int, int], ...]
"""A range of positions along each axis."""


@dataclass(frozen=True)
class _Held:
    """What a tensor holds: the elements in ``box`` of a tensor of the unbanded nodes."""

    name: str
    box: Box

    def ranged(self, axis: int, start: int, stop: int) -> _Held:
        box = list(self.box)
        box[axis] = start, stop
        return replace(self, box=tuple(box))


class _Flaw(Exception):
    """Why a chain is not proven right."""


def refutation(
    nodes: Sequence[Node],
    types: Mapping[str, TensorType],
    links: Sequence[Link],
    parts: Mapping[str, Part],
    results: Sequence[str],
) -> str | None:
    """Why nodes in bands are not proven to compute ``results`` as ``links`` do; ``None`` where they are.

    Args:
        types: those of the tensors that are new.
        parts: see ``write_out``.
    """
    try:
        _Proof(types, links, parts, results).check(nodes)
    except _Flaw as flaw:
        return str(flaw)
    return None


class _Proof:
    """What is known of the tensors written so far."""

    def __init__(
        self,
        types: Mapping[str, TensorType],
        links: Sequence[Link],
        parts: Mapping[str, Part],
        results: Sequence[str],
    ) -> None:
        self._parts = parts
        self._whole = links[0].ctx.types
        self._types = types
        self._links = {link.node.name: link for link in links}
        self._results = results
        written = {name for link in links for name in link.writes}
        # What the chain reads is there; what it writes only once a node has written it.
        self._held: dict[str, _Held | None] = dict.fromkeys(written)
        self._bands: dict[str, int] = dict.fromkeys(self._links, 0)

    def check(self, nodes: Sequence[Node]) -> None:
        """Follow all nodes.

        Raises:
            _Flaw: one of them, or what is left in the end, is not as it has to be.
        """
        for node in nodes:
            if WHOLE in node.attrs:
                self._follow_band(node)
            elif node.op == "Slice":
                (source,), (result,) = node.inputs, node.outputs
                held = self._of(source, node)
                for axis, start, stop in zip(*(node.attrs[key] for key in ("axes", "starts", "ends")), strict=True):
                    first, last = held.box[axis]
                    _demand(0 <= start < stop <= last - first, node, f"cuts {start}:{stop} of {last - first}")
                    held = held.ranged(axis, first + start, first + stop)
                self._write(result, held, node)
            elif node.op == "Concat":
                self._follow_join(node)
            else:
                raise _Flaw(f"{node} is neither a band nor a cut nor a join")
        for name in self._results:
            _demand(self._held[name] == self._all_of(name), name, "is not complete")
        images = self._whole[next(iter(self._links.values())).writes[0]].shape[_BATCH_AXIS]
        fewest = min(self._bands.values()) // images
        _demand(fewest >= LEAST_BANDS, "the chain", f"has {fewest} bands, less than {LEAST_BANDS}")

    def _all_of(self, name: str) -> _Held:
        return _Held(name, tuple((0, size) for size in self._whole[name].shape))

    def _of(self, name: str, node: Node) -> _Held:
        """What an input holds."""
        if name not in self._held:
            _demand(name in self._whole and name not in self._types, node, f"reads '{name}' before it is written")
            return self._all_of(name)
        held = self._held[name]
        _demand(held is not None, node, f"reads '{name}' before it is written")
        return held

    def _write(self, name: str, held: _Held, node: Node) -> None:
        _demand(self._held.get(name) is None, node, f"writes '{name}' a second time")
        shape = (self._types if name in self._types else self._whole)[name].shape
        sizes = tuple(stop - start for start, stop in held.box)
        _demand(shape == sizes, node, f"writes {sizes} to '{name}', which has {shape}")
        self._held[name] = held

    def _follow_join(self, node: Node) -> None:
        axis, parts = node.attrs["axis"], [self._of(name, node) for name in node.inputs]
        joined = parts[0]
        for part in parts[1:]:
            (start, end), (begin, stop) = joined.box[axis], part.box[axis]
            same = joined.ranged(axis, 0, 1) == part.ranged(axis, 0, 1)
            _demand(same and end == begin, node, f"joins {joined} and {part}, which are no neighbours")
            joined = joined.ranged(axis, start, stop)
        (result,) = node.outputs
        if axis == ROW_AXIS and result not in self._results and joined.box[axis] != (0, self._rows(joined.name)):
            self._demand_room(joined, node)
        self._write(result, joined, node)

    def _rows(self, name: str) -> int:
        return self._whole[name].shape[ROW_AXIS]

    def _demand_room(self, held: _Held, node: Node) -> None:
        """A line buffer holds no more than a share of the tensor that it stands for."""
        start, stop = held.box[ROW_AXIS]
        height = self._rows(held.name)
        _demand(LARGEST_SHARE * (stop - start) <= height, node, f"keeps {stop - start} of {height} rows")

    def _follow_band(self, node: Node) -> None:
        whole: Node = node.attrs[WHOLE]
        link = self._links.get(whole.name)
        _demand(link is not None and link.node == whole, node, "computes a band of a node that is not in the chain")
        self._bands[whole.name] += 1
        computed: tuple[tuple[int, int], tuple[int, int]] | None = None
        for index, reach in enumerate(link.rows.reaches[: len(node.inputs)]):
            name = whole.inputs[index]
            if reach is None:
                _demand(node.inputs[index] == name, node, f"reads '{node.inputs[index]}' instead of '{name}'")
                continue
            seen = self._seen(node, index, name, reach)
            _demand(computed in (None, seen), node, f"sees {seen} by '{node.inputs[index]}', {computed} by others")
            computed = seen
        images, (start, stop) = computed
        _demand(start % link.rows.tile == 0, node, f"begins at row {start}, within a tile of {link.rows.tile}")
        for own, name in zip(node.outputs, whole.outputs, strict=True):
            if name:
                held = self._all_of(name).ranged(ROW_AXIS, start, stop).ranged(_BATCH_AXIS, *images)
                self._write(own, held, node)
                if name not in self._results:
                    self._demand_room(held, node)

    def _seen(self, node: Node, index: int, name: str, reach: Reach) -> tuple[tuple[int, int], tuple[int, int]]:
        """The images and rows of the result that an input and the padding around it suffice for."""
        held = self._of(node.inputs[index], node)
        source, ranges = origin(name, self._parts)
        _demand(held.name == source, node, f"reads rows of '{held.name}' instead of '{source}'")
        for axis in (1, 3):
            wanted = ranges.get(axis, (0, self._whole[source].shape[axis]))
            seen = held.box[axis]
            _demand(seen == wanted, node, f"sees {seen} of '{name}' along axis {axis}, not {wanted}")
        above, below = _padding(node) if index == 0 else (0, 0)
        first, last = held.box[ROW_AXIS]
        _demand(not above or first == 0, node, f"pads above row {first}")
        _demand(not below or last == self._rows(source), node, f"pads below row {last} of {self._rows(source)}")
        top, rest = divmod(first - above + reach.before, reach.stride)
        count = (last + below - (first - above) - reach.span) // reach.stride + 1
        _demand(rest == 0 and count > 0, node, f"sees no whole windows in rows {first} to {last}")
        return held.box[_BATCH_AXIS], (top * reach.repeat, (top + count) * reach.repeat)


def _demand(holds: bool, subject: Node | str, problem: str) -> None:
    if not holds:
        raise _Flaw(f"{subject} {problem}")


def _padding(node: Node) -> tuple[int, int]:
    """Rows of padding above and below what a node reads."""
    pads = (node.attrs["depthwise"] if node.op == SEPARABLE else node).attrs.get("pads")
    return (pads[len(pads) // 2 - 2], pads[-2]) if pads else (0, 0)
