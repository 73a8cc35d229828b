"""Launches cut in parts, on one device and among several, over random networks."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from clnn import InferenceSession
from clnn.kernels import Launch
from clnn.plan import Run, divide
from clnn.plan.divide import Part
from clnn.runtime import discovery, programs
from clnn.runtime.executor import Executor
from clnn.runtime.loaded import LoadedPlan
from tests.device.test_random_networks import NODES, TOLERANCE, RandomNet
from tests.support import relative_error

PAIR = ("pocl:0", "intel:0")


def pieces(launch: Launch, random: np.random.Generator, most: int) -> list[Launch]:
    """A launch cut at random, along one dimension, in at most ``most`` parts."""
    axes = [axis for axis in launch.kernel.cuts if axis < len(launch.global_size) and launch.groups(axis) > 1]
    if not axes:
        return [launch]
    axis = axes[random.integers(len(axes))]
    groups = launch.groups(axis)
    cuts = sorted({0, groups, *random.integers(1, groups, most - 1).tolist()})
    return [launch.part(axis, start, stop) for start, stop in zip(cuts, cuts[1:], strict=False)]


@pytest.mark.parametrize("seed", range(200, 208))
def test_parts_of_launches_compute_the_same_bits(clnn_device: str, seed: int):
    check_parts(clnn_device, seed)


@pytest.mark.usefixtures("as_gpu")
def test_parts_of_launches_for_gpus_compute_the_same_bits(clnn_device: str):
    check_parts(clnn_device, 224)  # with products, pooling, depthwise, normalisation, copies and elementwise kernels


def check_parts(device: str, seed: int) -> None:
    net = RandomNet(seed)
    with InferenceSession(net.grow(NODES), devices=device) as session:
        feeds = {"x": net.random.standard_normal(net.shapes["x"], np.float32)}
        whole = session.run(None, feeds)
        plan = session.plan()
        steps = [
            part
            for step in plan.steps
            for part in (
                # twice, as a device with a slowdown does it
                [replace(step, launch=launch) for launch in pieces(step.launch, net.random, 4) for _ in range(2)]
                if isinstance(step, Run)
                else [step]
            )
        ]
        runs = sum(isinstance(step, Run) for step in plan.steps)
        assert len(steps) > len(plan.steps) + runs, "nothing was cut"
        opened = {info.id: discovery.open_device(info) for info in session.get_devices()}
        loaded = LoadedPlan(replace(plan, steps=tuple(steps)), opened, programs.shared())
        cut = Executor(loaded).run(feeds, plan.graph.outputs)
    for a, b in zip(whole, cut, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def at_random(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes teams cut every launch at random, from a seed on."""

    def seeded(seed: int) -> None:
        random = np.random.default_rng(seed)

        def cut(launch, work, members, models):
            order = random.permutation(len(members))
            parts = pieces(launch, random, len(members))
            return tuple(Part(members[order[i]].id, part, 1 / len(parts)) for i, part in enumerate(parts))

        monkeypatch.setattr(divide, "divide", cut)

    return seeded


@pytest.mark.parametrize("policy", ["split", "heft"])
@pytest.mark.parametrize("seed", range(300, 306))
def test_two_drivers_compute_what_one_does(at_random: Callable[[int], None], seed: int, policy: str):
    usable = {info.id for info in discovery.devices() if info.usable}
    if not usable.issuperset(PAIR):
        reason = "needs PoCL and Intel's runtime"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    net = RandomNet(seed)
    model = net.grow(NODES)
    feeds = [{"x": net.random.standard_normal(net.shapes["x"], np.float32)} for _ in range(3)]
    with InferenceSession(model, devices=PAIR[0]) as session:
        expected = [session.run(None, each) for each in feeds]
    at_random(seed)
    with InferenceSession(model, devices=PAIR, policy=policy) as session:
        for each, wanted in zip(feeds, expected, strict=True):
            for a, b in zip(session.run(None, each), wanted, strict=True):
                assert relative_error(a, b) <= TOLERANCE
        assert policy == "heft" or len(session.used_devices()) == 2
