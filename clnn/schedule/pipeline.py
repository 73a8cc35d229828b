"""The policy for many inferences that cuts the network into one stage per device."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.graph import Graph, Node, TensorType
from clnn.schedule.cost import CostModel
from clnn.schedule.policy import policy
from clnn.schedule.single import single
from clnn.schedule.types import HOST, Schedule, Stage, StreamPlan

NodeMs = Callable[[Node, Mapping[str, TensorType], DeviceInfo], float]
TransferMs = Callable[[DeviceInfo, float], float]
Loaded = TypeVar("Loaded")

QUEUE_DEPTH = 2
"""Inferences that wait before a stage: one to start at once, one for when the stage before it is late."""
MAX_PERMUTED = 4
"""Devices of which every order is tried; more of them come as they are given."""
RECUTS = 3
"""Times that stages are cut anew after they were measured, at most."""


@policy("pipeline")
def pipeline(graph: Graph, devices: Sequence[DeviceInfo], costs: CostModel) -> Schedule:
    """The schedule of one inference alone, which stages would only slow down: as by "single"."""
    return replace(single(graph, devices, costs), policy="pipeline")


def plan_pipeline(
    graph: Graph, devices: Sequence[DeviceInfo], node_ms: NodeMs, transfer_ms: TransferMs
) -> StreamPlan:
    """Cut ``graph`` into consecutive stages, at most one per device, so that the longest is as short as can be.

    Dynamic programming over the cuts (Bokhari, "Partitioning problems in parallel, pipelined, and distributed
    computing", IEEE Trans. Computers 1988), for every order of the devices. Of equal plans that with the fewest
    stages is taken.

    Args:
        node_ms: predicted time of a node on a device.
        transfer_ms: predicted time to move so many bytes between a device and the host.
    """
    nbytes = _border_bytes(graph)
    costs = {device.id: _stage_ms(graph, device, node_ms, transfer_ms, nbytes) for device in devices}
    best: tuple[float, tuple[DeviceInfo, ...], list[int]] | None = None
    for order in _orders(devices):
        longest_ms, cuts = _cut([costs[device.id] for device in order])
        if best is None or longest_ms < best[0] * (1 - 1e-9):
            best = longest_ms, order, cuts
    longest_ms, order, cuts = best
    spans = zip(order, itertools.pairwise(cuts), strict=True)
    stages = tuple(
        Stage(each.id, *span, float(costs[each.id][span]), float(transfer_ms(each, nbytes[span])))
        for each, span in spans
    )
    alone_ms = {device.id: float(costs[device.id][0, -1]) for device in devices}
    fastest = min(alone_ms, key=alone_ms.__getitem__)
    reason = f"longest stage {longest_ms:.2f} ms, all on {fastest} {alone_ms[fastest]:.2f} ms"
    return StreamPlan(QUEUE_DEPTH, reason, longest_ms, stages=stages)


def balance(
    graph: Graph,
    devices: Sequence[DeviceInfo],
    costs: CostModel,
    load: Callable[[StreamPlan], Loaded],
    measure: Callable[[Loaded], Sequence[float]],
    drop: Callable[[Loaded], None] = lambda loaded: None,
) -> tuple[StreamPlan, Loaded]:
    """``plan_pipeline``, cut anew while what the stages are measured to take promises a shorter longest one.

    Args:
        load: makes the stages of a plan ready, ``measure`` tells how long each takes, and ``drop`` is called with those
            that others have turned out to be better than.
    """
    slower = {device.id: 1.0 for device in devices}
    best: tuple[StreamPlan, Loaded] | None = None

    def node_ms(node: Node, types: Mapping[str, TensorType], device: DeviceInfo) -> float:
        return slower[device.id] * costs.node_ms(node, types, device)

    def transfer_ms(device: DeviceInfo, nbytes: float) -> float:
        return costs.machine.transfer_ms(HOST, device.id, nbytes)

    for _ in range(RECUTS + 1):
        plan = plan_pipeline(graph, devices, node_ms, transfer_ms)
        if best is not None and plan.predicted_ms > 0.97 * best[0].predicted_ms:
            break
        loaded = load(plan)
        stage_ms = measure(loaded)
        if best is None or max(stage_ms) < best[0].predicted_ms:
            worse, best = best, (replace(plan, predicted_ms=max(stage_ms)), loaded)
        else:
            worse = plan, loaded
        if worse is not None:
            drop(worse[1])
        for stage, ms in zip(plan.stages, stage_ms, strict=True):
            if stage.predicted_ms:
                slower[stage.device] *= ms / stage.predicted_ms
    return best


def _orders(devices: Sequence[DeviceInfo]) -> list[tuple[DeviceInfo, ...]]:
    """Devices of the stages, in order; few devices come first."""
    counts = range(1, len(devices) + 1)
    arrange = itertools.permutations if len(devices) <= MAX_PERMUTED else itertools.combinations
    return [order for count in counts for order in arrange(devices, count)]


def _cut(costs: Sequence[np.ndarray]) -> tuple[float, list[int]]:
    """The longest stage of the best cuts, and their positions from 0 to the number of nodes.

    ``costs[k][i, j]`` is the time of nodes i to j (excluded) as stage k.
    """
    reached, previous = costs[0][0], []
    for cost in costs[1:]:
        longest = np.maximum(reached[:, None], cost)
        previous.append(longest.argmin(axis=0))
        reached = longest.min(axis=0)
    cuts = [len(reached) - 1]
    for positions in reversed(previous):
        cuts.append(int(positions[cuts[-1]]))
    return float(reached[-1]), [0, *reversed(cuts)]


def _stage_ms(
    graph: Graph, device: DeviceInfo, node_ms: NodeMs, transfer_ms: TransferMs, nbytes: np.ndarray
) -> np.ndarray:
    """Times [start, stop] of the stages that a device could take; infinite for those without a node."""
    upto = np.cumsum([0.0, *(node_ms(node, graph.types, device) for node in graph.nodes)])
    times = upto[None, :] - upto[:, None]
    times += np.vectorize(lambda amount: transfer_ms(device, amount), otypes=[float])(nbytes)
    times[np.tril_indices(len(upto))] = np.inf
    return times


def _border_bytes(graph: Graph) -> np.ndarray:
    """Bytes [start, stop] that the nodes start to stop (excluded) as a stage read and write at their borders."""
    count = len(graph.nodes)
    nbytes = np.zeros((count + 1, count + 1))
    written = {name: index for index, node in enumerate(graph.nodes) for name in node.outputs if name}
    readers: dict[str, list[int]] = {}
    for index, node in enumerate(graph.nodes):
        for name in node.reads:
            if name not in graph.constants:
                readers.setdefault(name, []).append(index)
    for name in {*written, *readers}:
        size = graph.types[name].nbytes if graph.types[name].is_static else 0
        writer, reading = written.get(name, -1), readers.get(name, [])
        before = writer + 1
        for reader in reading:  # read by stages that begin after the writer, and end after their first reader
            nbytes[before : reader + 1, reader + 1 :] += size
            before = reader + 1
        # Written by stages that hold the writer and end before the last reader; outputs by any.
        last = count if name in graph.outputs else max(reading, default=writer)
        if writer >= 0:
            nbytes[: writer + 1, writer + 1 : last + 1] += size
    return nbytes
