"""The parts of the benchmark of peers that need none of them: whose turn it is, comparing, the table."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.peers import report, rounds
from benchmarks.peers.jobs import Input, Job, PeerError, prepare
from benchmarks.peers.report import Result

NAMES = ["a", "b", "c"]
ALWAYS = dict.fromkeys(NAMES, 1)


def test_each_round_has_everyone_once():
    for number in range(12):
        assert sorted(rounds.order(NAMES, number, ALWAYS)) == NAMES


def test_order_rotates_and_turns_round():
    assert rounds.order(NAMES, 0, ALWAYS) == ["a", "b", "c"]
    assert rounds.order(NAMES, 1, ALWAYS) == ["b", "c", "a"]
    assert rounds.order(NAMES, 3, ALWAYS) == ["a", "c", "b"]
    places = [rounds.order(NAMES, number, ALWAYS).index("a") for number in range(18)]
    assert [places.count(place) for place in range(3)] == [6, 6, 6]


def test_slow_ones_take_part_in_some_rounds_only():
    every = {"a": 1, "b": 1, "c": 3}
    turns = [rounds.order(NAMES, number, every) for number in range(9)]
    assert ["c" in turn for turn in turns] == [True, False, False] * 3
    assert {turn.index("c") for turn in turns if "c" in turn} == {0, 1, 2}, "not always at the same place"


def test_periods_follow_the_times():
    assert rounds.periods({"a": 2.0, "b": 3.0, "c": 40.0}) == {"a": 1, "b": 1, "c": 5}
    assert rounds.periods({"a": 2.0, "c": 4000.0})["c"] == rounds.MAX_PERIOD
    assert rounds.periods({"a": 2.0, "c": 4000.0}, rounds=7)["c"] == 3, "rounds 0, 3 and 6"
    assert rounds.periods({"a": 2.0, "c": 4000.0}, rounds=1)["c"] == 1


@pytest.mark.parametrize("count", [1, 7])
def test_everyone_gets_the_same_data(count):
    seen = {"a": [], "b": []}

    def run(name):
        return lambda feeds: seen[name].append(feeds) or float(feeds)

    fresh = iter(range(100))
    times, failed = rounds.measure({name: run(name) for name in seen}, lambda: next(fresh), {"a": 1, "b": 1},
                                   rounds=count, duration_s=0)
    assert times == {"a": [float(n) for n in range(count)], "b": [float(n) for n in range(count)]}
    assert seen["a"] == seen["b"] == list(range(count))
    assert not failed


def test_duration_ends_it_once_the_slow_ones_have_run_enough():
    now = iter(range(1000))
    times, _ = rounds.measure({"a": lambda _: 1.0, "b": lambda _: 9.0}, dict, {"a": 1, "b": 4}, rounds=None,
                              duration_s=2, clock=lambda: next(now))
    assert len(times["b"]) == rounds.MIN_RUNS
    assert len(times["a"]) == 4 * (rounds.MIN_RUNS - 1) + 1


def test_a_failure_is_told_and_the_others_go_on():
    def fail(_):
        raise PeerError("out of memory")

    times, failed = rounds.measure({"a": lambda _: 1.0, "b": fail}, dict, {"a": 1, "b": 1}, rounds=4, duration_s=0)
    assert times == {"a": [1.0] * 4}
    assert failed == {"b": "out of memory"}


def test_relative_error_is_of_the_largest_value():
    reference = [np.array([[0.0, 4.0]], np.float32), np.array([3])]
    assert rounds.relative_error([np.array([0.004, 4.0], np.float32), np.array([7])], reference) == pytest.approx(1e-3)


@pytest.mark.parametrize(("ours", "words"), [
    ([], "0 outputs in place of 1"),
    ([np.zeros((3, 2), np.float32)], "shape"),
    ([np.full((2, 3), np.nan, np.float32)], "not finite"),
])
def test_outputs_that_cannot_be_compared(ours, words):
    with pytest.raises(PeerError, match=words):
        rounds.relative_error(ours, [np.ones((2, 3), np.float32)])


def test_table():
    result = Result("net", 8, reference="onnxruntime", left_out={"ncnn": "not installed"}, restless={"clnn": 2})
    result.times = {"clnn": rounds.summary([15.0, 10.0, 20.0]), "onnxruntime": rounds.summary([30.0])}
    result.starts = {"clnn": {"peak_rss_mb": 200.4}}
    other = Result("broken", 1, left_out={"clnn": "no such file", "ncnn": "no such file"})
    about = {"machine": "A processor", "threads": 2, "versions": {"clnn": "1.0"}, "command": "peers --batch 8"}
    lines = report.markdown([result, other], about).splitlines()
    assert lines[0] == "A processor; 2 threads; clnn 1.0; `peers --batch 8`"
    assert lines[4:8] == [
        "| Network | clnn | onnxruntime |",
        "|---|---|---|",
        "| net, batch 8 | 15.0 | 30.0 (0.50) |",
        "| broken | — | — |",
    ]
    assert "| net, batch 8 | 200 |" in lines
    assert lines[-3:] == [
        "- net, batch 8: ncnn left out: not installed",
        "- broken: clnn and ncnn left out: no such file",
        "- net, batch 8: clnn was still busy long after 2 of its runs",
    ]
    assert report.as_data([result], about)["networks"][0]["ratios"] == {"onnxruntime": 0.5}


def test_a_job_survives_a_command_line():
    job = Job("a b.onnx", {"x": Input((1, 3), "float32")}, ("y",), 2, "pocl:0")
    assert Job.loads(job.dumps()) == job


def _identity(path, *shape):
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)])
    onnx.save(helper.make_model(graph), path)
    return str(path)


def test_open_batch_is_fixed(tmp_path):
    (tmp_path / "out").mkdir()
    job = prepare(_identity(tmp_path / "net.onnx", "n", 3), 4, 2, "pocl:0", tmp_path / "out")
    assert job.inputs == {"x": Input((4, 3), "float32")}
    assert onnx.load(job.model).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 4


@pytest.mark.parametrize(("shape", "words"), [((1, 3), "fixed at 1"), (("n", "width"), "dimension 1 .'width'")])
def test_shapes_that_cannot_be_fixed(tmp_path, shape, words):
    with pytest.raises(PeerError, match=words):
        prepare(_identity(tmp_path / "net.onnx", *shape), 4, 2, "pocl:0", tmp_path)


def test_unknown_network(tmp_path):
    with pytest.raises(PeerError, match="no such file"):
        prepare("nothing.onnx", 1, 2, "pocl:0", tmp_path)
