"""Devices that compute wrongly: found, named, and done without."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable

import numpy as np
import pytest

import clnn
from clnn.kernels import source
from clnn.runtime import quarantine, verify
from clnn.runtime.programs import ProgramCache
from tests.device.kinds import FEEDS, is_right, network
from tests.device.test_random_networks import NODES, RandomNet


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known to be right or in quarantine, before the test or after it."""
    monkeypatch.setattr(verify, "_right", set())
    monkeypatch.setattr(quarantine, "_reasons", {})
    monkeypatch.setattr(verify, "_FORMAT", f"test {uuid.uuid4()}")


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Lets the pooling kernels of a device miscompute, as a compiler with a fault might."""

    def break_device(device: str, name: str = "pool.cl") -> None:
        build, read = ProgramCache.build, source.read

        def wrong(self, opened, wanted, options=()):
            if opened.info.id != device or wanted != name:
                return build(self, opened, wanted, options)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(source, "read", lambda wanted: "#define fmax fmin\n#define max min\n" + read(wanted))
                return build(self, opened, wanted, options)

        monkeypatch.setattr(ProgramCache, "build", wrong)

    return break_device


def test_each_kind_of_kernel_is_checked_once_and_right(clnn_device, caplog, monkeypatch):
    model, compared = network(), []
    monkeypatch.setattr(verify.reference, "error", lambda *a, error=verify.reference.error: compared.append(error(*a))
                        or compared[-1])
    with clnn.InferenceSession(model, clnn_device, options={"verify": "first_run"}) as session:
        assert not compared
        assert is_right(session.run(None, FEEDS), model)
        assert len(compared) >= 8
        assert max(compared) < 1e-5
        kernels = {step.launch.kernel.source for step in session.plan().steps if hasattr(step, "launch")}
    assert kernels >= {"winograd.cl", "separable.cl", "pool.cl", "chain.cl", "conv_gemm.cl", "normalize.cl"}
    checks = len(compared)
    for right in (verify._right, set()):  # known in the process, then from the cache folder
        monkeypatch.setattr(verify, "_right", right)
        with clnn.InferenceSession(model, clnn_device, options={"verify": "first_run"}) as session:
            session.run(None, FEEDS)
            session.run(None, FEEDS)
    assert len(compared) == checks
    assert not caplog.records


@pytest.mark.parametrize("seed", range(400, 404))
def test_random_networks_raise_no_alarm(clnn_device, seed, caplog):
    net = RandomNet(seed)
    with clnn.InferenceSession(net.grow(NODES), clnn_device, options={"verify": "first_run"}) as session:
        session.run(None, {"x": net.random.standard_normal(net.shapes["x"], np.float32)})
    assert not [record for record in caplog.records if "dropped" in record.message or "verified" in record.message]


def test_the_only_device_computes_wrongly(clnn_device, breaking):
    breaking(clnn_device)
    model = network()
    with (
        clnn.InferenceSession(model, clnn_device, options={"verify": "first_run"}) as session,
        clnn.InferenceSession(model, clnn_device) as other,
    ):
        for _ in range(2):
            with pytest.raises(clnn.DeviceError, match=rf"{clnn_device}.*computes wrongly.*MaxPool.*pool.cl with '-D"):
                session.run(None, FEEDS)
        with pytest.raises(clnn.DeviceError, match="computes wrongly"):
            other.run(None, FEEDS)
    # What was wrong is never taken for right by a later process.
    quarantine._reasons.clear()
    verify._right.clear()
    later = clnn.InferenceSession(model, clnn_device, options={"verify": "first_run"})
    with later, pytest.raises(clnn.DeviceError, match="computes wrongly"):
        later.run(None, FEEDS)


@pytest.mark.parametrize("policy", ["single", "split"])
def test_another_device_takes_over(pair, breaking, caplog, policy):
    model = network()
    with clnn.InferenceSession(model, pair, policy) as session:
        wrong = session.used_devices()[0]
    breaking(wrong)
    left = [device for device in pair if device != wrong]
    with clnn.InferenceSession(model, pair, policy, {"verify": "first_run"}) as session:
        assert is_right(session.run(None, FEEDS), model)
        assert is_right(session.run(None, FEEDS), model)
        assert session.used_devices() == left
    (warning,) = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert f"{wrong} is dropped" in warning
    assert "pool.cl" in warning
    with clnn.InferenceSession(model, pair, policy) as session:
        assert is_right(session.run(None, FEEDS), model)
        assert session.used_devices() == left


def test_streams_do_without_a_device_that_computes_wrongly(pair, breaking, caplog):
    breaking(pair[1])
    model = network()
    with clnn.InferenceSession(model, pair, "batch", {"verify": "first_run"}) as session:
        results = list(session.run_many(None, [FEEDS] * 6))
    assert len(results) == 6
    assert all(is_right(each, model) for each in results)
    (warning,) = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert f"{pair[1]} is dropped" in warning


@pytest.mark.skipif(os.name == "nt", reason="there are no isolated devices on Windows")
def test_a_device_in_a_child_process_is_checked_there(clnn_device, tmp_path, caplog):
    file = tmp_path / "platforms.yaml"
    file.write_text("version: 1\nplatforms:\n  apart:\n    devices:\n"
                    f"      - {{id: apart, select: '{clnn_device}', isolate: true}}\n")
    model = network()
    with clnn.InferenceSession(model, platforms=f"{file}#apart", options={"verify": "first_run"}) as session:
        assert is_right(session.run(None, FEEDS), model)
    assert len(verify._right) >= 8
    assert not caplog.records
