"""Planning a network without running it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clnn import frontend
from clnn.feeds import NodeArg
from clnn.plan import Plan
from clnn.runtime import modelling, selection
from clnn.session import plan_graph
from clnn.tools.inputs import bound_shapes


def plan_network(
    model: str,
    dims: Mapping[str, int],
    devices: str | None = None,
    policy: str | None = None,
    platforms: str | None = None,
    tell: Callable[[str], Any] = lambda text: None,
) -> Plan:
    """The plan of ``model`` for the input shapes that ``dims`` gives to symbolic dimensions.

    Devices are measured first if they never were, so that the plan can predict times; ``tell`` is called with a line
    before that.
    """
    graph = frontend.load(model)
    args = [NodeArg.of(name, graph.types[name]) for name in graph.inputs]
    opened = selection.select(devices, platforms)
    shapes = bound_shapes(args, dims)
    machine = modelling.machine(opened, measure_missing=True, tell=tell)
    return plan_graph(graph, shapes, [device.info for device in opened], policy, machine=machine)
