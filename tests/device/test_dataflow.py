"""Chains of stages on FPGA-style devices: what is proven runs to its end, with the same result by any transport."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from clnn import plan, schedule
from clnn.devices.units import Units
from clnn.errors import NoDeviceError, UsageError
from clnn.ops.dataflow import OP
from clnn.plan import Plan, Run
from clnn.runtime import programs, selection
from clnn.runtime.discovery import OpenDevice
from clnn.runtime.executor import Executor
from clnn.runtime.loaded import LoadedPlan
from clnn.schedule import CostModel
from tests.chains import MANY_CHAINS, RandomChain
from tests.support import relative_error

TOLERANCE = 1e-5
"""Of the largest value: float32 sums of at most 1,000 products of normal numbers against float64."""
WATCHDOG_S = 60.0
BEDS = (("pocl", "buffer"), ("intel", "buffer"), ("intel", "pipe"), ("intel", "channel"))


@cache
def opened(driver: str) -> OpenDevice:
    try:
        (device,) = selection.select(driver)
    except NoDeviceError as error:
        pytest.skip(f"needs {driver}: {error}")
    return device


def units(seed: int, transport: str) -> Units:
    """Units of random sizes, with FIFOs from as small as can be to as large as chains want."""
    random = np.random.default_rng(seed)
    width, lanes = ((4, 16), (8, 32), (16, 32))[random.integers(3)]
    return Units(transport, width, lanes, fifo_packets=int(random.choice([4, 9, 64, 2048])))


def planned(chain: RandomChain, device: OpenDevice, built_for: Units) -> tuple[Plan, OpenDevice]:
    """The chain planned for a device with these units, which is given back with them."""
    device = replace(device, info=replace(device.info, id="fpga0", units=built_for))
    scheduled = schedule.find_policy("single")(chain.graph, [device.info], CostModel())
    return plan.build(plan.lower(chain.graph, scheduled, [device.info]), [device.info]), device


def run(whole: Plan, device: OpenDevice, feeds: dict[str, np.ndarray]) -> np.ndarray:
    executor = Executor(LoadedPlan(whole, {"fpga0": device}, programs.shared()), timeout_s=WATCHDOG_S)
    (first,) = executor.run(feeds, whole.graph.outputs)
    (again,) = executor.run(feeds, whole.graph.outputs)
    np.testing.assert_array_equal(first, again)  # FIFOs are left as they were found
    return first


def check(seed: int, beds) -> bool:
    """Run the random chain of this seed on each bed; whether some of it ran as stages."""
    chain = RandomChain(seed)
    feeds, results = chain.feeds(), []
    for driver, transport in beds:
        whole, device = planned(chain, opened(driver), units(seed, transport))
        results.append(run(whole, device, feeds))
        assert relative_error(results[-1], chain.expected(feeds)) < TOLERANCE
        chained = [node for node in whole.graph.nodes if node.op == OP]
        ordinary = [node.name for node in whole.graph.nodes if node not in chained and "/" not in node.name]
        reasons = [whole.schedule.assignments[name].reason for name in ordinary]
        assert all("an ordinary kernel: " in reason for reason in reasons)
    if len(chained) == len(whole.graph.nodes):
        for other in results[1:]:
            np.testing.assert_array_equal(results[0], other)
    return bool(chained)


@pytest.mark.parametrize("block", range(4))
def test_random_chains(block):
    chained = [check(seed, BEDS) for seed in range(25 * block, 25 * (block + 1))]
    assert sum(chained) > len(chained) / 3


@pytest.mark.parametrize("seed", [2568])
def test_a_depthwise_convolution_with_a_residual_is_no_chain(seed):
    assert not check(seed, BEDS[:1])


@pytest.mark.slow
@pytest.mark.parametrize("block", range(MANY_CHAINS // 100))
def test_many_random_chains(block):
    for seed in range(1000 + 100 * block, 1100 + 100 * block):
        check(seed, BEDS[:1] + BEDS[2:3])


@pytest.mark.parametrize("seed", range(12))
def test_stores_on_chip_make_no_difference(seed, monkeypatch):
    """The form for boards: whole launches, with line buffers and weights in local memory. Here FIFOs hold all."""
    monkeypatch.setattr("clnn.kernels.stages.most_depth", lambda nbytes, packet_bytes: 1 << 16)
    chain, device = RandomChain(seed), opened("pocl")
    feeds = chain.feeds()
    board = Units("buffer", 4, 16, concurrent=True, line_packets=1024, weight_steps=64, fifo_packets=1 << 16)
    whole, device = planned(chain, device, board)
    for node in whole.graph.nodes:
        launches = [step.launch.kernel.name for step in whole.steps if isinstance(step, Run) and step.node == node.name]
        assert len(launches) == len(set(launches))
    assert any(node.op == OP for node in whole.graph.nodes)
    assert relative_error(run(whole, device, feeds), chain.expected(feeds)) < TOLERANCE


def test_pipes_need_a_device_that_has_them(tmp_path):
    file = tmp_path / "platforms.yaml"
    entry = "{id: fpga0, select: pocl, style: fpga, transport: pipe}"
    file.write_text(f"version: 1\nplatforms:\n  mine:\n    devices:\n      - {entry}\n")
    with pytest.raises(UsageError, match="has no pipes: use 'transport: buffer'"):
        selection.select(platforms=f"{file}#mine")
