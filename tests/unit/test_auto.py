"""Policy "auto": decisions for made-up times, trials on made-up workers, and what later sessions know of them."""

from __future__ import annotations

import time

import numpy as np
import pytest

from clnn import planning
from clnn.errors import DeviceError
from clnn.runtime import cachedir, comparison
from clnn.runtime.history import TRUSTED, History
from clnn.schedule import Assignment, Schedule, auto

FEEDS = {"x": np.zeros(1, np.float32)}


def schedules(**predicted_ms: float) -> list[Schedule]:
    """Candidates by policy; a name that is not one of several devices' is that of a device."""
    return [
        Schedule(
            {"n": Assignment("n", "a", ""), "m": Assignment("m", "b" if policy in auto.JOINT else "a", "")}, policy, ms
        )
        for policy, ms in predicted_ms.items()
    ]


@pytest.mark.parametrize(("predicted_ms", "expected"), [
    ({"a": 10, "b": 20, "split": 8}, "split"),
    ({"a": 10, "b": 20, "split": 9}, "a"),
    ({"a": 10, "b": 8, "split": 7.3}, "b"),
    ({"a": 10, "split": 8, "heft": 7}, "heft"),
    ({"a": 0, "b": 0, "split": 0}, "a"),
])
def test_several_devices_must_be_predicted_to_be_clearly_faster(predicted_ms, expected):
    chosen = auto.choose(schedules(**predicted_ms))
    assert chosen.policy == f"auto: {expected}"
    assert auto.name(chosen) == expected


@pytest.mark.parametrize(("predicted_ms", "expected"), [
    ({"a": 10, "b": 20, "split": 5.9}, ["split"]),
    ({"a": 10, "b": 20, "split": 6.1}, ["a", "split"]),
    ({"a": 10, "b": 20, "split": 10.9, "heft": 11.1}, ["a", "split"]),
    ({"a": 10, "b": 20, "split": 11.1}, ["a"]),
    ({"a": 10, "b": 10.9, "split": 12}, ["a", "b"]),
    ({"a": 10, "b": 10, "c": 10, "split": 9, "heft": 9}, ["a", "b", "split", "heft"]),
    ({"a": 0, "b": 0, "split": 0}, ["a", "b", "split"]),
])
def test_what_predictions_cannot_decide_is_tried(predicted_ms, expected):
    assert [each.policy for each in auto.contenders(schedules(**predicted_ms))] == expected


def test_a_clear_prediction_that_is_doubted_is_tried():
    assert len(auto.contenders(schedules(a=10, split=5), doubted=True)) == 2


def test_what_the_host_computes_alone_is_not_tried():
    assert len(auto.contenders([Schedule({}, "a"), Schedule({}, "b")])) == 1


@pytest.mark.parametrize(("samples_ms", "expected"), [
    ({"a": [10, 10, 90], "split": [8.9, 8.9, 50]}, "split"),
    ({"a": [10, 10, 10, 10, 10, 10, 10, 10], "split": [8.8, 8.9, 8.9, 20, 20, 20, 20, 20]}, "split"),
    ({"a": [10, 10, 10], "split": [9.1, 9.1, 1]}, "a"),
    ({"a": [10.1], "b": [10], "split": [9.2]}, "b"),
    ({"split": [12]}, "split"),
])
def test_what_runs_take_undisturbed_decides(samples_ms, expected):
    chosen = auto.settle(schedules(a=1, b=2, split=3), samples_ms, "took")
    assert auto.name(chosen) == expected


def test_the_reason_tells_what_decided():
    tried = auto.settle(schedules(a=1, b=2, split=3, heft=4), {"a": [10.0], "split": [5.0], "heft": [7.0]}, "took")
    assert tried.reason == "split took 5.00 ms; heft 7.00 ms, a 10.00 ms"
    assert auto.choose(schedules(a=1, b=2)).reason == "a is predicted to take 1.00 ms; b 2.00 ms"


@pytest.mark.parametrize(("samples_ms", "expected"), [
    ({"a": [10] * 3, "split": [1] * 3}, False),
    ({"a": [10] * 4, "split": [1] * 4}, True),
    ({"a": [10, 10, 10, 1], "split": [1] * 4}, False),
    ({"a": [10] * 4, "split": [9.5] * 4}, False),
    ({"a": [10] * 4, "split": [5] * 4, "heft": [5.2] * 4}, False),
    ({"a": [10] * 10, "split": [10] * 10}, True),
    ({"a": []}, True),
])
def test_a_trial_ends_early_when_one_is_clearly_better(samples_ms, expected):
    assert auto.settled(samples_ms) is expected


