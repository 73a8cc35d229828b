"""Lowering: what depends on a device (layouts, algorithms) is chosen here, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clnn.devices.info import DeviceInfo
from clnn.devices.model import MachineModel
from clnn.graph import Graph
from clnn.ops import LowerContext, Lowered, Operator, find
from clnn.plan.apart import share_rows
from clnn.plan.chains import form_chains
from clnn.plan.dataflow import form_dataflow
from clnn.plan.divide import divide_node
from clnn.plan.fusion import fuse_chains, fuse_separable
from clnn.plan.layout import assign_layouts
from clnn.plan.regions import place_in_regions
from clnn.plan.types import LoweredGraph
from clnn.schedule import HOST, Schedule


def choose_algorithms(lowered: LoweredGraph, devices: dict[str, DeviceInfo]) -> LoweredGraph:
    """Let every operator choose its algorithm and turn its node into launches."""
    # Bands of one node share what is packed for them, but not with those of another device, which may pack otherwise.
    graph, launches, packed = lowered.graph, {}, {place: {} for place in devices}
    for node in graph.nodes:
        place = lowered.schedule.place(node.name)
        if place != HOST:
            ctx = LowerContext(node, graph.types, graph.constants, devices[place], lowered.exact, packed[place])
            launches[node.name] = _with_work(find(node.op), ctx)
    return replace(lowered, lowered=launches)


def _with_work(op: Operator, ctx: LowerContext) -> Lowered:
    """The node's launches, with what the last of them has to do where the operator did not say."""
    lowered = op.lower(ctx)
    if lowered.work is not None or not lowered.launches:
        return lowered
    work = op.work(ctx.node, ctx.types, ctx.device)
    return replace(lowered, work=replace(work, kind=lowered.launches[-1].kernel.name))


def cut_launches(lowered: LoweredGraph, devices: dict[str, DeviceInfo]) -> LoweredGraph:
    """Cut the launches of nodes that teams compute among the members."""
    parts = {}
    for team in lowered.schedule.teams.values():
        members = [devices[member] for member in team.members]
        models = [lowered.machine.at_once.model(member) for member in members]
        for node in lowered.graph.nodes:
            if lowered.schedule.place(node.name) == team.id:
                parts[node.name] = divide_node(lowered.lowered[node.name], members, models)
    return replace(lowered, parts=parts)


LOWERING = (
    form_dataflow,
    fuse_separable,
    fuse_chains,
    assign_layouts,
    share_rows,
    form_chains,
    place_in_regions,
    choose_algorithms,
    cut_launches,
)


def lower(
    graph: Graph,
    schedule: Schedule,
    devices: Sequence[DeviceInfo],
    exact: bool = False,
    machine: MachineModel | None = None,
    chain: str = "off",
) -> LoweredGraph:
    """Turn a scheduled graph of static shapes into launches per node.

    ``exact`` rules out algorithms that round otherwise than a sum of products does. ``machine`` is how fast the devices
    are, which decides on the shares of teams. ``chain`` is that of the options of a session.

    Raises:
        UnsupportedError: an operator cannot be lowered as scheduled.
    """
    if schedule.order:
        nodes = {node.name: node for node in graph.nodes}
        graph = graph.replace(nodes=tuple(nodes[name] for name in schedule.order))
    outputs = {name: name for name in graph.outputs}
    lowered = LoweredGraph(graph, schedule, outputs, {}, exact, chain, _known(machine or MachineModel(), devices))
    by_id = {device.id: device for device in (*devices, *(team.info for team in schedule.teams.values()))}
    for step in LOWERING:
        lowered = step(lowered, by_id)
    return lowered


def _known(machine: MachineModel, devices: Sequence[DeviceInfo]) -> MachineModel:
    """``machine`` with a model of each of the devices of whose speed something is known."""
    measured = {device.id: machine.model(device) for device in devices if device.gflops and device.bandwidth_gbs}
    return replace(machine, devices={**measured, **machine.devices})
