"""Predicting how long nodes take on devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from clnn.devices.info import DeviceInfo
from clnn.devices.model import MachineModel, Work
from clnn.graph import Graph, Node, TensorType
from clnn.ops import find
from clnn.schedule.types import HOST


@dataclass(frozen=True)
class CostModel:
    """Predictions from the models of the devices, before layers are lowered; ``plan.simulate`` knows more after."""

    machine: MachineModel = field(default_factory=MachineModel)

    def node_ms(self, node: Node, types: Mapping[str, TensorType], device: DeviceInfo) -> float:
        """Predicted milliseconds of one node; 0 of one that only the host runs, or whose types are not static."""
        work = _work(node, types, device)
        if work is None:
            return 0.0
        model = self.machine.model(device)
        return model.launch_ms + model.work_ms(work)

    def graph_ms(self, graph: Graph, device: DeviceInfo) -> float:
        """Predicted milliseconds of all nodes, one after the other."""
        return sum(self.node_ms(node, graph.types, device) for node in graph.nodes)

    def handover_ms(self, tensor: TensorType, source: DeviceInfo | None, destination: DeviceInfo | None) -> float:
        """Predicted milliseconds from the end of the kernel that writes a tensor until another device may read it.

        ``None`` is the host. Devices that share its memory hand over in place, once one has heard of the other's end.
        """
        if source == destination or not tensor.is_static:
            return 0.0
        models = [self.machine.at_once.model(device) for device in (source, destination) if device is not None]
        sync_ms = max(model.sync_ms for model in models)
        if all(device is None or device.host_memory for device in (source, destination)):
            return sync_ms
        ends = [HOST if device is None else device.id for device in (source, destination)]
        return sync_ms + self.machine.transfer_ms(ends[0], ends[1], tensor.nbytes)

    def team_ms(self, node: Node, graph: Graph, devices: Sequence[DeviceInfo]) -> float:
        """Predicted milliseconds of one node that is cut among devices in proportion to their speeds, if that pays."""
        models = [self.machine.at_once.model(device) for device in devices]
        works = [_work(node, graph.types, device) for device in devices]
        if None in works:
            return 0.0
        times_ms = [model.work_ms(work) for model, work in zip(models, works, strict=True)]
        alone_ms = min(model.launch_ms + ms for model, ms in zip(models, times_ms, strict=True))
        speed = sum(1.0 / max(ms, 1e-9) for ms in times_ms)
        overhead_ms = max(model.launch_ms + model.sync_ms for model in models)
        return min(alone_ms, 1.0 / speed + overhead_ms)


def _work(node: Node, types: Mapping[str, TensorType], device: DeviceInfo) -> Work | None:
    """What a node has to do on a device; ``None`` where that is nothing, or cannot be told."""
    op = find(node.op)
    if op is None or not is_static(node, types):
        return None
    work = op.work(node, types, device)
    return work if work.operations or work.bytes else None


def is_static(node: Node, types: Mapping[str, TensorType]) -> bool:
    """Whether the shapes of all that a node reads and writes are known."""
    return all(types[name].is_static for name in (*node.reads, *filter(None, node.outputs)))