@pytest.mark.parametrize(("real_ms", "times_ms", "expected"), [
    (12, {"a": 10, "split": 11}, False),
    (13, {"a": 10, "split": 11}, True),
    (13, {"a": 10, "split": 14}, False),
    (90, {"a": 10}, False),
])
def test_real_runs_put_a_choice_in_doubt_when_another_seems_better(real_ms, times_ms, expected):
    assert auto.doubtful(real_ms, "a", times_ms) is expected


class FakeWorker:
    """Takes ``ms``, or raises ``error`` from its run number ``fails_at`` on."""

    def __init__(self, ms: float = 0.0, error: Exception | None = None, fails_at: int = 0) -> None:
        self.device = "a"
        self.runs = 0
        self.closed = False
        self._ms, self._error, self._fails_at = ms, error, fails_at

    def run(self, feeds, outputs):
        self.runs += 1
        if self._error is not None and self.runs > self._fails_at:
            raise self._error
        time.sleep(self._ms / 1e3)
        return []

    def close(self):
        self.closed = True


def test_a_trial_counts_every_second_run_and_ends():
    workers = {"a": FakeWorker(), "split": FakeWorker()}
    samples = comparison.compare(workers, FEEDS, ["y"])
    for name, worker in workers.items():
        assert auto.LEAST_RUNS <= len(samples[name]) <= auto.MOST_RUNS
        assert worker.runs == 1 + 2 * len(samples[name])


def test_a_trial_of_slow_runs_is_bounded(monkeypatch):
    monkeypatch.setattr(comparison, "BUDGET_S", 0.0)
    samples = comparison.compare({"a": FakeWorker(), "split": FakeWorker()}, FEEDS, ["y"])
    assert {name: len(each) for name, each in samples.items()} == {"a": 2, "split": 2}


@pytest.mark.parametrize("fails_at", [0, 1, 4])
def test_one_that_fails_in_a_trial_is_left_out(fails_at, caplog):
    workers = {"a": FakeWorker(), "split": FakeWorker(error=DeviceError("it died"), fails_at=fails_at)}
    assert list(comparison.compare(workers, FEEDS, ["y"])) == ["a"]
    assert "split cannot be used: it died" in caplog.text


@pytest.mark.parametrize("value", [[], {"a": []}, {"a": [-1.0]}, {"a": "1"}])
def test_a_kept_trial_of_another_form_counts_as_none(tmp_path, value):
    cachedir.Store("trials", str(tmp_path)).put_json("k", value)
    assert comparison.recall("k", str(tmp_path)) == {}
    comparison.remember("k", {"a": [1.0]}, str(tmp_path))
    assert comparison.recall("k", str(tmp_path)) == {"a": [1.0]}


KEYS = {name: name for name in ("a", "b", "split", "heft")}


def contenders(earlier_ms, runs, **predicted_ms):
    return [each.policy for each in planning._contenders(schedules(**predicted_ms), earlier_ms, KEYS, runs)]


def test_an_earlier_trial_decides(tmp_path):
    runs = History(str(tmp_path))
    assert contenders({"a": [10.0], "split": [7.0]}, runs, a=10, split=9) == ["auto: split"]
    assert contenders({"a": [10.0]}, runs, a=10, split=9) == ["a", "split"], "split was not tried"
    assert contenders({"a": [5.0], "split": [7.0]}, runs, a=10, split=5) == ["auto: a"], "more than a clear prediction"


@pytest.mark.parametrize("earlier_ms", [{}, {"a": [10.0] * 4, "split": [5.0] * 4}])
def test_real_runs_that_say_otherwise_call_for_another_trial(tmp_path, earlier_ms):
    runs = History(str(tmp_path))
    for _ in range(TRUSTED):
        assert contenders(earlier_ms, runs, a=10, split=5) == ["auto: split"]
        runs.record("split", 12.0)
    runs.write()
    later = History(str(tmp_path))
    assert contenders(earlier_ms, later, a=10, split=5) == ["a", "split"]
    assert later.expected_ms("split") is None, "else every session would hold a trial"
    assert History(str(tmp_path)).expected_ms("split") is None


def test_runs_at_once_and_the_first_are_not_noted(tmp_path):
    runs = History(str(tmp_path))
    recorded = planning.Recorded(FakeWorker(), runs, "k")
    for _ in range(TRUSTED):
        recorded.run(FEEDS, ["y"])
    assert runs.expected_ms("k") is None
    within = FakeWorker()
    within.run = lambda feeds, outputs: recorded.run(feeds, outputs)
    planning.Recorded(within, runs, "other").run(FEEDS, ["y"])
    assert runs.expected_ms("k") is not None
    recorded.worker.run = lambda feeds, outputs: recorded._running > 1 or recorded.run(feeds, outputs)
    before = len(runs._known("k"))
    recorded.run(FEEDS, ["y"])
    assert len(runs._known("k")) == before
    recorded.close()
    assert History(str(tmp_path)).expected_ms("k") is not None
