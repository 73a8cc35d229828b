"""Streams on two real devices: results as of the session, policies, the command line's figures."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import clnn
from clnn import env, stages
from clnn.devices import naming
from clnn.errors import DeviceError, InputError, UsageError
from clnn.runtime import discovery
from clnn.tools.benchmark import benchmark
from tests.device.test_session import picture, small_network

PAIR = ("pocl", "intel")


@pytest.fixture
def pair() -> str:
    """Two devices of different drivers, as far as the tests may use them."""
    chosen = env.TEST_DEVICES.get()
    there = {naming.driver_of(info) for info in (discovery.named(chosen) if chosen else discovery.devices())}
    if not set(PAIR) <= there:
        pytest.skip(f"needs the devices {' and '.join(PAIR)}")
    return ",".join(PAIR)


def until_both_work(session: clnn.InferenceSession) -> None:
    """Run a stream until the second device has been timed and takes part."""
    for _ in session.run_many(None, iter(lambda: {"x": picture()} if len(session.stream_images()) < 2 else None, None)):
        pass


@pytest.mark.parametrize("policy", [None, "batch", "pipeline", "single"])
def test_results_are_those_of_run(pair, policy):
    pictures = [picture() for _ in range(20)]
    model = small_network()
    with clnn.InferenceSession(model, devices="pocl") as one:
        expected = [one.run(["y"], {"x": each})[0] for each in pictures]
    with clnn.InferenceSession(model, devices=pair, policy=policy) as session:
        results = [y for (y,) in session.run_many(["y"], ({"x": each} for each in pictures))]
        images = session.stream_images()
        plan = session.stream_plan()
    assert len(results) == len(expected)
    for got, want in zip(results, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    match policy:
        case "single":
            assert (images, plan) == ({}, None)
        case "pipeline":
            assert set(images.values()) == {20}
            assert [stage.stop for stage in plan.stages][-1] == 4 - 1  # Relu is part of the convolution before it
        case _:
            assert sum(images.values()) == 20
            assert sum(plan.shares.values()) == pytest.approx(1)


def test_batch_takes_varying_shapes_and_a_pipeline_does_not(pair):
    feeds = [{"x": picture(height=12 + 2 * (index % 2))} for index in range(6)]
    model = small_network(height="h", width="w")
    with clnn.InferenceSession(model, devices=pair) as session:
        shapes = [y.shape for (y,) in session.run_many(None, feeds)]
        assert shapes == [session.run(None, each)[0].shape for each in feeds]
    with clnn.InferenceSession(model, devices=pair, policy="pipeline") as session:
        stream = session.run_many(None, feeds)
        next(stream)
        with pytest.raises(InputError, match="one shape; use policy batch"):
            next(stream)


@pytest.mark.parametrize("policy", ["batch", "pipeline"])
def test_what_is_wrong_is_told(pair, policy):
    with clnn.InferenceSession(small_network(), devices=pair, policy=policy) as session:
        with pytest.raises(UsageError, match="output 'z' does not exist"):
            session.run_many(["z"], [])
        assert list(session.run_many(None, [])) == []
        stream = session.run_many(None, [{"x": picture()}, {"x": picture()[0]}])
        assert next(stream)[0].shape == (1, 5, 6, 5)
        with pytest.raises(InputError, match="shape is"):
            next(stream)
    with pytest.raises(UsageError, match="closed"):
        session.run_many(None, [])


@pytest.mark.parametrize("policy", ["batch", "pipeline"])
def test_a_device_that_fails_is_dropped_for_good(pair, policy, monkeypatch, caplog):
    from clnn.runtime import worker

    monkeypatch.setattr(stages, "RECUTS", 0)  # so small a network is best left whole, as would be found out
    run = worker.LocalWorker.run
    calls = []

    def fail(self, feeds, outputs):
        calls.append(self.device)
        if self.device == "intel:0" and calls.count("intel:0") > 3:
            raise DeviceError("the driver failed")
        return run(self, feeds, outputs)

    pictures, model = [picture() for _ in range(30)], small_network()
    with clnn.InferenceSession(model, devices=pair, policy=policy) as session, \
            caplog.at_level(logging.WARNING, "clnn"):
        if policy == "batch":
            until_both_work(session)
        monkeypatch.setattr(worker.LocalWorker, "run", fail)
        results = [y for (y,) in session.run_many(None, ({"x": each} for each in pictures))]
        assert session.used_devices() == ["pocl:0"]
        again = [y for (y,) in session.run_many(None, ({"x": each} for each in pictures))]
    assert len(results) == 30
    assert [record.message for record in caplog.records if "dropped" in record.message] == [
        "intel:0 is dropped: the driver failed; its work goes to pocl:0"
    ]
    with clnn.InferenceSession(model, devices="pocl") as one:
        for each, got, second in zip(pictures, results, again, strict=True):
            np.testing.assert_allclose(got, one.run(None, {"x": each})[0], rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(got, second)


def test_single_runs_of_a_batch_session(pair):
    x = picture()
    with clnn.InferenceSession(small_network(), devices=pair, policy="batch") as session:
        futures = [session.run_async(None, {"x": x}) for _ in range(12)]
        expected = session.run(None, {"x": x})[0]
        for future in futures:
            np.testing.assert_allclose(future.result()[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", ["batch", "pipeline"])
def test_bench_times_a_stream(pair, policy, tmp_path):
    path = tmp_path / "small.onnx"
    path.write_bytes(small_network().SerializeToString())
    result = benchmark(path, devices=pair, policy=policy, batch=8, duration_s=0.1)
    assert (result["policy"], result["batched"], result["batch"]) == (policy, False, 8)
    assert result["images_per_s"] == pytest.approx(8e3 / result["median_ms"])
    assert sum(result["shares"].values()) == (8 if policy == "batch" else 8 * len(result["shares"]))
