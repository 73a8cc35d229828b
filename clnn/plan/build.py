"""Putting a lowered graph into an order of steps, and its tensors into arenas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.errors import OutOfMemoryError
from clnn.graph import PLAIN, Node
from clnn.kernels import Launch
from clnn.ops import Lowered
from clnn.plan.clocks import Clocks
from clnn.plan.divide import Part
from clnn.plan.layout import converted_name
from clnn.plan.memories import memories
from clnn.plan.memory import lower_bound, place
from clnn.plan.tenancy import Tenancy
from clnn.plan.types import Arena, Copy, Host, LoweredGraph, Placement, Plan, Run
from clnn.schedule import HOST


def build(lowered: LoweredGraph, devices: Sequence[DeviceInfo]) -> Plan:
    """Build the plan of a lowered graph.

    Raises:
        OutOfMemoryError: an arena is larger than its device can allocate.
    """
    where = memories(lowered.schedule, devices)
    builder = _Builder(lowered, where)
    for name in lowered.graph.inputs:
        builder.written(name, HOST, ())
    for node in lowered.graph.nodes:
        builder.add(node)
    for name in dict.fromkeys(lowered.outputs.values()):
        builder.bring(name, HOST)
    arenas = {}
    for memory in dict.fromkeys(where.values()):
        sharing = [device for device in devices if where.get(device.id) == memory]
        if (arena := _arena(builder.tenancy, memory, sharing)) is not None:
            arenas[memory] = arena
    own = {device.id: where[device.id] for device in devices if device.id in where}
    constants = builder.constants
    return Plan(lowered, tuple(builder.clocks.steps), own, arenas, constants, builder.host_constants)


def _arena(tenancy: Tenancy, memory: str, devices: Sequence[DeviceInfo]) -> Arena | None:
    """The arena of a memory in which these devices work; ``None`` where no tensor lies in it."""
    intervals = tenancy.intervals(memory)
    if not intervals:
        return None
    alignment = max(device.alignment for device in devices)
    positions, nbytes = place(intervals, alignment)
    smallest = min(devices, key=lambda device: device.max_alloc)
    if nbytes > smallest.max_alloc:
        raise OutOfMemoryError(
            f"the network needs an arena of {nbytes / 1e6:.0f} MB, {smallest.id} allocates at most "
            f"{smallest.max_alloc / 1e6:.0f} MB at once; use a smaller input or batch, or another device"
        )
    roots = {interval.name: Placement(positions[interval.name], interval.nbytes) for interval in intervals}
    offsets = tenancy.placements(memory, roots)
    ids = tuple(device.id for device in devices)
    return Arena(ids, nbytes, lower_bound(intervals, alignment), offsets)


class _Builder:
    """Steps in order, what each waits for, and where each tensor is."""

    def __init__(self, lowered: LoweredGraph, where: Mapping[str, str]) -> None:
        self.lowered = lowered
        self.graph = lowered.graph
        self.clocks = Clocks()
        self.tenancy = Tenancy(lowered.graph.types, self.clocks)
        self.constants: dict[str, dict[str, np.ndarray]] = {}
        self.host_constants: dict[str, np.ndarray] = {}
        self._memory = {**where, HOST: HOST}
        # (memory, tensor) -> the steps that wrote it there, none for what is there from the start.
        self._writers: dict[tuple[str, str], tuple[int, ...]] = {}

    def add(self, node: Node) -> None:
        """Append the steps that compute ``node`` where the schedule puts it."""
        place = self.lowered.schedule.place(node.name)
        if place == HOST:
            self._add_host(node)
        else:
            self._add_device(node, place)

    def _add_host(self, node: Node) -> None:
        sources = {name: self._plain(name) for name in node.reads}
        writers = [step for name in sources.values() for step in self.bring(name, HOST)]
        step = self.clocks.add(Host(node, sources), HOST, writers)
        for name in node.outputs:
            self.written(name, HOST, (step,))

    def _plain(self, name: str) -> str:
        return name if self.graph.types[name].layout == PLAIN else converted_name(name, PLAIN)

    def _add_device(self, node: Node, place: str) -> None:
        lowered, memory = self.lowered.lowered[node.name], self._memory[place]
        parts = self.lowered.parts.get(node.name) or [(Part(place, launch, 1.0),) for launch in lowered.launches]
        first = parts[0][0].device if parts else self.lowered.schedule.members(place)[0]
        self.constants.setdefault(memory, {}).update(lowered.constants)
        inherited = self._inputs(node, lowered)
        own = {*node.outputs, *lowered.scratch, *lowered.constants}
        for name in sorted({*inherited, *_tensors(lowered.launches)} - own):
            self.bring(name, memory, first)
        for name, nbytes in lowered.scratch.items():
            self.tenancy.enter(memory, name, nbytes)
        for launch, cut in zip(lowered.launches, parts, strict=True):
            self._add_launch(node, launch, cut, memory, lowered if launch is lowered.launches[-1] else None)
        if lowered.concurrent:
            for name in _tensors(lowered.launches):
                self.tenancy.touch(memory, name)
        self._add_outputs(node, lowered, memory, inherited)

    def _add_launch(
        self, node: Node, launch: Launch, parts: Iterable[Part], memory: str, lowered: Lowered | None
    ) -> None:
        """Append the steps of the parts of a launch, which do not wait for each other."""
        tensors = [name for name in _tensors([launch]) if (memory, name) in self._writers]
        writers = [step for name in tensors for step in self._writers[memory, name]]
        steps = []
        for part in parts:
            work = lowered.work.part(part.share) if lowered and lowered.work else None
            step = self.clocks.add(Run(node.name, part.device, part.launch, work=work), part.device, writers)
            steps.append(step)
            for name in _tensors([launch]):
                self.tenancy.touch(memory, name)
        for name in _tensors([launch]):
            if name in node.outputs or self._is_scratch(node, name):
                self._writers[memory, name] = self.clocks.latest((*self._writers.get((memory, name), ()), *steps))

    def _is_scratch(self, node: Node, name: str) -> bool:
        return name in self.lowered.lowered[node.name].scratch

    def _inputs(self, node: Node, lowered: Lowered) -> set[str]:
        """The inputs in whose memory outputs lie: they must be there although no launch reads them."""
        types = self.graph.types
        homes = {types[name].region.home for name in node.outputs if name and types[name].region is not None}
        whole = {name for name in node.outputs if name and any(types[x].home(x) == name for x in node.reads)}
        inside = {name for name in node.reads if types[name].home(name) in homes | whole}
        return {*lowered.alias.values(), *inside}

    def _add_outputs(self, node: Node, lowered: Lowered, memory: str, inherited: Iterable[str]) -> None:
        """Note who wrote the outputs: the launches, and whoever wrote the inputs in whose memory they lie."""
        before = [step for name in inherited for step in self._writers.get((memory, name), ())]
        for name in filter(None, node.outputs):
            if name in lowered.alias:
                self._share(name, lowered.alias[name], memory)
            steps = (*self._writers.get((memory, name), ()), *before)
            self.written(name, memory, self.clocks.latest(steps))

    def _share(self, name: str, source: str, memory: str) -> None:
        """Let tensor ``name`` be the memory of ``source``."""
        root = self.tenancy.share(memory, name, source)
        constants = self.constants.get(memory, {})
        if root in constants:
            constants[name] = constants[root]

    def bring(self, name: str, memory: str, device: str = HOST) -> tuple[int, ...]:
        """Make tensor ``name`` available in ``memory``, by the queue of ``device``; the steps that wrote it there."""
        key = memory, name
        if key not in self._writers:
            if name in self.graph.constants:
                self._place_constant(name, memory)
            else:
                self._copy(name, memory, device)
        self.tenancy.touch(memory, name)
        return self._writers[key]

    def _copy(self, name: str, memory: str, device: str) -> None:
        """Copy a tensor from where it is, through the host where both memories are devices' own."""
        source = HOST if (HOST, name) in self._writers else next(at for at, each in self._writers if each == name)
        if HOST not in (source, memory):
            self._copy(name, HOST, device)
            source = HOST
        writers = self._writers[source, name]
        queue = device if source == HOST else self._reader(source, writers)
        step = self.clocks.add(Copy(name, source, memory, queue), queue, writers)
        self.tenancy.touch(source, name)
        self.written(name, memory, (step,))

    def _reader(self, memory: str, writers: tuple[int, ...]) -> str:
        """The device to read a tensor of a memory with: one that wrote it, as its queue need not wait for itself."""
        if writers:
            return self.clocks.queue(max(writers))
        # Nobody wrote it: it has no elements.
        return next(self.lowered.schedule.members(place)[0] for place, own in self._memory.items() if own == memory)

    def _place_constant(self, name: str, memory: str) -> None:
        array, tensor = self.graph.constants[name], self.graph.types[name]
        if memory == HOST:
            self.host_constants[name] = array
        else:
            physical = np.ascontiguousarray(array.transpose(tensor.order)) if array.ndim else array
            self.constants.setdefault(memory, {})[name] = physical
        self._writers[memory, name] = ()

    def written(self, name: str, memory: str, steps: tuple[int, ...]) -> None:
        """Note that ``steps`` wrote tensor ``name`` in ``memory``."""
        if not name:
            return
        self._writers[memory, name] = steps
        if memory != HOST and not self.tenancy.shares(memory, name):
            self.tenancy.enter(memory, name, self.graph.types[name].nbytes)
            self.tenancy.touch(memory, name)


def _tensors(launches: Iterable[Launch]) -> list[str]:
    """The tensors and constants that launches name, in order."""
    return list(dict.fromkeys(arg for launch in launches for arg in launch.args if isinstance(arg, str)))
