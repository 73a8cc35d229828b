"""Plans that compute single nodes of another plan, by the very same launches, so that the host can check them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.graph import Graph, Node, TensorType
from clnn.kernels import Launch
from clnn.ops import Cost, Lowered, find
from clnn.plan.memory import align
from clnn.plan.types import Arena, Copy, LoweredGraph, Placement, Plan, Run
from clnn.schedule import HOST, Schedule

MOST_FLOPS = 8_000_000_000
"""Nodes that take more are not checked: a convolution of so many takes the host a tenth of a second."""
MOST_BYTES = 64 << 20
"""Nor are nodes that read and write more, and no plan has a larger arena, unless one node needs it."""

Variant = tuple[str, tuple[str, ...]]
"""A kernel's source file and compiler options: what a program is built from."""


@dataclass(frozen=True)
class Check:
    """A node to be computed alone. Its tensors lie in images of memory, flat tensors of the plan.

    ``images`` maps each tensor that is no constant to the image in which its type places it, ``constants`` are the
    values of the others, in the order of their ONNX shapes. ``variants`` are those of the launches, and ``depth`` is
    how many numbers a result is summed up from.
    """

    node: Node
    variants: tuple[Variant, ...]
    types: Mapping[str, TensorType]
    images: Mapping[str, str]
    constants: Mapping[str, np.ndarray]
    depth: int


@dataclass(frozen=True)
class CheckPlan:
    """A plan that computes the nodes of ``checks`` on ``device``, one after the other.

    Its inputs are all the images, its outputs those that nodes write.
    """

    device: str
    plan: Plan
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Unchecked:
    """A variant on a device that no node can check, and why."""

    device: str
    variant: Variant
    reason: str


def check_plans(
    plan: Plan, devices: Sequence[DeviceInfo], known: Callable[[str, Variant], bool]
) -> tuple[list[CheckPlan], list[Unchecked]]:
    """Plans that check each variant that ``plan`` may launch, by the cheapest node that uses it.

    A device of a team may launch all variants of the team's nodes, however they are shared out.

    Args:
        plan: with the constants of its graph.
        known: whether a variant needs no check on the device of this id.
    """
    lowered = plan.lowered
    plans, left = [], []
    for device in devices:
        chosen: dict[str, Node] = {}
        for variant, nodes in _users(device.id, lowered).items():
            if known(device.id, variant):
                continue
            node = min(nodes, key=lambda node: _size(_cost(node, lowered)))
            reason = _obstacle(node, lowered)
            if reason is None:
                chosen[node.name] = node
            else:
                left.append(Unchecked(device.id, variant, f"{node}, the smallest node that uses it, {reason}"))
        plans += [_plan(device, lowered, group) for group in _groups(chosen.values(), lowered)]
    return plans, left


def _users(device: str, lowered: LoweredGraph) -> dict[Variant, list[Node]]:
    """The nodes that may launch each variant on a device."""
    users: dict[Variant, list[Node]] = {}
    for node in lowered.graph.nodes:
        place = lowered.schedule.place(node.name)
        if place != HOST and device in lowered.schedule.members(place):
            for variant in dict.fromkeys(map(_variant, lowered.lowered[node.name].launches)):
                users.setdefault(variant, []).append(node)
    return users


def _variant(launch: Launch) -> Variant:
    return launch.kernel.source, launch.options


def _cost(node: Node, lowered: LoweredGraph) -> Cost:
    return find(node.op).cost(node, lowered.graph.types)


def _size(cost: Cost) -> float:
    return cost.flops + cost.bytes


def _obstacle(node: Node, lowered: LoweredGraph) -> str | None:
    """Why a node cannot be checked."""
    cost, types = _cost(node, lowered), lowered.graph.types
    if cost.flops > MOST_FLOPS or cost.bytes > MOST_BYTES:
        return f"is too large to be checked ({cost.flops / 1e9:.1f} GFLOP, {cost.bytes / 1e6:.0f} MB)"
    if node.op.startswith("Scatter") and node.input(1) not in lowered.graph.constants:
        return "may write one place twice, in any order"
    tensors = [name for name in (*node.reads, *filter(None, node.outputs)) if name not in lowered.graph.constants]
    if not all(types[name].size for name in tensors):
        return "has an empty tensor"
    return None


