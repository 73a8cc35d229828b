"""Plans that compute single nodes, so that the host can check them; no OpenCL."""

from __future__ import annotations

import numpy as np
import pytest

from clnn.devices.info import DeviceInfo
from clnn.graph import Graph, Node, TensorType
from clnn.plan import Copy, Run, build, check, check_plans, lower
from clnn.plan.ordinary import ordinary
from clnn.plan.types import LoweredGraph
from clnn.runtime import reference
from clnn.schedule import CostModel, find_policy

CPU = DeviceInfo("cpu0", compute_units=2)


def conv(name: str, x: str, y: str) -> Node:
    return Node(name, "Conv", (x, f"{name}.w"), (y,), {"kernel_shape": (1, 1)}, 13)


@pytest.fixture
def lowered() -> LoweredGraph:
    """Two convolutions by one variant, the second the smaller, whose results are joined in place; and a chain."""
    nodes = (
        conv("large", "x", "a"),
        Node("pool", "MaxPool", ("a",), ("p",), {"kernel_shape": (2, 2), "strides": (2, 2)}, 12),
        conv("small", "p", "b"),
        Node("join", "Concat", ("b", "p"), ("j",), {"axis": 1}, 13),
        Node("exp", "Exp", ("j",), ("e",), {}, 13),
        Node("sqrt", "Sqrt", ("e",), ("y",), {}, 13),
    )
    weights = {f"{name}.w": np.ones((32, 32, 1, 1), np.float32) for name in ("large", "small")}
    shapes = {"x": (32, 8), "a": (32, 8), "p": (32, 4), "b": (32, 4), "j": (64, 4), "e": (64, 4), "y": (64, 4)}
    types = {name: TensorType((1, channels, size, size), "float32") for name, (channels, size) in shapes.items()}
    types |= {name: TensorType(array.shape, "float32") for name, array in weights.items()}
    graph = Graph(nodes, ("x",), ("y",), types, weights)
    return lower(graph, find_policy("single")(graph, [CPU], CostModel()), [CPU])


def checked(lowered: LoweredGraph, known=lambda device, variant: False):
    return check_plans(build(lowered, [CPU]), [CPU], known)


def test_the_cheapest_node_checks_each_variant_by_its_own_launches(lowered):
    (plan,), unchecked = checked(lowered)
    assert not unchecked
    names = [each.node.name for each in plan.checks]
    assert len(names) == len(set(names))
    assert "small" in names
    assert "large" not in names
    assert {"clnn.Chain", "MaxPool", "clnn.Relayout"} <= {each.node.op for each in plan.checks}
    launches = [step.launch for step in plan.plan.steps if isinstance(step, Run)]
    own = [launch for name in names for launch in lowered.lowered[name].launches]
    assert [(each.kernel, each.params, each.global_size, each.local_size) for each in launches] == [
        (each.kernel, each.params, each.global_size, each.local_size) for each in own
    ]
    named = {arg for launch in launches for arg in launch.args if isinstance(arg, str)}
    placed = {*plan.plan.arenas["cpu0"].offsets, *plan.plan.constants["cpu0"]}
    assert named <= placed
    copied = {step.tensor for step in plan.plan.steps if isinstance(step, Copy) and step.destination == "cpu0"}
    assert copied == set(plan.plan.graph.inputs)


def test_tensors_lie_where_the_network_has_them(lowered):
    (plan,), _ = checked(lowered)
    small = next(each for each in plan.checks if each.node.name == "small")
    assert small.types["b"].region.home == "j"
    memory = reference.images(small, plan.plan.graph.types)
    whole = memory[small.images["b"]]
    assert small.images["p"] == small.images["b"]
    assert whole.size == 64 * 4 * 4
    assert np.isnan(whole).sum() == 32 * 4 * 4  # b, until it is computed
    assert np.isnan(reference.tensor(small, "b", memory)).all()
    (wanted,) = reference.expected(small, memory).values()
    np.testing.assert_allclose(wanted[0, 0], reference.tensor(small, "p", memory)[0].sum(axis=0), rtol=1e-5)


def test_what_is_known_is_left_out(lowered):
    (plan,), _ = checked(lowered)
    gone = plan.checks[0].variants
    (rest,), _ = checked(lowered, lambda device, variant: device == "cpu0" and variant in gone)
    assert not {variant for each in rest.checks for variant in each.variants} & set(gone)
    assert checked(lowered, lambda device, variant: True) == ([], [])


def test_large_nodes_are_named(lowered, monkeypatch):
    monkeypatch.setattr(check, "MOST_FLOPS", 20_000)
    _, unchecked = checked(lowered)
    assert [each.variant[0] for each in unchecked] == ["conv_gemm.cl"]
    assert "Conv 'small', the smallest node that uses it, is too large" in unchecked[0].reason


def test_nodes_go_into_several_plans_where_one_would_be_large(lowered, monkeypatch):
    monkeypatch.setattr(check, "MOST_BYTES", 20_000)
    plans, unchecked = checked(lowered)
    assert len(plans) > 1
    assert not unchecked


def test_a_chain_means_its_nodes(lowered):
    (chain,) = [node for node in lowered.graph.nodes if node.op == "clnn.Chain"]
    assert [(node.op, node.inputs, node.outputs) for node in ordinary(chain)] == [
        ("Exp", chain.inputs, ("e",)), ("Sqrt", ("e",), ("y",)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("actual", "wanted", "error"),
    [([1.0, 2.0], [1.0, 4.0], 0.5), ([np.nan], [1.0], np.inf), ([np.nan], [np.nan], 0.0), ([0.1], [0.0], np.inf)],
)
def test_errors_of_numbers(actual, wanted, error):
    assert reference.error(np.array(actual, np.float32), np.array(wanted, np.float32)) == error


@pytest.mark.parametrize(
    ("dtype", "error"), [("uint8", 0.0), ("int8", 0.0), ("int64", np.inf), ("bool", np.inf)]
)
def test_only_quantised_numbers_may_differ_by_one(dtype, error):
    assert reference.error(np.array([1, 1], dtype), np.array([0, 1], dtype)) == error
