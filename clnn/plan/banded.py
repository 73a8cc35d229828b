"""Writing a chain of nodes out as bands: for each node one that computes some of its rows, band after band.

Between two stages lies, for each band, a tensor of the rows that are kept: those of the band before that are needed
again, copied, and the new ones, written in place. The inputs of a chain are read where they lie, its results written
where they belong. All this is said by Slice and Concat, which take no copy where ``place_in_regions`` can help it.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from clnn.devices.model import Work
from clnn.graph import Node, TensorType
from clnn.ops import LowerContext, find
from clnn.ops.rows import ROW_AXIS, Band, Reach, Rows
from clnn.plan.bands import Bands
from clnn.plan.pieces import Ranges, concat_node, piece_name, piece_type, slice_node

_BATCH_AXIS = 0


@dataclass(frozen=True)
class Link:
    """A node of a chain in its context, and how it reads rows. ``works`` keeps what ``work`` has found."""

    ctx: LowerContext
    rows: Rows
    works: dict[int, Work] = field(default_factory=dict, compare=False, repr=False)

    @property
    def node(self) -> Node:
        return self.ctx.node

    @property
    def writes(self) -> tuple[str, ...]:
        return tuple(filter(None, self.node.outputs))

    @property
    def reads(self) -> tuple[tuple[str, Reach], ...]:
        """The tensors that are read by rows."""
        pairs = zip(self.node.inputs, self.rows.reaches, strict=True)
        return tuple((name, reach) for name, reach in pairs if reach is not None)


    def work(self, rows: int) -> Work:
        """What it is to compute so many rows of one image, in the middle of it."""
        if rows not in self.works:
            types = self.ctx.types
            sizes = {name: reach.seen(rows) for name, reach in self.reads}
            sizes |= dict.fromkeys(self.writes, rows)
            band_types = {f"{name}#": part_type(types[name], size) for name, size in sizes.items()}
            inputs, outputs = (
                tuple(f"{name}#" if name in sizes else name for name in names)
                for names in (self.node.inputs, self.node.outputs)
            )
            ctx = replace(self.ctx, types=ChainMap(band_types, types))
            node, inner = find(self.node.op).band(ctx, Band("#", inputs, outputs))
            self.works[rows] = find(node.op).work(node, {**types, **band_types, **inner}, self.ctx.device)
        return self.works[rows]


def part_type(kind: TensorType, rows: int) -> TensorType:
    """The type of some rows of one image."""
    return piece_type(kind, {_BATCH_AXIS: (0, 1), ROW_AXIS: (0, rows)})


@dataclass(frozen=True)
class Part:
    """A tensor that is no more than positions ``start`` to ``stop`` of another one along an axis."""

    source: str
    axis: int
    start: int
    stop: int


def write_out(
    links: Sequence[Link], parts: Mapping[str, Part], bands: Bands, results: Sequence[str]
) -> tuple[tuple[Node, ...], dict[str, TensorType]]:
    """The nodes of a chain in bands, image by image, and the types of all tensors that are new.

    Args:
        links: the nodes, without those that only write ``parts``.
        results: the tensors that are read outside of the chain; they keep their names.
    """
    writer = _Writer(links, parts, bands, results)
    images = links[0].ctx.output().shape[_BATCH_AXIS]
    for image in range(images):
        for band in range(bands.count):
            writer.add_band(image, band)
    for name in results:
        writer.join(name, images)
    return tuple(writer.nodes), writer.added


def origin(name: str, parts: Mapping[str, Part]) -> tuple[str, dict[int, tuple[int, int]]]:
    """The tensor of which ``name`` is a part, by way of others if need be, and its ranges there by axis; or itself."""
    ranges: dict[int, tuple[int, int]] = {}
    while name in parts:
        part = parts[name]
        start, stop = ranges.get(part.axis, (0, part.stop - part.start))
        ranges[part.axis] = part.start + start, part.start + stop
        name = part.source
    return name, ranges


class _Writer:
    """The nodes so far, and where the rows of each tensor are."""

    def __init__(
        self, links: Sequence[Link], parts: Mapping[str, Part], bands: Bands, results: Sequence[str]
    ) -> None:
        self._links = links
        self._cuts = parts
        self._bands = bands
        self._results = frozenset(results)
        self._whole_types = links[0].ctx.types
        self.nodes: list[Node] = []
        self.added: dict[str, TensorType] = {}
        # The tensor that holds the kept rows of each, and the first of them.
        self._kept: dict[str, tuple[str, int]] = {}
        self._parts: dict[tuple[str, int], list[str]] = {}

    def add_band(self, image: int, band: int) -> None:
        """Append the nodes of one band of one image."""
        if band == 0:
            self._kept.clear()
        suffix = f"[{image * self._bands.count + band}]"
        for link in self._links:
            start, stop = self._bands.computed(link.writes[0], band)
            if start < stop:
                self._add_node(link, image, band, suffix, (start, stop))

    def _add_node(self, link: Link, image: int, band: int, suffix: str, computed: tuple[int, int]) -> None:
        (start, stop), ctx, rows = computed, link.ctx, link.rows
        inputs = tuple(
            self._view(name, reach and reach.rows(start, stop, self._whole_types[name].shape[ROW_AXIS]), image)
            for name, reach in zip(ctx.node.inputs, rows.reaches, strict=True)
        )
        outputs = tuple(name and f"{name}{suffix}" for name in ctx.node.outputs)
        for name, own in zip(ctx.node.outputs, outputs, strict=True):
            if name:
                self.added[own] = part_type(self._whole_types[name], stop - start)
        halos = [self._halo(name, band, suffix) for name in ctx.node.outputs]
        padding = (0, 0)
        if rows.reaches[0] is not None:
            padding = rows.reaches[0].padding(start, stop, self._whole_types[ctx.node.inputs[0]].shape[ROW_AXIS])
        ctx = replace(ctx, types=ChainMap(self.added, self._whole_types))
        node, inner = find(ctx.node.op).band(ctx, Band(suffix, inputs, outputs, padding))
        self.added.update(inner)
        self.nodes.append(node)
        for name, own, halo in zip(ctx.node.outputs, outputs, halos, strict=True):
            if name:
                self._keep(name, own, halo, image, start)

    def _view(self, name: str, rows: tuple[int, int] | None, image: int) -> str:
        """The tensor with these rows of an image of ``name``; itself without."""
        if rows is None:
            return name
        name, ranges = origin(name, self._cuts)
        if name in self._kept:
            held, first = self._kept[name]
            return self._cut(held, self.added[held], {**ranges, ROW_AXIS: (rows[0] - first, rows[1] - first)})
        kind = self._whole_types[name]
        return self._cut(name, kind, {**ranges, _BATCH_AXIS: (image, image + 1), ROW_AXIS: rows})

    def _cut(self, name: str, kind: TensorType, ranges: Ranges) -> str:
        """The part of a tensor in these ranges by axis, as a tensor."""
        ranges = {axis: given for axis, given in ranges.items() if given != (0, kind.shape[axis])}
        if not ranges:
            return name
        result = piece_name(name, ranges)
        if result not in self.added:
            self.added[result] = piece_type(kind, ranges)
            self.nodes.append(slice_node(name, ranges, result))
        return result

    def _halo(self, name: str, band: int, suffix: str) -> str | None:
        """A copy of the rows that were kept and are needed again, made before new ones are written behind it."""
        if name not in self._kept:
            return None
        start, _ = self._bands.kept(name, band)
        new, _ = self._bands.computed(name, band)
        if start == new:
            return None
        held, first = self._kept[name]
        result = f"{name}{suffix}/halo"
        self.added[result] = part_type(self._whole_types[name], new - start)
        self.nodes.append(slice_node(held, {ROW_AXIS: (start - first, new - first)}, result))
        return result

    def _keep(self, name: str, own: str, halo: str | None, image: int, start: int) -> None:
        """Put new rows, ``own``, behind those that are kept, and to the result."""
        if name in self._results:
            self._parts.setdefault((name, image), []).append(own)
        if name not in self._bands.starts:
            return
        if halo is None:
            self._kept[name] = own, start
            return
        rows = self.added[halo].shape[ROW_AXIS]
        result = f"{own}/kept"
        self.added[result] = part_type(self._whole_types[name], rows + self.added[own].shape[ROW_AXIS])
        self._concat(ROW_AXIS, (halo, own), result)
        self._kept[name] = result, start - rows

    def _concat(self, axis: int, parts: Sequence[str], result: str) -> None:
        self.nodes.append(concat_node(result, axis, parts, result))

    def join(self, name: str, images: int) -> None:
        """Append the nodes that make one tensor of all parts of a result."""
        if images == 1:
            self._concat(ROW_AXIS, self._parts[name, 0], name)
            return
        pictures = [f"{name}[{image}]/picture" for image in range(images)]
        for image, picture in enumerate(pictures):
            kind = self._whole_types[name]
            self.added[picture] = part_type(kind, kind.shape[ROW_AXIS])
            self._concat(ROW_AXIS, self._parts[name, image], picture)
        self._concat(_BATCH_AXIS, pictures, name)
