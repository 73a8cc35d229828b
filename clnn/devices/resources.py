"""What the stages of a chain take of an FPGA, and the largest that fit one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from clnn.devices.units import Units
from clnn.errors import UsageError

BLOCK_WORDS = 512
"""Floats that a memory block (an M20K: 512 words of 40 bits) holds, one of which it gives per clock."""
MISC_DSPS_PER_LANE = 16
"""Assumed: additions and multiplications of the unit for miscellaneous layers, for each lane of a packet."""
FIFOS = 4
LINE_BUFFERS = 2

_LANES = (256, 128, 64, 32, 16)
_WEIGHT_STEPS = (2048, 1024, 512)
_LINE_PACKETS = (32768, 16384, 8192, 4096, 2048)


@dataclass(frozen=True)
class Resources:
    """Blocks of an FPGA: ``dsps`` each multiply and add two float32 per clock, ``memory_blocks`` are of 20 Kbit."""

    dsps: int
    memory_blocks: int

    @property
    def memory_bytes(self) -> int:
        """Bytes that the memory blocks hold as float32."""
        return 4 * BLOCK_WORDS * self.memory_blocks

    def within(self, other: Resources) -> bool:
        """Whether there are as many of each in ``other``."""
        return self.dsps <= other.dsps and self.memory_blocks <= other.memory_blocks


def taken(units: Units) -> Resources:
    """An estimate of what units take: a DSP for each product per clock, a memory block for each float read per clock.

    Logic and registers, and the memory that a compiler takes for the bursts of its memory ports, are not counted.
    """
    array = units.width * units.lanes
    weights = array * -(-units.weight_steps // BLOCK_WORDS)
    lines = LINE_BUFFERS * units.width * -(-units.line_packets // BLOCK_WORDS)
    fifos = FIFOS * units.width * -(-units.fifo_packets // BLOCK_WORDS)
    return Resources(array + MISC_DSPS_PER_LANE * units.width, weights + lines + fifos)


def fitting(available: Resources, width: int = 16, lanes: int | None = None) -> Units:
    """The units with most lanes that fit, of those the ones that hold most weights, then the longest line buffers.

    Raises:
        UsageError: none fit.
    """
    base = Units("channel", width, concurrent=True, fifo_packets=BLOCK_WORDS, prebuilt=True)
    for count in (lanes,) if lanes else _LANES:
        for steps in _WEIGHT_STEPS:
            for packets in _LINE_PACKETS:
                units = replace(base, lanes=count, weight_steps=steps, line_packets=packets)
                if taken(units).within(available):
                    return units
    raise UsageError(
        f"no stages fit {available.dsps} DSPs and {available.memory_blocks} memory blocks: "
        f"{(lanes or _LANES[-1]) * width} products per clock are the least; describe a larger board"
    )
