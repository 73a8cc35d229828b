"""How many inferences are shared out, decided for made-up devices."""

from __future__ import annotations

import heapq
import itertools

import numpy as np
import pytest

from clnn.devices.info import DeviceInfo
from clnn.graph import Graph, Node, TensorType, extract
from clnn.schedule import is_overdue, look_ahead, plan_batch, plan_pipeline, recent_ms, should_take


def test_shares_are_as_speeds():
    plan = plan_batch({"a": 10.0, "b": 30.0})
    assert plan.shares == {"a": pytest.approx(0.75), "b": pytest.approx(0.25)}
    assert plan.predicted_ms == pytest.approx(7.5)
    assert plan.policy == "batch"
    assert "a 10.0, b 30.0" in plan.reason


@pytest.mark.parametrize(("samples", "expected"), [
    ([], None), ([5], 5), ([5, 5, 500], 5), ([5, 5, 5, 15, 15], 15), ([15, 15, 15, 5, 5], 5),
])
def test_recent_ms_passes_over_an_outlier_and_follows_a_new_speed(samples, expected):
    assert recent_ms(samples) == expected


@pytest.mark.parametrize(("waiting", "busy_ms", "expected"), [
    (4, 0.0, True), (3, 0.0, False), (3, 10.0, True), (2, 10.0, False), (1, 39.0, True), (1, 29.0, False),
])
def test_a_slow_device_leaves_the_end_to_the_fast_one(waiting, busy_ms, expected):
    """It takes 40 ms for one; the fast one does three meanwhile, less those that it has no time for."""
    assert should_take("slow", waiting, {"fast": 10.0, "slow": 40.0}, {"fast": busy_ms}) is expected
    assert should_take("fast", waiting, {"fast": 10.0, "slow": 40.0}, {"slow": busy_ms})


def test_the_only_device_takes_all():
    assert should_take("a", 1, {"a": 10.0}, {})
    assert look_ahead({"a": 10.0}) == 1


@pytest.mark.parametrize(("item_ms", "elapsed_ms", "expected"), [
    (100, 199, False), (100, 201, True), (1, 49, False), (1, 51, True),
])
def test_is_overdue(item_ms, elapsed_ms, expected):
    assert is_overdue(item_ms, elapsed_ms) is expected


@pytest.mark.parametrize(("times", "expected"), [((10, 10), 1), ((10, 40), 4), ((10, 10, 40), 7), ((10, 1000), 20)])
def test_look_ahead(times, expected):
    assert look_ahead({str(index): float(each) for index, each in enumerate(times)}) == expected


def makespan(times: dict[str, float], count: int) -> float:
    """Time of ``count`` inferences in virtual time, each device deciding when it is free."""
    free = [(0.0, device) for device in times]
    busy_until = dict.fromkeys(times, 0.0)
    heapq.heapify(free)
    while count and free:
        now, device = heapq.heappop(free)
        busy = {other: until - now for other, until in busy_until.items() if until > now}
        if should_take(device, count, times, busy):
            count -= 1
            busy_until[device] = now + times[device]
            heapq.heappush(free, (busy_until[device], device))
    assert count == 0
    return max(busy_until.values())


@pytest.mark.parametrize("ratio", [1, 1.5, 2, 4, 16, 100])
@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_never_slower_than_the_fastest_alone(ratio, count):
    times = {"slow": float(ratio), "fast": 1.0}
    assert makespan(times, count) <= count * 1.0
    # Nobody idles at the end for longer than one inference of the fastest takes.
    assert makespan(times, count) <= count / (1 + 1 / ratio) + 1.0


def device(name: str) -> DeviceInfo:
    return DeviceInfo(name, "cpu", compute_units=1, gflops=1.0, bandwidth_gbs=1.0)


def chain(sizes: list[int], extra: tuple[Node, ...] = (), outputs: tuple[str, ...] = ()) -> Graph:
    """Nodes n0, n1, ... in a row; tensor t<i> of ``sizes[i]`` elements goes into node i."""
    last = len(sizes) - 1
    nodes = tuple(Node(f"n{i}", "Relu", (f"t{i}",), (f"t{i + 1}",)) for i in range(last))
    types = {f"t{i}": TensorType((size,), "float32") for i, size in enumerate(sizes)}
    types |= {name: TensorType((1,), "float32") for node in extra for name in node.outputs}
    return Graph((*nodes, *extra), ("t0",), (f"t{last}", *outputs), types)


def free_transfer(device: DeviceInfo, nbytes: float) -> float:
    return 0.0


def borders(plan) -> list[tuple[str, int, int]]:
    return [(stage.device, stage.start, stage.stop) for stage in plan.stages]


