"""Devices that fail or hang in the midst of a run: found, and done without."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pyopencl as cl
import pytest

import clnn
from clnn.runtime import culprit, discovery
from clnn.runtime.culprit import responds
from tests.device.kinds import FEEDS, is_right, network


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch):
    """Lets a queue of a device wait for ever, from a launch on; until the end of the test."""
    held = []

    def hang(device: str, number: int) -> None:
        enqueue, handle = cl.enqueue_nd_range_kernel, discovery.open_device(_info(device)).device
        count = iter(range(1 << 30))

        def hung(queue, *args, **kwargs):
            if queue.device == handle and next(count) == number:
                held.append(cl.UserEvent(queue.context))
                cl.enqueue_barrier(queue, wait_for=held[-1:])
            return enqueue(queue, *args, **kwargs)

        monkeypatch.setattr(cl, "enqueue_nd_range_kernel", hung)

    yield hang
    for event in held:
        event.set_status(cl.command_execution_status.COMPLETE)


def _info(device: str):
    return next(info for info in discovery.devices() if info.id == device)


@pytest.mark.parametrize("policy", ["single", "split"])
@pytest.mark.parametrize("launch", [0, 5])
def test_a_device_that_hangs_is_dropped(pair, hanging, caplog, policy, launch):
    model = network()
    for devices in (*pair, pair):  # so that drivers have compiled
        with clnn.InferenceSession(model, devices, policy) as session:
            session.run(None, FEEDS)
            hung = session.used_devices()[0]
    hanging(hung, launch)
    with clnn.InferenceSession(model, pair, policy, {"timeout_s": 1.5}) as session:
        assert is_right(session.run(None, FEEDS), model)
        assert session.used_devices() == [device for device in pair if device != hung]
    (warning,) = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert f"{hung} is dropped" in warning
    assert "timeout_s" in warning


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets launches on devices fail, also those that are prepared already."""
    enqueue, handles = cl.enqueue_nd_range_kernel, []

    def enqueue_or_fail(queue, *args, **kwargs):
        if queue.device in handles:
            raise cl.RuntimeError("DEVICE_NOT_AVAILABLE: pulled out")
        return enqueue(queue, *args, **kwargs)

    monkeypatch.setattr(cl, "enqueue_nd_range_kernel", enqueue_or_fail)
    return lambda *devices: handles.extend(discovery.open_device(_info(device)).device for device in devices)


def test_a_device_that_fails_is_dropped(pair, failing, caplog):
    model = network()
    with clnn.InferenceSession(model, pair, "split") as session:
        failing(session.used_devices()[-1])
        results = session.run_async(None, FEEDS), session.run_async(None, FEEDS)
        assert all(is_right(result.result(timeout=60), model) for result in results)
    assert len([record for record in caplog.records if "pulled out" in record.message]) == 1


def test_all_devices_fail(pair, failing):
    with clnn.InferenceSession(network(), pair) as session:
        failing(*pair)
        with pytest.raises(clnn.DeviceError, match="no device is left: .*pulled out.*was dropped before: .*pulled out"):
            session.run(None, FEEDS)


def test_the_only_device_fails(clnn_device, failing):
    with clnn.InferenceSession(network(), clnn_device) as session:
        failing(clnn_device)
        with pytest.raises(clnn.DeviceError, match="pulled out") as raised:
            session.run(None, FEEDS)
        assert raised.value.device == clnn_device


def test_a_probe_finds_the_device_that_fails(pair, monkeypatch):
    opened = [discovery.open_device(_info(device)) for device in pair]
    assert all(responds(device) for device in opened)
    error = clnn.DeviceError("somebody failed")
    assert culprit.culprit(error, opened) is None
    fill, broken = cl.enqueue_fill_buffer, opened[1]

    def failed(queue, *args, **kwargs):
        if queue.device == broken.device:
            raise cl.RuntimeError("OUT_OF_ORDER")
        return fill(queue, *args, **kwargs)

    monkeypatch.setattr(cl, "enqueue_fill_buffer", failed)
    assert culprit.culprit(error, opened) == pair[1]
