"""Lowering: what depends on a device (layouts, algorithms) is chosen here, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clnn.devices.info import DeviceInfo
from clnn.devices.model import Work
from clnn.graph import Graph
from clnn.ops import LowerContext, Lowered, Operator, find
from clnn.plan.fusion import fuse_chains, fuse_separable
from clnn.plan.layout import assign_layouts
from clnn.plan.regions import place_in_regions
from clnn.plan.types import LoweredGraph
from clnn.schedule import HOST, Schedule


def choose_algorithms(lowered: LoweredGraph, devices: dict[str, DeviceInfo]) -> LoweredGraph:
    """Let every operator choose its algorithm and turn its node into launches."""
    graph, launches = lowered.graph, {}
    for node in graph.nodes:
        place = lowered.schedule.place(node.name)
        if place != HOST:
            ctx = LowerContext(node, graph.types, graph.constants, devices[place], lowered.exact)
            launches[node.name] = _with_work(find(node.op), ctx)
    return replace(lowered, lowered=launches)


def _with_work(op: Operator, ctx: LowerContext) -> Lowered:
    """The node's launches, with what the last of them has to do where the operator did not say."""
    lowered = op.lower(ctx)
    if lowered.work is not None or not lowered.launches:
        return lowered
    cost = op.cost(ctx.node, ctx.types)
    return replace(lowered, work=Work(lowered.launches[-1].kernel.name, cost.flops, cost.bytes))


LOWERING = (
    fuse_separable,
    fuse_chains,
    assign_layouts,
    place_in_regions,
    choose_algorithms,
)


def lower(graph: Graph, schedule: Schedule, devices: Sequence[DeviceInfo], exact: bool = False) -> LoweredGraph:
    """Turn a scheduled graph of static shapes into launches per node.

    ``exact`` rules out algorithms that round otherwise than a sum of products does.

    Raises:
        UnsupportedError: an operator cannot be lowered as scheduled.
    """
    lowered = LoweredGraph(graph, schedule, {name: name for name in graph.outputs}, {}, exact)
    by_id = {device.id: device for device in devices}
    for step in LOWERING:
        lowered = step(lowered, by_id)
    return lowered
