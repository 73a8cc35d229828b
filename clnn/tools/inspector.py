"""Looking at a network's graph between two passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clnn import frontend, passes, schedule
from clnn.devices.info import DeviceInfo
from clnn.errors import UsageError
from clnn.feeds import NodeArg
from clnn.graph import Graph
from clnn.graph.dump import Layer, layers
from clnn.ops import find
from clnn.runtime import selection
from clnn.tools.inputs import bound_shapes

ANY_DEVICE = DeviceInfo("opencl", name="an OpenCL device without float64")
"""Stands for the device as long as none is named, so that a network can be looked at without one."""


@dataclass(frozen=True)
class Inspection:
    """A graph, and a record of each of its layers."""

    graph: Graph
    layers: Sequence[Layer]

    @property
    def places(self) -> dict[str, str]:
        """Where each layer runs, by its name, as far as that is known."""
        return {layer.name: layer.place for layer in self.layers if layer.place is not None}


def inspect_network(
    model: str,
    dims: Mapping[str, int],
    before: str | None = None,
    after: str | None = None,
    devices: str | None = None,
    platforms: str | None = None,
    policy: str | None = None,
) -> Inspection:
    """The graph of ``model`` before or after a pass; after all of them without either.

    Raises:
        UsageError: both are given, or a pass or a device does not exist, or symbolic dimensions stay open though
            ``dims`` gives some.
    """
    if before is not None and after is not None:
        raise UsageError("--before and --after exclude each other; give one of them")
    graph = _bind(frontend.load(model), dims)
    graph = passes.run(graph, after) if before is None else _run_until(graph, before)
    infos = [opened.info for opened in selection.select(devices, platforms)] if devices or platforms else [ANY_DEVICE]
    return Inspection(graph, layers(graph, _costs(graph), _places(graph, infos, policy)))


def _bind(graph: Graph, dims: Mapping[str, int]) -> Graph:
    args = [NodeArg.of(name, graph.types[name]) for name in graph.inputs]
    try:
        return passes.bind(graph, bound_shapes(args, dims))
    except UsageError:
        if dims:
            raise
        return graph  # shapes with names in them tell something, too


def _run_until(graph: Graph, name: str) -> Graph:
    """The graph as the pass called ``name`` gets it."""
    if name not in passes.NAMES:
        raise UsageError(f"pass '{name}' does not exist; choose one of {', '.join(passes.NAMES)}")
    index = passes.NAMES.index(name)
    return passes.run(graph, passes.NAMES[index - 1]) if index else graph


def _costs(graph: Graph) -> dict[str, tuple[int, int]]:
    """FLOPs and bytes of the nodes that have an operator of clnn's and static shapes."""
    found = {}
    for node in graph.nodes:
        op = find(node.op)
        types = [graph.types.get(name) for name in (*node.reads, *filter(None, node.outputs))]
        if op is not None and all(kind is not None and kind.is_static for kind in types):
            cost = op.cost(node, graph.types)
            found[node.name] = (cost.flops, cost.bytes)
    return found


def _places(graph: Graph, devices: Sequence[DeviceInfo], policy: str | None) -> dict[str, tuple[str, str]]:
    """Where the nodes would run and why; nothing as long as types are missing or the inputs are symbolic."""
    decide = schedule.find_policy(policy)
    tensors = {name for node in graph.nodes for name in (*node.reads, *node.outputs) if name}
    if not graph.is_static or not tensors <= graph.types.keys():
        return {}
    scheduled = decide(graph, devices, schedule.CostModel())
    return {name: (chosen.device, chosen.reason) for name, chosen in scheduled.assignments.items()}
