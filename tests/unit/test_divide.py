"""Cutting launches among devices."""

from __future__ import annotations

import pytest

from clnn.devices.info import DeviceInfo
from clnn.devices.model import Curve, DeviceModel, Work
from clnn.kernels import Kernel
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
