"""FPGA boards: which stages fit, and what chains take on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clnn.devices import platforms
from clnn.devices.resources import BLOCK_WORDS, Resources, fitting, taken
from clnn.devices.units import Units
from clnn.errors import UsageError
from clnn.kernels.stage_cost import cycles, external_bytes
from clnn.kernels.stages import Chain, Misc, Stream, prove
from clnn.kernels.window import Window
from clnn.tools.simulator import simulate_network
from tests.support import node_model


def stream(name: str, channels: int, size: int, vectors: int) -> Stream:
    strides = (channels * size * size, 1, channels * size, channels)
    return Stream(name, 0, strides, 1, size, size, vectors, 1, channels, 64, channels, 4 * channels * size * size)


def chain(kernel: int = 3) -> Chain:
    """64 to 64 channels of 16×16 pixels, then a 2×2 pool."""
    window = Window(1, 16, 16, 16, 16, kernel, kernel, pad_top=kernel // 2, pad_left=kernel // 2)
    pool = Misc(Window(1, 16, 16, 8, 8, 2, 2, 2, 2), "MAX")
    return Chain("a", stream("x", 64, 16, 4), stream("y", 64, 8, 4), 1, pool, window, "w", 4 * 64 * 256)


BOARD = Units("channel", 16, 64, concurrent=True, line_packets=4096, weight_steps=1024, prebuilt=True)


@pytest.mark.parametrize(("name", "lanes"), [("arria10", 64), ("stratix10", 256), ("de5-net", 16)])
def test_the_stages_of_the_boards_that_ship_fit(name, lanes):
    board = platforms.pick(name).devices[0].describe.board
    assert board.units.lanes == lanes
    assert taken(board.units).within(board.available)


def test_a_larger_board_gets_larger_stages():
    small, large = fitting(Resources(600, 1000)), fitting(Resources(1400, 2500))
    assert small.lanes < large.lanes
    assert not taken(replace(large, lanes=2 * large.lanes)).within(Resources(1400, 2500))


def test_a_board_too_small_is_told():
    with pytest.raises(UsageError, match="no stages fit 100 DSPs and 50 memory blocks: 256 products per clock"):
        fitting(Resources(100, 50))


def test_memory_blocks_are_counted_by_the_floats_read_per_clock():
    units = Units("channel", 16, 64, line_packets=BLOCK_WORDS, weight_steps=BLOCK_WORDS, fifo_packets=BLOCK_WORDS)
    assert taken(units) == Resources(16 * 64 + 16 * 16, 16 * 64 + 2 * 16 + 4 * 16)


def test_cycles_are_those_of_the_steps_and_of_what_is_not_hidden_behind_them():
    steps, first_rows = 16 * 16 * 9 * 4, 16 * 2 * 4
    weights = 9 * 64 * 64
    assert cycles(chain(), BOARD) == steps + first_rows + weights // 16


def test_a_pointwise_product_is_as_fast_as_its_input_comes():
    misc = 16 * 16 * 4 + 8 * 8 * 4 * 4
    assert cycles(chain(1), BOARD) == max(16 * 16 * 4 + 64 * 64 // 16, misc)


def test_bytes_that_cross_the_memory():
    tensors, weights = 4 * 64 * (256 + 64), 4 * 9 * 64 * 64
    assert external_bytes(chain(), BOARD) == tensors + weights
    streamed = replace(BOARD, weight_steps=32)  # of 36
    assert external_bytes(chain(), streamed) == tensors + 256 * weights


def test_a_line_buffer_that_does_not_fit_is_told():
    told = prove(chain(), replace(BOARD, line_packets=128))
    assert told == "the line buffer of gemm would take 192 packets, 128 are on chip"


def test_a_board_is_simulated(tmp_path):
    (tmp_path / "conv.onnx").write_bytes(
        node_model("Conv", [np.zeros((1, 64, 16, 16), np.float32), np.zeros((64, 64, 3, 3), np.float32)], constants=[1],
                   pads=[1] * 4).SerializeToString()
    )  # fmt: skip
    path = str(tmp_path / "conv.onnx")
    found = [simulate_network(path, {}, platform=f"#{name}") for name in ("arria10", "stratix10")]
    figures = [only.as_dict() for (only,) in found]
    assert all(each["latency_ms"] > 0 and each["memory_gbs"] > 0 for each in figures)
    assert figures[0]["energy_j_per_image"] == pytest.approx(44e-3 * figures[0]["utilisation"]["fpga0"]
                                                             * figures[0]["latency_ms"])
    assert figures[1]["energy_j_per_image"] is None