def _groups(nodes: Sequence[Node], lowered: LoweredGraph) -> Iterator[list[Node]]:
    """The nodes in groups whose tensors fit into one arena."""
    group, held = [], 0
    for node in nodes:
        nbytes = _cost(node, lowered).bytes
        if group and held + nbytes > MOST_BYTES:
            yield group
            group, held = [], 0
        group.append(node)
        held += nbytes
    if group:
        yield group


def _plan(device: DeviceInfo, lowered: LoweredGraph, nodes: Sequence[Node]) -> CheckPlan:
    singles = [_Single(f"{index}:", node, lowered) for index, node in enumerate(nodes)]
    steps = [step for single in singles for step in single.steps(device.id)]
    types = {name: kind for single in singles for name, kind in single.image_types.items()}
    offsets, nbytes = {}, 0
    for single in singles:
        for names, size in single.blocks():
            offsets |= dict.fromkeys(names, Placement(nbytes, size))
            nbytes += align(size, device.alignment)
    constants = {name: array for single in singles for name, array in single.constants().items()}
    outputs = tuple(name for single in singles for name in single.written)
    graph = Graph((), tuple(types), outputs, types)
    whole = LoweredGraph(graph, Schedule({}, "check"), {name: name for name in outputs}, {}, lowered.exact)
    arenas = {device.id: Arena((device.id,), nbytes, nbytes, offsets)}
    plan = Plan(whole, tuple(steps), {device.id: device.id}, arenas, {device.id: constants}, {})
    return CheckPlan(device.id, plan, tuple(single.check() for single in singles))


class _Single:
    """One node taken out of its graph; ``prefix`` keeps its tensors apart from those of other nodes."""

    def __init__(self, prefix: str, node: Node, lowered: LoweredGraph) -> None:
        self.prefix = prefix
        self.node = node
        self.graph = lowered.graph
        self.lowered: Lowered = lowered.lowered[node.name]
        types = self.graph.types
        self._read = [name for name in node.reads if name not in self.graph.constants]
        self._tensors = dict.fromkeys([*self._read, *filter(None, node.outputs)])
        self._homes = {name: self._home(name) for name in self._tensors}
        self.image_types = {
            prefix + home: TensorType((types[home].size,), types[home].dtype) for home in self._homes.values()
        }
        self.written = tuple(dict.fromkeys(prefix + self._homes[name] for name in node.outputs if name))

    def _home(self, name: str) -> str:
        name = self.lowered.alias.get(name, name)
        return self.graph.types[name].home(name)

    def steps(self, device: str) -> Iterator[Run | Copy]:
        """All images to the device, the launches, and what they wrote back."""
        for name in self.image_types:
            yield Copy(name, HOST, device, device)
        for launch in self.lowered.launches:
            yield Run(self.prefix + self.node.name, device, self._renamed(launch))
        for name in self.written:
            yield Copy(name, device, HOST, device)

    def _renamed(self, launch: Launch) -> Launch:
        args = tuple(self.prefix + arg if isinstance(arg, str) else arg for arg in launch.args)
        return replace(launch, args=args)

    def blocks(self) -> Iterator[tuple[list[str], int]]:
        """Blocks of memory: the tensors that lie in each, and bytes."""
        for image, kind in self.image_types.items():
            inside = [self.prefix + name for name, home in self._homes.items() if self.prefix + home == image]
            yield [image, *inside], kind.nbytes
        for name, nbytes in self.lowered.scratch.items():
            yield [self.prefix + name], nbytes

    def constants(self) -> dict[str, np.ndarray]:
        """The constants that the launches read, as they lie in memory."""
        types, found = self.graph.types, dict(self.lowered.constants)
        for launch in self.lowered.launches:
            for name in launch.args:
                if isinstance(name, str) and name in self.graph.constants and name not in found:
                    array = self.graph.constants[name]
                    found[name] = np.ascontiguousarray(array.transpose(types[name].order)) if array.ndim else array
        return {self.prefix + name: array for name, array in found.items()}

    def check(self) -> Check:
        """What the host needs to check the node."""
        types, node = self.graph.types, self.node
        outputs = max(1, sum(types[name].size for name in node.outputs if name))
        inputs = sum(types[name].size for name in self._read)
        flops = find(node.op).cost(node, types).flops
        return Check(
            node,
            tuple(dict.fromkeys(map(_variant, self.lowered.launches))),
            {name: types[name] for name in (*node.reads, *filter(None, node.outputs))},
            {name: self.prefix + home for name, home in self._homes.items()},
            {name: self.graph.constants[name] for name in node.reads if name in self.graph.constants},
            max(1, math.ceil(max(flops / 2, inputs) / outputs)),
        )
