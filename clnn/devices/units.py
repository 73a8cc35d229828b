"""What stage kernels are built for on an FPGA-style device."""

from __future__ import annotations

from dataclasses import dataclass

TRANSPORTS = ("buffer", "pipe", "channel")
"""How stages hand packets to each other, see ``opencl/lib/transport.h``."""


@dataclass(frozen=True)
class Units:
    """The processing units of an FPGA-style device, of which every chain of layers uses the same.

    Attributes:
        transport: one of ``TRANSPORTS``.
        width: float32 lanes of a packet.
        lanes: output channels that the GEMM unit computes at once, from one packet per step.
        concurrent: whether kernels run at once, so that each is launched once for all its work.
        line_packets: packets that the line buffer of a unit holds on chip; 0: it is in memory, and as large as needed.
        weight_steps: packets of input for which the GEMM unit holds the weights on chip; 0: they stay in memory.
        fifo_packets: packets that a FIFO holds at most.
        prebuilt: whether the kernels come as a program binary, in which channels are the vendor's own.
    """

    transport: str = "buffer"
    width: int = 16
    lanes: int = 64
    concurrent: bool = False
    line_packets: int = 0
    weight_steps: int = 0
    fifo_packets: int = 2048
    prebuilt: bool = False
