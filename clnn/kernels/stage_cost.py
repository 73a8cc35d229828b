"""What a chain of stages takes where its kernels run at once: clocks, and bytes that cross the external memory.

Every stage is taken to handle a packet per clock, which is what its loops are written for; no vendor's compiler was at
hand to confirm it.
"""

from __future__ import annotations

from clnn.devices.units import Units
from clnn.kernels.stages import Chain
from clnn.kernels.window import Window

WEIGHTS_PER_CLOCK = 16
"""Weights that the GEMM unit loads per clock: 64 bytes, the width of a memory port."""


def external_bytes(chain: Chain, units: Units) -> int:
    """Bytes that the stages of a chain read from memory and write to it."""
    read = chain.source.packets + (chain.residual.packets if chain.residual else 0)
    streams = chain.passes * (read + chain.target.packets) * 4 * units.width
    return streams + 4 * _weights_loaded(chain, units)


def cycles(chain: Chain, units: Units) -> int:
    """Clocks that the busiest stage takes; the others keep up with it."""
    return max(
        chain.passes * max(chain.source.packets, chain.target.packets),
        chain.passes * _misc_cycles(chain),
        _gemm_cycles(chain, units) if chain.product else 0,
    )


def _misc_cycles(chain: Chain) -> int:
    """A clock for each packet that comes, and for each that a result of a window is made of."""
    window = chain.misc.window
    if window is None:
        return chain.target.packets
    return (window.height * window.width + window.out_height * window.out_width * window.taps) * chain.target.vectors


def _gemm_cycles(chain: Chain, units: Units) -> int:
    """A clock for each step of each pixel, and for each packet that does not come in meanwhile."""
    steps = chain.product.out_height * chain.product.out_width * chain.steps
    waits = min(_exposed_pixels(chain.product) * chain.source.vectors, chain.source.packets)
    loads = _weights_loaded(chain, units) // WEIGHTS_PER_CLOCK
    return chain.passes * (steps + waits) + loads


def _exposed_pixels(window: Window) -> int:
    """Pixels that come while nothing can be computed: the first rows, and what strides skip."""
    first = window.width * (window.kernel_h - 1) * window.dilation_h
    between_rows = (window.stride_h - 1) * window.width
    within_rows = window.out_width * max(0, window.stride_w - window.taps)
    return first + window.out_height * (between_rows + within_rows)


def _weights_loaded(chain: Chain, units: Units) -> int:
    """Weights that are read: once for each group that the unit can hold on chip, else for every pixel."""
    if not chain.product:
        return 0
    held = not units.concurrent or chain.steps <= units.weight_steps
    pixels = 1 if held else chain.product.rows
    return chain.groups * pixels * chain.steps * units.width * units.lanes
