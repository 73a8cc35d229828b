"""Streams over two devices in child processes, one of which is killed, frozen or slowed in mid-stream."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import clnn
from clnn import env
from clnn.runtime import discovery
from tests.device.test_session import picture, small_network

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there are no isolated devices on Windows")

COUNT = 1000
FAULT_AT = 300


@pytest.fixture(scope="module")
def platforms(tmp_path_factory) -> str:
    try:
        device = discovery.named(env.TEST_DEVICES.get())[0].id
    except clnn.NoDeviceError as error:
        pytest.skip(str(error))
    file = tmp_path_factory.mktemp("faults") / "two.yaml"
    lines = [f"      - {{id: apart{index}, select: '{device}', isolate: true}}\n" for index in range(2)]
    file.write_text("version: 1\nplatforms:\n  two:\n    devices:\n" + "".join(lines))
    return f"{file}#two"


def children(session: clnn.InferenceSession) -> dict[str, int]:
    """The process of each device's worker for streams, by device id."""
    workers = {device: worker for (device, _), worker in session._streams._workers.items()}
    return {device: worker._child._process.pid for device, worker in workers.items()}


def kill(pid: int, over: threading.Event) -> None:
    os.kill(pid, signal.SIGKILL)


def freeze(pid: int, over: threading.Event) -> None:
    os.kill(pid, signal.SIGSTOP)


def slow_down(pid: int, over: threading.Event) -> None:
    """Let the process run a third of the time until the stream is over."""

    def alternate() -> None:
        while not over.is_set():
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.004)
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.002)

    threading.Thread(target=alternate, daemon=True).start()


@pytest.mark.parametrize("policy", ["batch", "pipeline"])
@pytest.mark.parametrize("fault", [kill, freeze, slow_down])
def test_each_result_comes_once_right_and_in_order(
    platforms, fault: Callable[[int, threading.Event], None], policy, monkeypatch, caplog
):
    # so small a network is best left whole, as would be found out
    monkeypatch.setattr("clnn.schedule.pipeline.RECUTS", 0)
    model, pictures, over = small_network(), [picture() for _ in range(16)], threading.Event()
    with clnn.InferenceSession(model, platforms=platforms, policy=policy) as session:
        expected = [session.run(None, {"x": each})[0] for each in pictures]
        while len(session.stream_images()) < 2:  # until both have been timed and take part
            list(session.run_many(None, ({"x": each} for each in pictures)))
        if policy == "pipeline":
            victim = session._streams._stages[1][-1].worker
            name, pid = victim.device, victim._child._process.pid
        else:
            name, pid = max(children(session).items())

        def feeds() -> Iterator[dict[str, np.ndarray]]:
            for index in range(COUNT):
                if index == FAULT_AT:
                    fault(pid, over)
                yield {"x": pictures[index % len(pictures)]}

        try:
            with caplog.at_level(logging.WARNING, "clnn"):
                results = [y for (y,) in session.run_many(None, feeds())]
        finally:
            over.set()
        images = session.stream_images()
    assert len(results) == COUNT
    for index, result in enumerate(results):
        np.testing.assert_allclose(result, expected[index % len(pictures)], rtol=1e-5, atol=1e-6)
    if policy == "batch":
        assert sum(images.values()) == COUNT
    if fault is kill:
        assert f"{name} is dropped" in caplog.text
