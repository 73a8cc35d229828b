"""Planning a network without running it."""

from __future__ import annotations

from collections.abc import Mapping

from clnn import frontend
from clnn.feeds import NodeArg
from clnn.plan import Plan
from clnn.runtime import calibration, selection
from clnn.session import plan_graph
from clnn.tools.inputs import bound_shapes


def plan_network(
    model: str,
    dims: Mapping[str, int],
    devices: str | None = None,
    policy: str | None = None,
    platforms: str | None = None,
) -> Plan:
    """The plan of ``model`` for the input shapes that ``dims`` gives to symbolic dimensions.

    Devices are calibrated first if they never were, so that the plan can predict times.
    """
    graph = frontend.load(model)
    args = [NodeArg.of(name, graph.types[name]) for name in graph.inputs]
    infos = [calibration.measure(opened) for opened in selection.select(devices, platforms)]
    return plan_graph(graph, bound_shapes(args, dims), infos, policy)
