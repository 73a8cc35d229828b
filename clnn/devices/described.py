"""Devices that are not here, as platforms.yaml describes them: enough to plan for them and to simulate them.

    NAME:
      devices:
        - id: gpu0
          describe:
            kind: gpu
            compute_units: 30
            gflops: 6660             # fp32 multiply-adds at their best, 10^9 operations per second
            bandwidth_gbs: 307       # of its memory, 10^9 bytes per second
            global_mem_gb: 6
            local_mem_kb: 48         # of a work-group
            host_memory: false       # its memory is its own: what it reads has to go over a link
            efficiency: {gemm_local: 0.66}
            busy_watts: 160
      links:
        - {from: host, to: gpu0, bandwidth_gbs: 6.0, latency_us: 10}
        - {between: [gpu0, gpu1], bandwidth_gbs: 25}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from clnn.devices.info import KINDS, DeviceInfo
from clnn.devices.model import Curve, DeviceModel, Link, MachineModel
from clnn.devices.resources import Resources, fitting
from clnn.devices.units import Units
from clnn.errors import UsageError
from clnn.schema import Strict

HOST = "host"

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class Board(Strict):
    """An FPGA board, whose layers run as chains of stages.

    ``dsps`` and ``memory_blocks`` are those of the FPGA, of which the board's own interfaces take ``reserved_dsps`` and
    ``reserved_blocks``. ``width`` and ``lanes`` are those of the stages, see ``Units``; without ``lanes`` the most that
    fit.
    """

    dsps: Annotated[int, Field(ge=1)]
    memory_blocks: Annotated[int, Field(ge=1)]
    clock_mhz: Positive
    reserved_dsps: Annotated[int, Field(ge=0)] = 0
    reserved_blocks: Annotated[int, Field(ge=0)] = 0
    width: Literal[4, 8, 16] = 16
    lanes: Literal[16, 32, 64, 128, 256] | None = None

    @model_validator(mode="after")
    def _holds_stages(self) -> Board:
        try:
            _ = self.units
        except UsageError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def available(self) -> Resources:
        """What is left for kernels."""
        return Resources(self.dsps - self.reserved_dsps, self.memory_blocks - self.reserved_blocks)

    @property
    def units(self) -> Units:
        """The stages that it is to be programmed with."""
        return fitting(self.available, self.width, self.lanes)

    def rates(self) -> dict[str, Curve]:
        """Operations per ms: of stages by the GEMM unit's, of an ordinary kernel as if it took a packet per clock."""
        per_clock = 2e3 * self.clock_mhz * self.width
        return {"": Curve.flat(per_clock), "write": Curve.flat(per_clock * self.units.lanes)}


class Description(Strict):
    """What is known of a device; ``board`` makes it an FPGA board.

    ``efficiency`` gives, by the name of a kernel, the fraction of ``gflops`` that it reaches, where that is not all.
    ``launch_us`` and ``sync_us`` are those of ``DeviceModel``, ``vector_width`` and the others those of ``DeviceInfo``.
    """

    kind: Literal[KINDS]
    name: str = ""
    compute_units: Annotated[int, Field(ge=1)]
    gflops: Positive
    bandwidth_gbs: Positive
    global_mem_gb: Positive
    local_mem_kb: Positive = 32
    vector_width: Literal[1, 2, 4, 8, 16] = 4
    max_work_group_size: Annotated[int, Field(ge=1)] = 256
    host_memory: bool = True
    launch_us: NotNegative = 3
    sync_us: NotNegative = 20
    busy_watts: NotNegative = 0
    idle_watts: NotNegative = 0
    efficiency: dict[str, Positive] = {}
    board: Board | None = None

    def info(self, device_id: str) -> DeviceInfo:
        """The device as the planner sees it; it allocates a quarter of its memory at once, the least OpenCL demands."""
        memory_bytes = int(self.global_mem_gb * 1e9)
        return DeviceInfo(
            device_id, self.kind, self.name, compute_units=self.compute_units, global_mem=memory_bytes,
            max_alloc=memory_bytes // 4, local_mem=int(self.local_mem_kb * 1024), vector_width=self.vector_width,
            max_work_group_size=self.max_work_group_size, host_memory=self.host_memory, gflops=self.gflops,
            bandwidth_gbs=self.bandwidth_gbs, units=self.board.units if self.board else None,
        )  # fmt: skip

    def model(self) -> DeviceModel:
        """How fast it is."""
        fractions = {"": 1.0, **self.efficiency}
        rates = {kind: Curve.flat(fraction * self.gflops * 1e6) for kind, fraction in fractions.items()}
        return DeviceModel(
            self.board.rates() if self.board else rates,
            Curve.flat(self.bandwidth_gbs * 1e6),
            self.launch_us / 1e3, self.sync_us / 1e3, self.busy_watts, self.idle_watts,
        )  # fmt: skip


class LinkEntry(Strict):
    """A link between two devices, or a device and the host: ``between`` both ways, ``from`` and ``to`` for one."""

    between: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None
    source: Annotated[str | None, Field(alias="from")] = None
    to: str | None = None
    bandwidth_gbs: Positive
    latency_us: NotNegative = 0

    @model_validator(mode="after")
    def _has_two_ends(self) -> LinkEntry:
        one_way = (self.source is not None, self.to is not None)
        if one_way != (self.between is None,) * 2:
            raise ValueError("give the two ends as 'between', or as 'from' and 'to'")
        if len(set(self.pairs[0])) == 1:
            raise ValueError(f"both ends are '{self.pairs[0][0]}'")
        return self

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The (source, destination) pairs that it joins."""
        if self.between is None:
            return [(self.source, self.to)]
        first, second = self.between
        return [(first, second), (second, first)]


def check_links(devices: Mapping[str, Description | None], links: Sequence[LinkEntry]) -> None:
    """Check the links of a platform.

    Raises:
        ValueError: one ends at no device or is there twice, or a device with memory of its own has none to the host.
    """
    pairs = [pair for link in links for pair in link.pairs]
    for pair in pairs:
        unknown = [end for end in pair if end != HOST and end not in devices]
        if unknown:
            raise ValueError(f"a link ends at '{unknown[0]}', which is no device of this platform")
        if pairs.count(pair) > 1:
            raise ValueError(f"there are two links from '{pair[0]}' to '{pair[1]}'")
    for device_id, description in devices.items():
        if description is not None and not description.host_memory:
            missing = [pair for pair in ((HOST, device_id), (device_id, HOST)) if pair not in pairs]
            if missing:
                way = " to ".join(missing[0])
                raise ValueError(f"device '{device_id}' has memory of its own, and there is no link from {way}")


def links_by_ends(links: Sequence[LinkEntry]) -> dict[tuple[str, str], Link]:
    """The links as a ``MachineModel`` holds them."""
    return {
        pair: Link(*pair, bandwidth_gbs=link.bandwidth_gbs, latency_ms=link.latency_us / 1e3)
        for link in links
        for pair in link.pairs
    }


def machine(devices: Mapping[str, Description], links: Sequence[LinkEntry]) -> MachineModel:
    """The model of a machine of described devices."""
    return MachineModel({name: device.model() for name, device in devices.items()}, links_by_ends(links))