def test_equal_devices_share_equal_nodes():
    plan = plan_pipeline(chain([1] * 9), [device("a"), device("b")], lambda *_: 1.0, free_transfer)
    assert borders(plan) == [("a", 0, 4), ("b", 4, 8)]
    assert plan.predicted_ms == 4
    assert plan.policy == "pipeline"
    assert "all on a 8.00 ms" in plan.reason


def test_nodes_go_to_the_device_that_is_good_at_them():
    """The first half suits b, the second a: the order of devices is chosen, too."""
    def node_ms(node, types, device):
        first_half = int(node.name[1:]) < 4
        return 1.0 if (device.id == "b") == first_half else 9.0

    plan = plan_pipeline(chain([1] * 9), [device("a"), device("b")], node_ms, free_transfer)
    assert borders(plan) == [("b", 0, 4), ("a", 4, 8)]


def test_a_cut_where_little_is_moved():
    """Balanced would be 4 and 4, but only t3 is small."""
    sizes = [1, 1000, 1000, 1, 1000, 1000, 1000, 1000, 1]
    plan = plan_pipeline(chain(sizes), [device("a"), device("b")], lambda *_: 1.0, lambda _, nbytes: nbytes / 1000)
    assert [stage.stop for stage in plan.stages] == [3, 8]
    assert plan.stages[0].transfer_ms == pytest.approx(0.008)


def test_a_device_that_would_be_the_longest_stage_is_left_out():
    speeds = {"fast": 1.0, "slow": 100.0}
    plan = plan_pipeline(
        chain([1] * 9), [device("slow"), device("fast")], lambda _, __, on: speeds[on.id], free_transfer
    )
    assert borders(plan) == [("fast", 0, 8)]


@pytest.mark.parametrize("seed", range(5))
def test_the_longest_stage_is_as_short_as_that_of_any_cuts(seed):
    random = np.random.default_rng(seed)
    ms = random.random((3, 7))
    devices = [device(name) for name in "abc"]
    graph = chain([1] * 8)

    def node_ms(node, types, device):
        return ms["abc".index(device.id), int(node.name[1:])]

    best = min(
        max(ms[k, a:b].sum() for k, (a, b) in zip(order, itertools.pairwise((0, *cuts, 7)), strict=True))
        for count in (1, 2, 3)
        for order in itertools.permutations(range(3), count)
        for cuts in itertools.combinations(range(1, 7), count - 1)
    )
    assert plan_pipeline(graph, devices, node_ms, free_transfer).predicted_ms == pytest.approx(best)


def test_extracted_stages_hold_what_they_read():
    """t1 passes by the middle stage; c is read by the last one only."""
    add = Node("add", "Add", ("t3", "t1"), ("s",))
    scale = Node("scale", "Mul", ("s", "c"), ("u",))
    graph = chain([1, 2, 3, 4], (add, scale), ("u",))
    graph = graph.replace(
        constants={"c": np.ones(1, np.float32)}, types={**graph.types, "c": TensorType((1,), "float32")}
    )
    first, middle, last = (extract(graph, *span) for span in ((0, 1), (1, 3), (3, 5)))
    assert (first.inputs, first.outputs) == (("t0",), ("t1",))
    assert (middle.inputs, middle.outputs) == (("t1",), ("t3",))
    assert (last.inputs, last.outputs) == (("t3", "t1"), ("u",))
    assert [list(part.constants) for part in (first, middle, last)] == [[], [], ["c"]]
    assert set(middle.types) == {"t1", "t2", "t3"}
    assert extract(graph, 0, 5).outputs == ("t3", "u")


@pytest.mark.parametrize(("start", "stop", "nbytes"), [(0, 1, 4 + 8), (1, 3, 8 + 16), (3, 5, 16 + 8 + 4), (0, 5, 24)])
def test_bytes_at_the_borders_are_those_of_the_extracted_stage(start, stop, nbytes):
    add = Node("add", "Add", ("t3", "t1"), ("s",))
    scale = Node("scale", "Mul", ("s",), ("u",))
    graph = chain([1, 2, 3, 4], (add, scale), ("u",))

    def only_this_stage(node, types, device):
        index = [each.name for each in graph.nodes].index(node.name)
        return 0.0 if (start <= index < stop) == (device.id == "this") else 100.0

    others = [device(f"other{index}") for index in range((start > 0) + (stop < 5))]
    plan = plan_pipeline(graph, [device("this"), *others], only_this_stage, lambda _, nbytes: nbytes)
    (stage,) = (stage for stage in plan.stages if stage.device == "this")
    assert (stage.start, stage.stop, stage.transfer_ms) == (start, stop, nbytes)
