"""Winograd convolutions as data: when they apply, how they are cut; no OpenCL."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clnn.devices.info import DeviceInfo
from clnn.graph import CHANNELS_LAST, Node, TensorType
from clnn.kernels.window import Window
from clnn.kernels.winograd import choose_blocking, scratch_floats
from clnn.ops import LowerContext
from clnn.ops.convolution import ALGORITHMS, read_convolution

CPU = DeviceInfo("cpu0", compute_units=2, local_mem=1 << 22)


def applicable(channels_in: int, channels_out: int, device: DeviceInfo = CPU) -> set[str]:
    """The algorithms for a 3×3 convolution of a picture of 8×8 pixels with constant weights."""
    shapes = {"x": (1, channels_in, 8, 8), "w": (channels_out, channels_in, 3, 3), "y": (1, channels_out, 6, 6)}
    types = {name: TensorType(shape, "float32") for name, shape in shapes.items()}
    types["x"] = types["x"].with_layout(CHANNELS_LAST)
    node, weights = Node("n", "Conv", ("x", "w"), ("y",), {}, 22), np.broadcast_to(np.float32(0), shapes["w"])
    ctx = LowerContext(node, types, {"w": weights}, device)
    return {each.name for each in ALGORITHMS if each.applies(read_convolution(node, types), ctx)}


def test_it_applies_from_16_channels_on_where_local_memory_suffices():
    assert applicable(15, 64) == {"implicit GEMM"}
    assert applicable(16, 64) == {"implicit GEMM", "Winograd F(2×2)", "Winograd F(4×4)"}
    assert applicable(16, 64, replace(CPU, local_mem=1024)) == {"implicit GEMM"}


def test_weights_that_the_kernel_cannot_count():
    """Transformed they are 16 ÷ 9 or 4 times as many, which 32 bits must count."""
    assert applicable(1024, 49152) == {"implicit GEMM", "Winograd F(2×2)", "Winograd F(4×4)"}
    assert applicable(1024, 65536) == {"implicit GEMM", "Winograd F(2×2)"}
    assert applicable(1024, 147456) == {"implicit GEMM"}


def test_accumulators_fit_the_registers():
    """32 registers of 16 lanes, or 16 of 8, of which an accumulator takes two."""
    window = Window(1, 40, 40, 40, 40, 3, 3, pad_top=1, pad_left=1)
    for vector_width, most in ((16, 28), (8, 6)):
        blocking = choose_blocking(window, 64, 64, 4, replace(CPU, vector_width=vector_width))
        assert blocking.rows * blocking.lanes // 16 <= most


@pytest.mark.parametrize("size", [2, 4])
def test_scratch_fits_local_memory(size):
    conv = read_convolution(
        Node("n", "Conv", ("x", "w"), ("y",), {"pads": (1, 1, 1, 1)}, 22),
        {name: TensorType(shape, "float32")
         for name, shape in {"x": (1, 96, 40, 40), "w": (96, 96, 3, 3), "y": (1, 96, 40, 40)}.items()},
    )  # fmt: skip
    for local_mem in (1 << 18, 1 << 19, 1 << 20):
        blocking = choose_blocking(conv.window, 96, 96, size, replace(CPU, local_mem=local_mem))
        assert blocking is not None
        assert blocking.tiles % blocking.rows == 0
        assert 4 * scratch_floats(size, blocking.tiles, 96, blocking.lanes) <= local_mem
