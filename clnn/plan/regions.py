"""Letting tensors lie inside larger ones, so that joining and cutting them takes no copy."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

from clnn.devices.info import DeviceInfo
from clnn.graph import Graph, Node, Region
from clnn.ops import LowerContext, find
from clnn.ops.reshape import reshaped_strides
from clnn.plan.types import LoweredGraph
from clnn.schedule import HOST

JOINS = ("Concat",)
CUTS = ("Split", "Slice")
ALIASES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")


def place_in_regions(lowered: LoweredGraph, devices: dict[str, DeviceInfo]) -> LoweredGraph:
    """Let the inputs of a Concat lie in its output, and the outputs of a Split or Slice in its input.

    A tensor moves into another one where its writer and all its readers can do without memory of its own; they
    are asked one by one. Joins go first, the last one of the graph before those that feed it. All outputs of one
    Split that stand side by side in a join take the tensor that is split along with them.
    """
    placing = _Placing(lowered, devices)
    for node in reversed(lowered.graph.nodes):
        if node.op in JOINS:
            placing.join(node)
    for node in lowered.graph.nodes:
        if node.op in CUTS:
            placing.cut(node)
    return replace(lowered, graph=lowered.graph.replace(types=placing.types))


class _Placing:
    """The types of all tensors while regions are given to them."""

    def __init__(self, lowered: LoweredGraph, devices: dict[str, DeviceInfo]) -> None:
        self.graph: Graph = lowered.graph
        self.types = dict(lowered.graph.types)
        self._lowered = lowered
        self._devices = devices
        self._writers = lowered.graph.producers()
        self._readers = lowered.graph.consumers()
        # Copies to the host take a tensor as a whole.
        self._fixed = {*lowered.graph.inputs, *lowered.graph.constants, *lowered.outputs.values()}

    def join(self, node: Node) -> None:
        """Place the inputs of a Concat in its output."""
        place, result = self._lowered.schedule.place(node.name), self.types[node.outputs[0]]
        if place == HOST or result.size == 0:
            return
        axis = node.attrs["axis"] % result.rank
        starts = accumulate((self.types[name].shape[axis] for name in node.inputs), initial=0)
        for index, (part, start) in enumerate(zip(node.inputs, starts, strict=False)):
            offset = result.offset + start * result.strides[axis]
            region = Region(result.home(node.outputs[0]), offset, result.strides)
            whole = self._split_whole(node, index, axis)
            if whole is not None:
                self._move(whole, region, place, writes=True)
            elif node.inputs.count(part) == 1:
                self._move(part, region, place, writes=True)

    def _split_whole(self, join: Node, index: int, axis: int) -> str | None:
        """The tensor whose parts, all in a row, are the inputs of ``join`` from ``index`` on, if there is one."""
        writer = self._writers.get(join.inputs[index])
        if writer is None or writer.op != "Split" or writer.attrs.get("axis", 0) % self._rank(writer) != axis:
            return None
        return writer.inputs[0] if join.inputs[index : index + len(writer.outputs)] == writer.outputs else None

    def _rank(self, node: Node) -> int:
        return self.types[node.inputs[0]].rank

    def cut(self, node: Node) -> None:
        """Place the outputs of a Split or Slice in its input."""
        place, source = self._lowered.schedule.place(node.name), node.inputs[0]
        if place == HOST or source in self.graph.constants or self.types[source].size == 0:
            return
        for move in find(node.op).moves(self._context(node, place)):
            data, name = self.types[source], move.target.name
            region = Region(data.home(source), data.offset + move.source.offset, move.source.strides)
            if self.types[name].layout == data.layout:
                self._move(name, region, place, writes=False)

    def _move(self, name: str, region: Region, place: str, writes: bool) -> bool:
        """Give a tensor a region if its writer (where it ``writes``) and its readers, all at ``place``, can use it."""
        tensor = self.types[name]
        if name in self._fixed or tensor.region is not None or not tensor.size:
            return False
        before = self.types
        self.types = {**before, name: tensor.inside(region)}
        if (writes and not self._can_write(name, place)) or not self._can_read(name, place):
            self.types = before
            return False
        return True

    def _can_write(self, name: str, place: str) -> bool:
        writer = self._writers[name]
        if self._lowered.schedule.place(writer.name) != place:
            return False
        if writer.op in ALIASES:
            return self._move_under(writer, place)
        return find(writer.op).gives_region(self._context(writer, place), writer.outputs.index(name))

    def _move_under(self, alias: Node, place: str) -> bool:
        """Give the tensor that ``alias`` only gives another shape the region that its output has already."""
        source, result = alias.inputs[0], self.types[alias.outputs[0]]
        strides = reshaped_strides(result.shape, result.strides, self.types[source].shape)
        if strides is None or source not in self._writers:
            return False
        return self._move(source, Region(result.region.home, result.offset, strides), place, writes=True)

    def _can_read(self, name: str, place: str) -> bool:
        for reader in self._readers.get(name, ()):
            if self._lowered.schedule.place(reader.name) != place:
                return False
            context, op = self._context(reader, place), find(reader.op)
            if not all(op.takes_region(context, i) for i, read in enumerate(reader.inputs) if read == name):
                return False
        return True

    def _context(self, node: Node, place: str) -> LowerContext:
        return LowerContext(node, self.types, self.graph.constants, self._devices[place], self._lowered.exact)
