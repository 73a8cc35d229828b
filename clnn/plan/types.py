"""The data that a plan consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from clnn.devices.model import MachineModel, Work
from clnn.graph import Graph, Node
from clnn.kernels import Launch
from clnn.ops import Lowered
from clnn.plan.bands import Bands
from clnn.plan.divide import Part
from clnn.schedule import Schedule


@dataclass(frozen=True)
class Prediction:
    """One way to compute a run of nodes: milliseconds, bytes alive at once, and bytes moved to and from memory."""

    ms: float
    arena_bytes: int
    traffic_bytes: int


@dataclass(frozen=True)
class LineBuffer:
    """What is kept of a tensor between two stages of a chain: ``rows`` at most, ``halo`` of which for the next band.

    ``whole_bytes`` are those of the tensor that it stands for.
    """

    rows: int
    halo: int
    nbytes: int
    whole_bytes: int


@dataclass(frozen=True)
class Chain:
    """A run of nodes that is computed in bands of rows, or could be.

    Attributes:
        nodes: names of the nodes that compute all rows; ``device`` is their place.
        taken: whether bands were chosen; ``reason`` says why or why not.
        images: each of which is computed in so many ``bands``, of ``rows`` rows of the last tensor, by ``schedule``.
        buffers: by the tensor that each stands for.
        banded, layered: what is predicted for both ways.
        members: names of the nodes that compute bands, copies included; none where bands were not chosen.
        inside: the tensors that lie between members; ``cached`` tells whether these are expected to stay in a cache.
    """

    nodes: tuple[str, ...]
    device: str
    taken: bool
    reason: str
    images: int
    bands: int
    rows: int
    schedule: Bands
    buffers: Mapping[str, LineBuffer]
    banded: Prediction
    layered: Prediction
    cached: bool
    members: tuple[str, ...] = ()
    inside: frozenset[str] = frozenset()
    transport: str = "buffer"


@dataclass(frozen=True)
class LoweredGraph:
    """A graph whose types carry their final layouts, and the launches of each node that a device runs.

    ``outputs`` maps each graph output to the tensor that holds it in plain layout. ``exact`` is the precision asked
    for, see ``LowerContext``, ``machine`` how fast the devices are taken for. ``parts`` are those into which each
    launch of a node is cut that a team computes. ``chain`` is that of the options; ``chains`` are those that were
    considered, and ``chain_reason`` is why there are not more.
    """

    graph: Graph
    schedule: Schedule
    outputs: Mapping[str, str]
    lowered: Mapping[str, Lowered]
    exact: bool = False
    chain: str = "off"
    machine: MachineModel = field(default_factory=MachineModel)
    parts: Mapping[str, tuple[tuple[Part, ...], ...]] = field(default_factory=dict)
    chains: tuple[Chain, ...] = ()
    chain_reason: str = ""


@dataclass(frozen=True)
class Run:
    """Launch a kernel on a device. ``work`` is what it has to do, ``None`` where that counts for nothing."""

    node: str
    device: str
    launch: Launch
    waits_for: tuple[int, ...] = ()
    work: Work | None = None


@dataclass(frozen=True)
class Copy:
    """Copy a tensor between the host's memory and another one, in the queue of ``device``; ``HOST`` is the host's."""

    tensor: str
    source: str
    destination: str
    device: str
    waits_for: tuple[int, ...] = ()


@dataclass(frozen=True)
class Host:
    """Compute a node on the host; ``sources`` maps each tensor that the node reads to the one that holds it."""

    node: Node
    sources: Mapping[str, str]
    waits_for: tuple[int, ...] = ()


Step = Run | Copy | Host
"""Steps of one queue run in their order; ``waits_for`` lists those of other queues that must have finished."""


@dataclass(frozen=True)
class Placement:
    """Where a tensor lies: bytes ``offset`` to ``offset + nbytes`` of an arena."""

    offset: int
    nbytes: int


@dataclass(frozen=True)
class Arena:
    """A block of one memory that the tensors of a run share over time; ``offsets`` places tensors and scratch in it.

    ``devices`` work in that memory. ``lower_bound_bytes`` is the largest sum of tensors alive at one step: no plan of
    this order needs less.
    """

    devices: tuple[str, ...]
    nbytes: int
    lower_bound_bytes: int
    offsets: Mapping[str, Placement]


@dataclass(frozen=True)
class Plan:
    """All that an executor needs to run a network for fixed shapes; immutable, and shared by executors.

    ``memories`` names the memory in which each device works. ``arenas`` are by memory, as are ``constants``, the
    arrays to keep there (by name) as they lie in it; ``host_constants`` are those that host nodes read. Those of the
    graph, weights before they were packed, serve to check the plan, see ``without_weights``.
    """

    lowered: LoweredGraph
    steps: tuple[Step, ...]
    memories: Mapping[str, str]
    arenas: Mapping[str, Arena]
    constants: Mapping[str, Mapping[str, np.ndarray]]
    host_constants: Mapping[str, np.ndarray]

    def without_weights(self) -> Plan:
        """The plan with all that running it takes, and without the constants of the graph."""
        return replace(self, lowered=replace(self.lowered, graph=self.lowered.graph.replace(constants={})))

    @property
    def graph(self) -> Graph:
        return self.lowered.graph

    @property
    def schedule(self) -> Schedule:
        return self.lowered.schedule

    @property
    def used_devices(self) -> tuple[str, ...]:
        """Ids of the devices that have work in this plan."""
        return tuple(dict.fromkeys(step.device for step in self.steps if not isinstance(step, Host)))

    @property
    def weights_bytes(self) -> int:
        return sum(array.nbytes for arrays in self.constants.values() for array in arrays.values())

    def __str__(self) -> str:
        from clnn.plan.table import as_text

        return as_text(self)
