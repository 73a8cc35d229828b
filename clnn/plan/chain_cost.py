"""What a run of nodes takes, computed layer by layer or in bands of rows: time, memory and traffic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from clnn.devices.info import DeviceInfo
from clnn.devices.model import GUESS_BANDWIDTH_GBS, GUESS_GFLOPS, DeviceModel, MachineModel, Work
from clnn.graph import TensorType
from clnn.kernels.copy import COPY
from clnn.ops import find
from clnn.ops.movement import Movement
from clnn.ops.rows import ROW_AXIS
from clnn.plan.banded import Link, Part, origin
from clnn.plan.bands import Bands

CACHE_GAIN = 2.2
"""How many times as fast as memory a cache is taken to be where only one of the two was measured; found on two Zen 5
cores, where launches of 10 MB move 88 GB/s and a triad that no cache holds 37 to 42."""

BAND_LAUNCH_MS = 0.013
"""What a launch of a chain takes besides its kernel at least: small ones in a long row leave the thread that enqueues
no time to run ahead, and it takes a core from those who compute. Measured on two cores, with PoCL."""
CACHE_SHARE = 0.75
"""The share of a cache that line buffers may take: what flows through a chain passes there, too."""
EXPOSED = 0.2
"""How much of the shorter one, of arithmetic and memory traffic, does not hide behind the other. Of 13 convolutions and
pools of tensors that no cache holds, on those cores, it was 0 for seven, and 0.3 to 1.6 for the others."""


@dataclass(frozen=True)
class Hierarchy:
    """A device with a cache: ``near`` is its model for what the cache holds, ``far_rate`` is memory's, bytes per ms."""

    near: DeviceModel
    cache_bytes: int
    far_rate: float

    @classmethod
    def of(cls, info: DeviceInfo, machine: MachineModel) -> Hierarchy:
        """What is known of a device, and guesses for the rest."""
        measured, far_gbs = machine.devices.get(info.id), info.bandwidth_gbs or GUESS_BANDWIDTH_GBS
        if measured is None or len(measured.rates) < 2:  # no more is known than two peaks
            near = DeviceModel.roofline(info.gflops or GUESS_GFLOPS, CACHE_GAIN * far_gbs)
            return cls(near, info.cache_bytes, far_gbs * 1e6)
        # Kernels do not reach what a mere copy does.
        rate = measured.bandwidth.points[-1][1] / CACHE_GAIN
        return cls(measured, info.cache_bytes, min(rate, info.bandwidth_gbs * 1e6) if info.bandwidth_gbs else rate)

    def holds(self, nbytes: int) -> bool:
        """Whether line buffers of so many bytes stay in the cache; of one of unknown size it is taken for granted."""
        return not self.cache_bytes or nbytes <= CACHE_SHARE * self.cache_bytes

    def work_ms(self, work: Work, far_bytes: float) -> float:
        """Time of a kernel of which so many bytes go to and from memory, without its launch."""
        near_ms, far_ms = self.near.work_ms(work), far_bytes / self.far_rate
        return max(near_ms, far_ms) + EXPOSED * min(near_ms, far_ms)


def layer_bytes(link: Link, types: Mapping[str, TensorType]) -> int:
    """Bytes that a node moves when it is computed at once; ``types`` say which tensors lie in others."""
    op = find(link.node.op)
    if isinstance(op, Movement) and type(op).lower is Movement.lower:
        work = op.lower(replace(link.ctx, types=types)).work
        return int(work.bytes) if work is not None else 0
    names = dict.fromkeys((*link.node.reads, *link.writes))
    return sum(types[name].nbytes for name in names if name not in link.ctx.constants)


def layer_ms(link: Link, nbytes: int, hierarchy: Hierarchy) -> float:
    """Time of a node that is computed at once, and moves so many bytes."""
    work = find(link.node.op).work(link.node, link.ctx.types, link.ctx.device)
    far_bytes = nbytes if nbytes > hierarchy.cache_bytes else 0
    return hierarchy.near.launch_ms + hierarchy.work_ms(work, far_bytes) if nbytes else 0.0


def buffer_bytes(bands: Bands, types: Mapping[str, TensorType]) -> dict[str, int]:
    """Bytes of the largest of the line buffers that hold rows of each tensor of a chain."""
    return {name: bands.most_kept[name] * row_bytes(types[name]) for name in bands.starts}


def row_bytes(kind: TensorType) -> int:
    """Bytes of a row of one image."""
    return kind.nbytes // kind.shape[0] // kind.shape[ROW_AXIS]


def banded(
    links: Sequence[Link],
    parts: Mapping[str, Part],
    bands: Bands,
    results: Sequence[str],
    hierarchy: Hierarchy,
) -> tuple[float, int, int]:
    """Time in ms, bytes of line buffers, and traffic of a chain.

    The kept rows of a band are copied when the next one begins: until then both are there.
    """
    types = links[0].ctx.types
    images = types[results[-1]].shape[0]
    buffers = buffer_bytes(bands, types)
    doubled = (nbytes for name, nbytes in buffers.items() if bands.halo[name])
    held = sum(buffers.values()) + max(doubled, default=0)
    spills = not hierarchy.holds(held)
    total_ms, traffic, launches = 0.0, 0.0, 0.0
    for link in links:
        rows = max(end - start for start, end in (bands.computed(link.writes[0], band) for band in range(bands.count)))
        count = images * bands.ends[link.writes[0]][-1] / rows
        inner = sum(types[name].nbytes for name in link.writes if name in buffers)
        inner += sum(types[name].nbytes for name, _ in link.reads if origin(name, parts)[0] in buffers)
        outer = sum(types[name].nbytes for name in link.writes if name in results)
        outer += sum(
            types[name].nbytes * reach.overlap(rows)
            for name, reach in link.reads if origin(name, parts)[0] not in buffers
        )  # fmt: skip
        far = outer + inner * spills
        traffic += far
        launches += count
        total_ms += count * hierarchy.work_ms(link.work(rows), far / count)
    for name in buffers:
        if nbytes := bands.halo[name] * row_bytes(types[name]):
            count = images * (bands.count - 1)
            launches += count
            copying = Work(COPY.name, nbytes // types[name].itemsize, 2.0 * nbytes)
            total_ms += count * hierarchy.work_ms(copying, 0)
    return total_ms + launches * max(BAND_LAUNCH_MS, hierarchy.near.launch_ms), held, int(traffic)
