"""Planning a graph for one device alone."""

from __future__ import annotations

from clnn.devices.info import DeviceInfo
from clnn.devices.model import MachineModel
from clnn.graph import Graph
from clnn.plan.build import build
from clnn.plan.lower import lower
from clnn.plan.types import Plan
from clnn.schedule import CostModel, find_policy


def plan_alone(
    graph: Graph, device: DeviceInfo, machine: MachineModel, exact: bool = False, chain: str = "off"
) -> Plan:
    """The plan of a graph of static shapes, or of a stage of one, that a device runs alone.

    ``exact`` and ``chain`` are as for ``lower``, and the exceptions are those of ``lower`` and ``build``.
    """
    scheduled = find_policy("single")(graph, [device], CostModel(machine))
    return build(lower(graph, scheduled, [device], exact, machine, chain), [device])
