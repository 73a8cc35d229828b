"""Scheduling and planning, with made-up devices and no OpenCL."""

from __future__ import annotations

import numpy as np
import pytest

from clnn.devices.info import DeviceInfo
from clnn.errors import OutOfMemoryError, UsageError
from clnn.graph import CHANNELS_LAST, PLAIN, Graph, Node, TensorType
from clnn.plan import Copy, Host, Plan, Run, build, lower
from clnn.plan.table import as_dict
from clnn.schedule import HOST, CostModel, find_policy, policies

CPU = DeviceInfo("cpu0", compute_units=2)


def image(channels: int, size: int = 8) -> TensorType:
    return TensorType((1, channels, size, size), "float32")


def conv(name: str, x: str, w: str, y: str) -> Node:
    return Node(name, "Conv", (x, w), (y,), {"kernel_shape": (1, 1)}, 13)


def weights(filters: int, channels: int) -> np.ndarray:
    return np.ones((filters, channels, 1, 1), np.float32)


def graph_of(
    nodes: list[Node], types: dict[str, TensorType], outputs: tuple[str, ...], **constants: np.ndarray
) -> Graph:
    constant_types = {name: TensorType(a.shape, str(a.dtype)) for name, a in constants.items()}
    return Graph(tuple(nodes), ("x",), outputs, {**types, **constant_types}, constants)


def plan_of(graph: Graph, device: DeviceInfo = CPU) -> Plan:
    scheduled = find_policy(None)(graph, [device], CostModel())
    return build(lower(graph, scheduled, [device]), [device])


@pytest.fixture
def two_convs() -> Graph:
    return graph_of(
        [conv("a", "x", "w1", "t"), Node("relu", "Relu", ("t",), ("u",), {}, 13), conv("b", "u", "w2", "y")],
        {"x": image(8), "t": image(4), "u": image(4), "y": image(5)},
        ("y",),
        w1=weights(4, 8),
        w2=weights(5, 4),
    )


def test_layout_is_converted_only_at_the_borders(two_convs: Graph):
    plan = plan_of(two_convs)
    assert [node.op for node in plan.graph.nodes] == ["clnn.Relayout", "Conv", "Relu", "Conv", "clnn.Relayout"]
    assert {plan.graph.types[name].layout for name in "tuy"} == {CHANNELS_LAST}
    assert plan.graph.types[plan.lowered.outputs["y"]].layout == PLAIN


def test_steps_bring_the_input_and_take_the_output(two_convs: Graph):
    steps = plan_of(two_convs).steps
    assert isinstance(steps[0], Copy)
    assert (steps[0].tensor, steps[0].source, steps[0].destination) == (
        "x",
        HOST,
        "cpu0",
    )
    assert isinstance(steps[-1], Copy)
    assert steps[-1].destination == HOST
    assert all(isinstance(step, Run) for step in steps[1:-1])
    assert not any(step.waits_for for step in steps), "all are in one queue"


def test_every_step_waits_only_for_earlier_ones(two_convs: Graph):
    for index, step in enumerate(plan_of(two_convs).steps):
        assert all(0 <= other < index for other in step.waits_for)


def test_tensors_alive_together_do_not_overlap(two_convs: Graph):
    plan = plan_of(two_convs)
    arena = plan.arenas["cpu0"]
    for step in plan.steps:
        if isinstance(step, Run):
            names = {arg for arg in step.launch.args if isinstance(arg, str)} & set(arena.offsets)
            placed = [arena.offsets[name] for name in names]
            spans = sorted((p.offset, p.offset + p.nbytes) for p in placed)
            assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))
    assert arena.lower_bound_bytes <= arena.nbytes


def test_unknown_operator_runs_on_the_host_between_copies():
    graph = graph_of(
        [conv("a", "x", "w", "t"), Node("odd", "Det", ("t",), ("y",), {}, 13)],
        {"x": image(3), "t": image(4), "y": TensorType((1, 4), "float32")},
        ("y", "t"),
        w=weights(4, 3),
    )
    plan = plan_of(graph)
    (host,) = [step for step in plan.steps if isinstance(step, Host)]
    assert host.node.inputs == ("t/plain",)
    before = plan.steps[host.waits_for[0]]
    assert isinstance(before, Copy)
    assert before.tensor == "t/plain"
    assert plan.schedule.assignments["odd"].reason == "no OpenCL kernel for this operator"
    assert "host" in str(plan)


def test_data_dependent_shapes_stay_on_the_host():
    graph = graph_of(
        [Node("nz", "NonZero", ("x",), ("i",), {}, 13), Node("neg", "Neg", ("i",), ("y",), {}, 13)],
        {"x": image(3), "i": TensorType((4, "?"), "int64"), "y": TensorType((4, "?"), "int64")},
        ("y",),
    )
    plan = plan_of(graph)
    assert all(isinstance(step, Host) for step in plan.steps)
    assert "known only at run time" in plan.schedule.assignments["neg"].reason
    assert not plan.arenas


def test_outputs_that_are_inputs_or_constants():
    graph = graph_of([], {"x": image(3)}, ("x", "c"), c=np.ones(2, np.float32))
    plan = plan_of(graph)
    assert plan.steps == ()
    assert set(plan.host_constants) == {"c"}


def test_arena_larger_than_the_device_allocates(two_convs: Graph):
    with pytest.raises(OutOfMemoryError, match="cpu0.*smaller input"):
        plan_of(two_convs, DeviceInfo("cpu0", max_alloc=1024))


def test_single_takes_the_device_with_the_lowest_prediction(two_convs: Graph):
    slow = DeviceInfo("slow", gflops=10, bandwidth_gbs=10)
    fast = DeviceInfo("fast", gflops=100, bandwidth_gbs=10)
    scheduled = find_policy("single")(two_convs, [slow, fast], CostModel())
    assert {a.device for a in scheduled.assignments.values()} == {"fast"}
    assert scheduled.predicted_ms > 0


def test_unknown_policy_lists_those_there_are():
    with pytest.raises(UsageError, match=", ".join(policies())):
        find_policy("fastest")


def test_plan_as_data(two_convs: Graph):
    data = as_dict(plan_of(two_convs))
    by_layer = {layer["layer"]: layer for layer in data["layers"]}
    assert by_layer["a"]["flops"] == 2 * 8 * 8 * 8 * 4
    assert by_layer["a"]["device"] == "cpu0"
    assert by_layer["a"]["algorithm"].startswith("implicit GEMM")
