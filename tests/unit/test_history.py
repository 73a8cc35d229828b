"""The history of real runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from clnn.devices.info import DeviceInfo
from clnn.graph import Graph, Node, TensorType
from clnn.runtime import cachedir, history
from clnn.runtime.history import KEPT, TRUSTED, History, key_of, newest_level

DEVICE = DeviceInfo("cpu0", name="Zen", platform="PoCL", driver="3.1", compute_units=2)


def graph(size: int = 8, op: str = "Relu", name: str = "y", **attrs: object) -> Graph:
    kind = TensorType((1, 4, size, size), "float32")
    return Graph((Node("n", op, ("x",), (name,), attrs),), ("x",), (name,), {"x": kind, name: kind})


def test_a_few_runs_are_not_trusted(tmp_path) -> None:
    runs = History(str(tmp_path))
    for _ in range(TRUSTED - 1):
        runs.record("k", 5.0)
        assert runs.expected_ms("k") is None
    runs.record("k", 5.0)
    assert runs.expected_ms("k") == 5.0
    assert runs.expected_ms("other") is None


def test_single_outliers_do_not_count(tmp_path) -> None:
    runs = History(str(tmp_path))
    for ms in (*[5.0] * TRUSTED, 500.0, 5.0, 900.0):
        runs.record("k", ms)
    assert runs.expected_ms("k") == 5.0


def test_old_runs_are_forgotten_once_the_level_is_another(tmp_path) -> None:
    runs = History(str(tmp_path))
    for ms in [5.0, 5.2] * (KEPT // 2):
        runs.record("k", ms)
    for index in range(TRUSTED):
        assert runs.expected_ms("k") < 6.0, index
        runs.record("k", 15.0 + index / 10)
    assert 15.0 < runs.expected_ms("k") < 16.0


@pytest.mark.parametrize("count", [0, 1, TRUSTED, 2 * TRUSTED, 3 * KEPT])
def test_what_is_kept_is_bounded(count: int) -> None:
    samples = [5.0 + (index * 7 % 10) / 10 for index in range(count)]
    assert newest_level(samples) == samples[-KEPT:]


@pytest.mark.parametrize("ms", [0.0, -1.0, float("nan"), float("inf")])
def test_what_is_no_time_is_not_noted(tmp_path, ms: float) -> None:
    runs = History(str(tmp_path))
    for _ in range(TRUSTED):
        runs.record("k", ms)
    assert runs.expected_ms("k") is None


def test_processes_add_to_one_another(tmp_path) -> None:
    first, second = History(str(tmp_path)), History(str(tmp_path))
    for runs, ms in ((first, 4.0), (second, 6.0)):
        assert runs.expected_ms("k") is None  # both have looked before either writes
        for _ in range(TRUSTED // 2):
            runs.record("k", ms)
    first.write()
    second.write()
    second.write()  # what is written is not new any more
    assert History(str(tmp_path)).expected_ms("k") == 5.0


def test_nothing_is_written_before_it_is_asked_for(tmp_path) -> None:
    runs = History(str(tmp_path))
    runs.record("k", 5.0)
    assert not (tmp_path / "history").exists()
    runs.write()
    assert [entry.name for entry in (tmp_path / "history").iterdir()] == ["k"]


def test_concurrent_writers_leave_a_whole_entry(tmp_path) -> None:
    def work(ms: float) -> None:
        runs = History(str(tmp_path))
        for _ in range(5):
            for _ in range(TRUSTED):
                runs.record("k", ms)
            runs.write()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, (4.0, 5.0, 6.0, 7.0)))
    assert 4.0 <= History(str(tmp_path)).expected_ms("k") <= 7.0


@pytest.mark.parametrize("value", [{}, ["5"], [5.0, -1.0], [None], "5"])
def test_an_entry_of_another_form_counts_as_none(tmp_path, value: object) -> None:
    cachedir.Store("history", str(tmp_path)).put_json("k", value)
    runs = History(str(tmp_path))
    assert runs.expected_ms("k") is None
    for _ in range(TRUSTED):
        runs.record("k", 5.0)
    runs.write()
    assert History(str(tmp_path)).expected_ms("k") == 5.0


def test_workloads_on_disk_are_bounded(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_WORKLOADS", 3)
    runs = History(str(tmp_path))
    for index in range(5):
        runs.record(f"k{index}", 5.0)
        runs.write()
    assert len(list((tmp_path / "history").iterdir())) == 3


def test_a_key_tells_workloads_apart() -> None:
    keys = [
        key_of(graph(), "single", [DEVICE]),
        key_of(graph(16), "single", [DEVICE]),
        key_of(graph(op="Neg"), "single", [DEVICE]),
        key_of(graph(alpha=2.0), "single", [DEVICE]),
        key_of(graph(), "split", [DEVICE]),
        key_of(graph(), "single", [DEVICE, DEVICE]),
        key_of(graph(), "single", [replace(DEVICE, driver="3.2")]),
        key_of(graph(), "single", [replace(DEVICE, compute_units=1)]),
    ]
    assert len(set(keys)) == len(keys)


def test_names_do_not_make_another_workload() -> None:
    assert key_of(graph(name="y"), "single", [DEVICE]) == key_of(graph(name="z"), "single", [DEVICE])
