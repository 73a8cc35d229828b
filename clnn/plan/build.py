"""Putting a lowered graph into an order of steps, and its tensors into arenas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.errors import OutOfMemoryError
from clnn.graph import PLAIN, Node
from clnn.plan.layout import converted_name
from clnn.plan.memory import Interval, lower_bound, place
from clnn.plan.types import Arena, Copy, Host, LoweredGraph, Placement, Plan, Run, Step
from clnn.schedule import HOST


def build(lowered: LoweredGraph, devices: Sequence[DeviceInfo]) -> Plan:
    """Build the plan of a lowered graph.

    Raises:
        OutOfMemoryError: an arena is larger than its device can allocate.
    """
    by_id = {device.id: device for device in devices}
    builder = _Builder(lowered)
    for name in lowered.graph.inputs:
        builder.written(name, HOST, -1)
    for node in lowered.graph.nodes:
        builder.add(node)
    for name in dict.fromkeys(lowered.outputs.values()):
        builder.bring(name, HOST)
    arenas, offsets = {}, {}
    for device_id, intervals in builder.intervals().items():
        device = by_id[device_id]
        positions, nbytes = place(intervals, device.alignment)
        if nbytes > device.max_alloc:
            raise OutOfMemoryError(
                f"the network needs an arena of {nbytes / 1e6:.0f} MB, {device.id} allocates at most "
                f"{device.max_alloc / 1e6:.0f} MB at once; use a smaller input or batch, or another device"
            )
        arenas[device_id] = Arena(device_id, nbytes, lower_bound(intervals, device.alignment))
        sizes = {interval.name: interval.nbytes for interval in intervals}
        roots = {name: Placement(device_id, positions[name], sizes[name]) for name in positions}
        offsets |= builder.placements(device_id, roots)
    # What steps read is in the plan's own constants; the others, weights before they were packed, may go.
    lowered = replace(lowered, graph=lowered.graph.replace(constants={}))
    return Plan(
        lowered, tuple(builder.steps), arenas, offsets, builder.device_constants, builder.host_constants
    )


class _Builder:
    """Steps in order, and for each device the first and last step that touches each block of memory."""

    def __init__(self, lowered: LoweredGraph) -> None:
        self.lowered = lowered
        self.graph = lowered.graph
        self.steps: list[Step] = []
        self.device_constants: dict[str, dict[str, np.ndarray]] = {}
        self.host_constants: dict[str, np.ndarray] = {}
        # (place, tensor) -> the step that wrote it there; -1 for what is there from the start.
        self._writer: dict[tuple[str, str], int] = {}
        # (device, tensor) -> the tensor whose memory it shares.
        self._root: dict[tuple[str, str], str] = {}
        self._nbytes: dict[tuple[str, str], int] = {}
        self._span: dict[tuple[str, str], tuple[int, int]] = {}

    def add(self, node: Node) -> None:
        """Append the steps that compute ``node`` where the schedule puts it."""
        where = self.lowered.schedule.place(node.name)
        if where == HOST:
            self._add_host(node)
        else:
            self._add_device(node, where)

    def _add_host(self, node: Node) -> None:
        sources = {name: self._plain(name) for name in node.reads}
        waits_for = tuple(sorted({self.bring(name, HOST) for name in sources.values()} - {-1}))
        self.steps.append(Host(node, sources, waits_for))
        for name in node.outputs:
            self.written(name, HOST, len(self.steps) - 1)

    def _plain(self, name: str) -> str:
        return name if self.graph.types[name].layout == PLAIN else converted_name(name, PLAIN)

    def _add_device(self, node: Node, device: str) -> None:
        lowered = self.lowered.lowered[node.name]
        self.device_constants.setdefault(device, {}).update(lowered.constants)
        read = {arg for launch in lowered.launches for arg in launch.args if isinstance(arg, str)}
        read |= set(lowered.alias.values()) | self._shared_inputs(node)
        own = {*node.outputs, *lowered.scratch, *lowered.constants}
        waits_for = tuple(sorted({self._arrival(name, device) for name in sorted(read - own)} - {-1}))
        for name, nbytes in lowered.scratch.items():
            self._nbytes[device, name] = nbytes
        for position, launch in enumerate(lowered.launches):
            last = position == len(lowered.launches) - 1
            waits = waits_for if position == 0 else ()
            self.steps.append(Run(node.name, device, launch, waits, lowered.work if last else None))
            for arg in launch.args:
                if isinstance(arg, str):
                    self._touch(arg, device)
        for name in filter(None, node.outputs):
            if name in lowered.alias:
                self._share(name, lowered.alias[name], device)
            else:
                self.written(name, device, len(self.steps) - 1)

    def _shared_inputs(self, node: Node) -> set[str]:
        """The inputs of a node in whose memory outputs of it lie: they must be there although no launch reads them."""
        types = self.graph.types
        homes = {types[name].region.home for name in node.outputs if name and types[name].region is not None}
        return {name for name in node.reads if types[name].home(name) in homes}

    def _share(self, name: str, source: str, device: str) -> None:
        """Let tensor ``name`` be the memory of ``source``."""
        root = self._root[device, name] = self._find(device, source)
        self._writer[device, name] = len(self.steps) - 1
        constants = self.device_constants.get(device, {})
        if root in constants:
            constants[name] = constants[root]

    def _arrival(self, name: str, device: str) -> int:
        """The step at another place after which ``name`` is on the device; -1 if nothing is to wait for."""
        step = self.bring(name, device)
        return step if step >= 0 and isinstance(self.steps[step], Copy | Host) else -1

    def bring(self, name: str, where: str) -> int:
        """Make tensor ``name`` available at ``where`` and return the step that does so."""
        if (where, name) in self._writer:
            step = self._writer[where, name]
            self._touch(name, where)
            return step
        if name in self.graph.constants:
            return self._place_constant(name, where)
        source = next(place for place, tensor in self._writer if tensor == name)
        written = self._writer[source, name]
        self.steps.append(Copy(name, source, where, (written,) if written >= 0 else ()))
        self._touch(name, source)
        self.written(name, where, len(self.steps) - 1)
        return len(self.steps) - 1

    def _place_constant(self, name: str, where: str) -> int:
        array, tensor = self.graph.constants[name], self.graph.types[name]
        if where == HOST:
            self.host_constants[name] = array
        else:
            physical = np.ascontiguousarray(array.transpose(tensor.order)) if array.ndim else array
            self.device_constants.setdefault(where, {})[name] = physical
        self._writer[where, name] = -1
        return -1

    def written(self, name: str, where: str, step: int) -> None:
        """Note that ``step`` writes tensor ``name`` at ``where``."""
        if not name:
            return
        self._writer[where, name] = step
        if where != HOST:
            self._nbytes[where, name] = self.graph.types[name].nbytes
            self._touch(name, where)

    def _find(self, device: str, name: str) -> str:
        """The tensor, or scratch, in whose memory ``name`` lies."""
        home = self.graph.types[name].home(name) if name in self.graph.types else name
        return self._root.get((device, home), home)

    def _touch(self, name: str, where: str) -> None:
        if where == HOST:
            return
        key = (where, self._find(where, name))
        now = max(len(self.steps) - 1, 0)
        first, last = self._span.get(key, (now, now))
        self._span[key] = (min(first, now), max(last, now))

    def intervals(self) -> Mapping[str, list[Interval]]:
        """Blocks of memory per device; constants have memory of their own."""
        found: dict[str, list[Interval]] = {}
        for (device, name), (first, last) in self._span.items():
            if (device, name) in self._nbytes and name == self._find(device, name):
                found.setdefault(device, []).append(Interval(name, self._nbytes[device, name], first, last))
        return found

    def placements(self, device: str, roots: Mapping[str, Placement]) -> dict[str, Placement]:
        """Placements of the blocks and of the tensors that share them."""
        own = (name for where, name in (*self._nbytes, *self._root) if where == device)
        return {name: roots[root] for name in own if (root := self._find(device, name)) in roots}
