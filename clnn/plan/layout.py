"""Choosing the layout of every tensor, with conversions where producer and consumer disagree."""

from __future__ import annotations

from dataclasses import replace

from clnn.devices.info import DeviceInfo
from clnn.graph import PLAIN, Node
from clnn.ops import Layouts, LowerContext, find
from clnn.plan.types import LoweredGraph
from clnn.schedule import HOST, Assignment

RELAYOUT = "clnn.Relayout"


def converted_name(name: str, layout: str) -> str:
    """Name of the copy of tensor ``name`` in ``layout``."""
    return f"{name}/{layout}"


def assign_layouts(lowered: LoweredGraph, devices: dict[str, DeviceInfo]) -> LoweredGraph:
    """Give each tensor the layout that its operator asks for.

    One greedy walk: an operator sees the layouts in which its inputs come and says which it takes and gives.
    A conversion is a node of its own, shared by all readers; constants are converted once, on the host.
    """
    walk = _Walk(lowered, devices)
    for node in lowered.graph.nodes:
        walk.visit(node)
    return walk.finish()


class _Walk:
    """State of the walk: the nodes so far, and the types with the layouts chosen so far."""

    def __init__(self, lowered: LoweredGraph, devices: dict[str, DeviceInfo]) -> None:
        self.source = lowered
        self.devices = devices
        self.nodes: list[Node] = []
        self.types = dict(lowered.graph.types)
        self.constants = dict(lowered.graph.constants)
        self.assignments = dict(lowered.schedule.assignments)

    def visit(self, node: Node) -> None:
        place = self.assignments[node.name].device
        wanted = self._wanted(node, place)
        inputs = tuple(
            self._convert(name, layout, place)
            for name, layout in zip(node.inputs, wanted.inputs, strict=True)
        )
        for name in node.reads:
            if name not in node.inputs:  # captured by a subgraph, which only the host runs
                self._convert(name, PLAIN, HOST)
        self.nodes.append(node.replace(inputs=inputs))
        for name, layout in zip(node.outputs, wanted.outputs, strict=True):
            if name:
                self.types[name] = self.types[name].with_layout(layout)

    def _wanted(self, node: Node, place: str) -> Layouts:
        if place == HOST:
            return Layouts((PLAIN,) * len(node.inputs), (PLAIN,) * len(node.outputs))
        device, exact = self.devices[place], self.source.exact
        return find(node.op).layouts(LowerContext(node, self.types, self.constants, device, exact))

    def _convert(self, name: str, layout: str | None, place: str) -> str:
        """Name of the tensor ``name`` in ``layout``; adds the conversion if there is none yet."""
        if not name or layout is None or self.types[name].layout == layout:
            return name
        converted = converted_name(name, layout)
        if converted not in self.types:
            self.types[converted] = self.types[name].with_layout(layout)
            if name in self.constants:
                self.constants[converted] = self.constants[name]
            else:
                self._add_relayout(name, converted, place)
        return converted

    def _add_relayout(self, name: str, converted: str, place: str) -> None:
        device = place if place != HOST else self._producer_place(name)
        self.nodes.append(Node(converted, RELAYOUT, (name,), (converted,)))
        reason = f"'{name}' is {self.types[name].layout}, its reader wants {self.types[converted].layout}"
        self.assignments[converted] = Assignment(converted, device, reason)

    def _producer_place(self, name: str) -> str:
        producer = next(node for node in reversed(self.nodes) if name in node.outputs)
        return self.assignments[producer.name].device

    def finish(self) -> LoweredGraph:
        outputs = {
            name: self._convert(name, PLAIN, HOST) if self.types[name].shape is not None else name
            for name in self.source.graph.outputs
        }
        graph = self.source.graph.replace(nodes=tuple(self.nodes), types=self.types, constants=self.constants)
        schedule = replace(self.source.schedule, assignments=self.assignments)
        return replace(self.source, graph=graph, schedule=schedule, outputs=outputs)
