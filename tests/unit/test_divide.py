"""Cutting launches among devices."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clnn.devices.info import DeviceInfo
from clnn.devices.model import Curve, DeviceModel, Work
from clnn.kernels import Kernel, Span
from clnn.plan.divide import divide

MODELS = [DeviceModel({"": Curve.flat(rate)}, Curve.flat(1e6), launch_ms=0.0, sync_ms=0.25) for rate in (3e6, 1e6)]


@pytest.mark.parametrize(
    ("operations", "cuts", "shares", "reason"),
    [
        (12e6, (0,), {"fast": 0.75, "slow": 0.25}, "cut: 3.250 ms, whole 4.000"),
        (6e5, (0,), {"fast": 1.0}, "whole: 0.200 ms, cut 0.400"),
        (12e6, (), {"fast": 1.0}, "whole: it cannot be cut"),
    ],
)
def test_reasons_tell_what_was_compared(operations, cuts, shares, reason):
    launch = Kernel("k", "k.cl", cuts=cuts).launch(("x", "y"), (8,))
    parts = divide(launch, Work("k", operations, 0.0), [DeviceInfo("fast"), DeviceInfo("slow")], MODELS)
    assert {part.device: part.share for part in parts} == shares
    assert {part.reason for part in parts} == {reason}


def test_parts_of_a_span_keep_all_compute_units_busy():
    """A device of several units gets its panels in as many work-groups, also when shares change."""
    span = Span(1, 2, 3, 4)
    launch = replace(Kernel("k", "k.cl", cuts=(0, 1)).launch(("x", "y", 0, 12, 12), (1, 1)), span=span)
    devices = [DeviceInfo("fast", compute_units=3), DeviceInfo("slow")]
    fast, slow = divide(launch, Work("k", 12e6, 0.0), devices, MODELS)
    assert (fast.axis, fast.launch.global_size, fast.launch.args[2:]) == (1, (1, 3), (0, 9, 3))
    assert (slow.axis, slow.launch.global_size, slow.launch.args[2:]) == (1, (1, 1), (9, 12, 3))
