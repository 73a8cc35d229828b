"""The stream engine on made-up workers: order, each result once, devices that fail, threads that end."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from clnn.errors import BuildError, DeadlineError, DeviceError, InputError, OutOfMemoryError
from clnn.runtime.batch import stream_batch
from clnn.runtime.pipeline import StageRunner, stream_pipeline
from clnn.runtime.roster import Roster, WorkerLost
from clnn.runtime.window import Window


class FakeWorker:
    """Adds 1 to what it is fed; ``fault(call, value)`` may raise, or take its time."""

    def __init__(self, device: str, fault: Callable[[int, int], None] = lambda call, value: None) -> None:
        self.device = device
        self.done: list[int] = []
        self._fault = fault

    def run(self, feeds, outputs):
        value = int(next(iter(feeds.values()))[0])
        self._fault(len(self.done), value)
        self.done.append(value)
        return [np.array([value + 1]) for _ in outputs]

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = threading.active_count()
    yield
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def numbers(count: int) -> Iterator[dict[str, np.ndarray]]:
    return ({"x": np.array([index])} for index in range(count))


def known(item_ms: dict[str, float]) -> Roster:
    """Devices that have been timed."""
    roster = Roster(list(item_ms))
    for device, each in item_ms.items():
        roster.record(device, 1000.0)  # the first one does not count
        roster.record(device, each)
    return roster


def batch(workers, feeds, roster=None, at_once=None) -> Iterator[int]:
    roster = roster or known({worker.device: 1.0 for worker in workers})
    return (int(y[0]) for (y,) in stream_batch(Window(feeds), workers, roster, ["y"], at_once))


def pipeline(workers, feeds, roster=None) -> Iterator[int]:
    """As many stages as there are devices, each of which adds 1."""
    by_device = {worker.device: worker for worker in workers}
    roster = roster or Roster(list(by_device))

    def make_stages(present, feeds):
        names = ["x", *(f"t{index}" for index in range(1, len(present))), "y"]
        return [
            StageRunner(by_device[device], (names[index],), (names[index + 1],))
            for index, device in enumerate(present)
        ]

    return (int(y[0]) for (y,) in stream_pipeline(Window(feeds), make_stages, roster, ["y"], 2))


def fails_at(call: int, error: Exception) -> Callable[[int, int], None]:
    def fault(calls: int, value: int) -> None:
        if calls == call:
            raise error

    return fault


def takes(seconds: float) -> Callable[[int, int], None]:
    return lambda call, value: time.sleep(seconds)


def wrong_item(call: int, value: int) -> None:
    if value == 5:
        raise InputError("the fifth is wrong")


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_batch_keeps_the_order(count):
    workers = [FakeWorker("a", takes(0.002)), FakeWorker("b", takes(0.001)), FakeWorker("c")]
    assert list(batch(workers, numbers(count))) == list(range(1, count + 1))
    assert sorted(value for worker in workers for value in worker.done) == list(range(count))


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_pipeline_keeps_the_order(count):
    workers = [FakeWorker("a"), FakeWorker("b", takes(0.001)), FakeWorker("c")]
    assert list(pipeline(workers, numbers(count))) == list(range(3, count + 3))
    assert all(len(worker.done) == count for worker in workers)


@pytest.mark.parametrize("error", [DeviceError("it died"), DeadlineError("it hung"), OutOfMemoryError("it is full")])
@pytest.mark.parametrize("call", [0, 7])
def test_batch_does_without_a_device_that_fails(call, error, caplog):
    workers = [FakeWorker("a", fails_at(call, error)), FakeWorker("b", takes(0.001))]
    roster = known({"a": 1.0, "b": 1.0})
    with caplog.at_level(logging.WARNING, "clnn"):
        assert list(batch(workers, numbers(40), roster)) == list(range(1, 41))
    assert [record.message for record in caplog.records] == [f"a is dropped: {error}; its work goes to b"]
    assert roster.present == ["b"]
    assert roster.images == {"a": call, "b": 40 - call} if call else {"b": 40}


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("call", [0, 7])
def test_pipeline_does_without_a_device_that_fails(position, call, caplog):
    workers = [FakeWorker(name) for name in "abc"]
    workers[position] = FakeWorker("abc"[position], fails_at(call, DeviceError("it died")))
    with caplog.at_level(logging.WARNING, "clnn"):
        results = list(pipeline(workers, numbers(40)))
    # Results tell by how many stages they were made: three before the loss, two after it.
    stages = [result - index for index, result in enumerate(results)]
    assert len(stages) == 40
    assert stages == sorted(stages, reverse=True)
    assert set(stages) <= {3, 2}
    assert stages[-1] == 2
    assert len(caplog.records) == 1


def test_a_device_that_cannot_load_its_stage(caplog):
    good = FakeWorker("b")

    def make_stages(present, feeds):
        if "a" in present:
            raise WorkerLost("a", BuildError("no kernel builds"))
        return [StageRunner(good, ("x",), ("y",))]

    with caplog.at_level(logging.WARNING, "clnn"):
        results = list(stream_pipeline(Window(numbers(3)), make_stages, Roster(["a", "b"]), ["y"], 2))
    assert [int(y[0]) for (y,) in results] == [1, 2, 3]
    assert "a is dropped: no kernel builds" in caplog.text


@pytest.mark.parametrize("stream", [batch, pipeline])
def test_nobody_left(stream):
    faults = {"a": fails_at(3, DeviceError("it died")), "b": fails_at(6, DeadlineError("hung"))}
    workers = [FakeWorker(device, fault) for device, fault in faults.items()]
    results = []
    with pytest.raises((DeviceError, DeadlineError), match="no device is left") as raised:
        results.extend(stream(workers, numbers(1000)))
    assert "a: it died" in str(raised.value)
    assert "b: hung" in str(raised.value)
    assert len(results) < 10


@pytest.mark.parametrize("stream", [batch, pipeline])
def test_the_error_of_an_item_comes_in_its_place(stream):
    workers = [FakeWorker("a", wrong_item), FakeWorker("b", wrong_item)]
    results, running = [], stream(workers, numbers(40))
    with pytest.raises(InputError, match="the fifth is wrong"):
        results.extend(running)
    first = results[0]
    assert results == list(range(first, first + len(results)))
    assert len(results) in (4, 5)  # a second stage sees it one item earlier, as the first has added 1


@pytest.mark.parametrize("stream", [batch, pipeline])
def test_the_error_of_the_feeds_comes_in_its_place(stream):
    def feeds():
        yield from numbers(5)
        raise InputError("no more")

    results = []
    with pytest.raises(InputError, match="no more"):
        results.extend(stream([FakeWorker("a"), FakeWorker("b")], feeds()))
    assert len(results) == 5


@pytest.mark.parametrize("stream", [batch, pipeline])
def test_feeds_are_read_a_bounded_number_ahead(stream):
    read = []

    def feeds():
        for index, each in enumerate(numbers(1000)):
            read.append(index)
            yield each

    running = stream([FakeWorker("a", takes(0.001)), FakeWorker("b")], feeds())
    for _ in range(10):
        next(running)
    time.sleep(0.05)
    assert len(read) < 60
    running.close()


@pytest.mark.parametrize("stream", [batch, pipeline])
def test_a_result_does_not_wait_for_feeds_that_are_slow_to_come(stream):
    """Each inference is fed only when the result of the one before has come."""
    came = threading.Semaphore(1)

    def feeds():
        for each in numbers(5):
            assert came.acquire(timeout=5)
            yield each

    count = 0
    for _ in stream([FakeWorker("a"), FakeWorker("b")], feeds()):
        count += 1
        came.release()
    assert count == 5


def test_a_device_has_two_inferences_under_way_at_once():
    both = threading.Barrier(2)
    workers = [FakeWorker("a", lambda call, value: both.wait(10)), FakeWorker("b", takes(0.001))]
    unknown = Roster(["b", "c"])
    assert list(batch(workers[:1], numbers(40), at_once={"a": 2})) == list(range(1, 41))
    assert list(batch([workers[1], FakeWorker("c")], numbers(40), unknown, {"c": 2})) == list(range(1, 41))


def test_all_that_a_device_was_at_is_done_by_the_others(caplog):
    both = threading.Barrier(2)

    def fault(call: int, value: int) -> None:
        both.wait(10)
        raise DeviceError("it died")

    workers = [FakeWorker("a", fault), FakeWorker("b", takes(0.001))]
    roster = known({"a": 1.0, "b": 1.0})
    assert list(batch(workers, numbers(40), roster, {"a": 2})) == list(range(1, 41))
    assert roster.present == ["b"]
    assert len(caplog.records) == 1, "it is dropped once"


def test_a_slower_device_gets_less_at_once():
    """It turns ten times as slow: of what comes after the first two or three it does less than a third."""
    slow = FakeWorker("slow", lambda call, value: time.sleep(0.002 if value < 30 else 0.02))
    other = FakeWorker("other", takes(0.002))
    assert list(batch([slow, other], numbers(90))) == list(range(1, 91))
    assert len([value for value in slow.done if value >= 30]) < 20


def test_a_slow_device_is_not_waited_for_at_the_end():
    roster = known({"fast": 1.0, "slow": 400.0})
    slow = FakeWorker("slow", takes(0.4))
    assert list(batch([FakeWorker("fast", takes(0.001)), slow], numbers(15), roster)) == list(range(1, 16))
    assert slow.done == []


def test_what_a_device_hangs_at_is_done_by_another_one():
    """It hangs in mid-stream and fails later: nobody waits for it, neither then nor at the end."""
    goes_on = threading.Event()

    def hang(call, value):
        if call == 5:
            goes_on.wait(10)
            raise DeadlineError("it hung")

    hanging, roster = FakeWorker("hanging", hang), known({"hanging": 1.0, "other": 1.0})
    assert list(batch([hanging, FakeWorker("other", takes(0.001))], numbers(60), roster)) == list(range(1, 61))
    assert not goes_on.is_set()
    assert roster.images == {"hanging": 5, "other": 55}
    goes_on.set()


def test_the_late_result_of_what_another_one_did_does_not_count():
    """It hangs for a while, and then takes part again."""
    roster = known({"late": 1.0, "other": 1.0})
    late = FakeWorker("late", lambda call, value: time.sleep(0.2 if call == 5 else 0.001))
    assert list(batch([late, FakeWorker("other", takes(0.002))], numbers(300), roster)) == list(range(1, 301))
    assert roster.images.total() == 300
    assert len(late.done) == roster.images["late"] + 1 > 7


def test_a_device_of_unknown_speed_is_timed_on_the_side():
    """The stream is over before it has done one: nobody waits for it, and what it does counts for nothing."""
    over = threading.Event()
    slow = FakeWorker("slow", lambda call, value: over.wait(5))
    results = list(batch([FakeWorker("fast", takes(0.001)), slow], numbers(15), Roster(["fast", "slow"])))
    assert slow.done == []
    over.set()
    assert results == list(range(1, 16))


def test_devices_of_unknown_speed_join():
    roster = Roster(["a", "b"])
    workers = [FakeWorker("a", takes(0.002)), FakeWorker("b", takes(0.002))]
    assert list(batch(workers, numbers(60), roster)) == list(range(1, 61))
    assert min(roster.images.values()) > 10
    assert len(workers[1].done) == roster.images["b"] + 2
    assert set(roster.item_ms()) == {"a", "b"}


def test_a_device_that_fails_while_it_is_timed(caplog):
    workers = [FakeWorker("a", takes(0.001)), FakeWorker("b", fails_at(1, DeviceError("it died")))]
    with caplog.at_level(logging.WARNING, "clnn"):
        assert list(batch(workers, numbers(30), Roster(["a", "b"]))) == list(range(1, 31))
    assert "b is dropped: it died" in caplog.text


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stream", [batch, pipeline])
def test_a_thousand_with_random_faults(stream, seed):
    draw = random.Random(seed)
    lives = [draw.randrange(1000) for _ in range(4)]
    workers = [FakeWorker(f"w{index}", fails_at(life, DeviceError("died"))) for index, life in enumerate(lives)]
    workers.append(FakeWorker("last"))
    results = list(stream(workers, numbers(1000)))
    stages = [result - index for index, result in enumerate(results)]
    assert len(results) == 1000
    assert set(stages) <= ({1} if stream is batch else {1, 2, 3, 4, 5})
