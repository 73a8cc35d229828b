"""Layers cut by rows among devices with memories of their own: which, where, and what is exchanged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clnn.devices.info import DeviceInfo
from clnn.devices.model import Curve, DeviceModel, Link, MachineModel
from clnn.graph import Graph, Node, TensorType
from clnn.ops.rows import ROW_AXIS
from clnn.plan import Copy, build, lower
from clnn.schedule import CostModel, find_policy

GPUS = tuple(DeviceInfo(name, kind="gpu", host_memory=False, max_alloc=1 << 30, max_work_group_size=256, gflops=100.0,
                        bandwidth_gbs=100.0) for name in ("gpu0", "gpu1"))
FAST = DeviceModel({"": Curve.flat(1e6)}, Curve.flat(1e9), launch_ms=0.0, sync_ms=0.0)


def machine(bandwidth_gbs: float, speeds: tuple[float, float] = (1.0, 1.0)) -> MachineModel:
    """Two GPUs that reach the host by links of this bandwidth."""
    models = {gpu.id: FAST.slowed(1 / speed) for gpu, speed in zip(GPUS, speeds, strict=True)}
    ends = [pair for gpu in GPUS for pair in ((gpu.id, "host"), ("host", gpu.id))]
    return MachineModel(models, {pair: Link(*pair, bandwidth_gbs) for pair in ends})


def layers(count: int, rows: int = 64) -> Graph:
    """Convolutions of 3×3 taps, one after the other."""
    image = TensorType((1, 32, rows, 64), "float32")
    types, constants, nodes = {"x": image}, {}, []
    for index in range(count):
        weights, y = f"w{index}", f"y{index}"
        constants[weights] = np.ones((32, 32, 3, 3), np.float32)
        types |= {weights: TensorType((32, 32, 3, 3), "float32"), y: image}
        x = nodes[-1].outputs[0] if nodes else "x"
        nodes.append(Node(y, "Conv", (x, weights), (y,), {"kernel_shape": (3, 3), "pads": (1,) * 4}, 13))
    return Graph(tuple(nodes), ("x",), (nodes[-1].outputs[0],), types, constants)


def plan(graph: Graph, model: MachineModel):
    scheduled = find_policy("split")(graph, GPUS, CostModel(model))
    return build(lower(graph, scheduled, GPUS, machine=model), GPUS)


def rows_of(planned, node: str) -> list[int]:
    """The rows that each device computes of a node's result."""
    return [planned.graph.types[f"{node}@{gpu.id}"].shape[ROW_AXIS] for gpu in GPUS]


@pytest.mark.parametrize(("speeds", "expected"), [((1.0, 1.0), [32, 32]), ((3.0, 1.0), [48, 16])])
def test_rows_are_in_proportion_to_speeds(speeds, expected):
    planned = plan(layers(3), machine(1e3, speeds))
    assert [rows_of(planned, f"y{index}") for index in range(3)] == [expected] * 3


def test_between_layers_only_the_rows_beside_the_border_are_copied():
    planned = plan(layers(3), machine(1e3))
    copied = [step.tensor for step in planned.steps if isinstance(step, Copy) and step.tensor != "x"]
    rows = [planned.graph.types[name].shape[ROW_AXIS] for name in copied]
    # Behind three layers, the change of layout included, a row from each side of the border, to the host and on.
    assert sorted(rows)[:12] == [1] * 12
    assert min(sorted(rows)[12:]) >= 32


@pytest.mark.parametrize("bandwidth_gbs", [1e-4, 1e-3])
def test_slow_links_leave_all_on_one_device(bandwidth_gbs):
    planned = plan(layers(3), machine(bandwidth_gbs))
    assert planned.used_devices == ("gpu0",)
    assert "no layer gains" in planned.schedule.reason


def test_layers_of_few_rows_are_not_cut():
    assert plan(layers(3, rows=6), machine(1e3)).used_devices == ("gpu0",)


def test_what_cannot_be_computed_by_rows_gets_all_of_them():
    graph = layers(2)
    pooled = Node("mean", "GlobalAveragePool", (graph.outputs[0],), ("mean",), {}, 13)
    types = {**graph.types, "mean": TensorType((1, 32, 1, 1), "float32")}
    graph = replace(graph, nodes=(*graph.nodes, pooled), outputs=("mean",), types=types)
    planned = plan(graph, machine(1e3))
    assert rows_of(planned, "y1") == [32, 32]
    assert planned.schedule.place("mean") == "gpu0"
    (joined,) = [node for node in planned.graph.nodes if node.outputs == ("y1",)]
    assert joined.op == "Concat"
