"""A pytest plugin, active wherever clnn is installed: the fixture ``clnn_device``.

    def test_network(clnn_device):
        session = clnn.InferenceSession("model.onnx", devices=clnn_device)

The test runs once for each usable device, whose id (``"pocl:0"``) is the fixture's value. $CLNN_TEST_DEVICES names
other ones, and each of those must be there. Without any device the test is skipped, but where $CI is set it fails: a
green run that tested nothing would mislead.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class _Missing:
    """Stands for the device when there is none."""

    reason: str
    fails: bool


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise tests that use ``clnn_device``."""
    if "clnn_device" in metafunc.fixturenames:
        devices = _devices()
        metafunc.parametrize("clnn_device", devices, indirect=True,
                             ids=[device if isinstance(device, str) else "no-device" for device in devices])


@pytest.fixture
def clnn_device(request: pytest.FixtureRequest) -> str:
    """Id of an OpenCL device; the test runs for each of them."""
    device = request.param
    if isinstance(device, _Missing):
        if device.fails:
            pytest.fail(device.reason)
        pytest.skip(device.reason)
    return device


def _devices() -> list[str | _Missing]:
    # Imported here because pytest loads plugins in every project of the environment.
    from clnn import env
    from clnn.errors import ClnnError
    from clnn.runtime import discovery

    wanted = env.TEST_DEVICES.get()
    try:
        if wanted:
            return [info.id for info in discovery.named(wanted)]
        usable = [info.id for info in discovery.devices() if info.usable and not info.interpreter]
        return usable or [info.id for info in discovery.named()]
    except ClnnError as error:
        return [_Missing(str(error), fails=bool(wanted or os.environ.get("CI")))]
