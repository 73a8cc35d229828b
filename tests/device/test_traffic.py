"""What the launches of a chain load and store, observed, against what the plan counts.

Before each launch all memory but its inputs is filled with a pattern: what it stores is where the pattern is gone, and
that it computes the same as without shows that it loads nothing else.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from clnn import frontend
from clnn.plan import Run
from clnn.plan.traffic import moved, plan_traffic_bytes, traffic_bytes
from clnn.planning import plan_graph
from clnn.runtime import programs, selection
from clnn.runtime.executor import Executor
from clnn.runtime.loaded import LoadedPlan
from clnn.runtime.loader import opencl
from tests.device.test_regions import Net

PATTERN = np.uint32(0x7FC0DEAD)
"""A float32 that is not a number: any sum that it gets into is not one either."""
SHAPE = (1, 3, 96, 24)


class Observed:
    """An executor whose launches are run one by one, over an arena that can be read and written as a whole."""

    def __init__(self, device: str, chain: str) -> None:
        net = Net()
        x = net.node("MaxPool", net.conv("x", 3, 16, 3, "Relu"), kernel_shape=[2, 2], strides=[2, 2])
        y = net.node("Add", net.conv(x, 16, 16, 3), x)
        graph = frontend.load(net.model(SHAPE, net.conv(y, 16, 20)))
        (opened,) = selection.select(device)
        self.plan = plan_graph(graph, {"x": SHAPE}, [opened.info], chain=chain)
        self._executor = Executor(LoadedPlan(self.plan, {opened.info.id: opened}, programs.shared()))
        self._executor.run({"x": np.random.default_rng(0).standard_normal(SHAPE, np.float32)}, self.plan.graph.outputs)
        (self._arena,) = self.plan.arenas.values()
        (self._buffer,) = self._executor._arenas[0]._whole.values()
        (self._queue,) = self._executor._queues.values()
        self.loads: Counter[str] = Counter()
        self.stores: Counter[str] = Counter()
        """Bytes by tensor with memory of its own."""

    def read(self) -> np.ndarray:
        memory = np.empty(self._arena.nbytes // 4, np.uint32)
        opencl().enqueue_copy(self._queue, memory, self._buffer)
        return memory

    def write(self, memory: np.ndarray) -> None:
        opencl().enqueue_copy(self._queue, self._buffer, memory)

    def elements(self, name: str) -> np.ndarray:
        """Where the elements of a tensor lie in the arena, counted in floats."""
        kind = self.plan.graph.types[name]
        first = self._arena.offsets[name].offset // 4 + kind.offset
        return first + sum(
            np.arange(size).reshape(-1, *(1,) * (kind.rank - 1 - axis)) * kind.strides[axis]
            for axis, size in enumerate(kind.shape)
        ).reshape(-1)  # fmt: skip

    def run(self) -> None:
        """Run all launches, first each as it is and then with the pattern around its inputs."""
        nodes = {node.name: node for node in self.plan.graph.nodes}
        self._executor._host["x"] = np.random.default_rng(0).standard_normal(SHAPE, np.float32)
        for step, action in zip(self.plan.steps, self._executor._actions, strict=True):
            before = self.read()
            action()
            after = self.read()
            if isinstance(step, Run):
                self._observe(step, nodes[step.node], action, before, after)
                self.write(after)

    def _observe(self, step, node, action, before, after) -> None:
        types = self.plan.graph.types
        read = dict.fromkeys(node.inputs)
        inputs = [name for name in read if name in step.launch.args and name in self._arena.offsets]
        poisoned = np.full_like(before, PATTERN)
        for name in inputs:
            poisoned[self.elements(name)] = before[self.elements(name)]
        self.write(poisoned)
        action()
        found = self.read()
        stored = np.flatnonzero(found != poisoned)
        np.testing.assert_array_equal(found[stored], after[stored])
        (target,) = {name for name in node.outputs if name in step.launch.args}
        assert set(stored) <= set(self.elements(target))
        self.stores[types[target].home(target)] += 4 * len(stored)
        copied = dict(moved(node, self.plan.lowered))
        for name in inputs:
            self.loads[types[name].home(name)] += copied[name]


@pytest.mark.parametrize("chain", ["off", "on"])
def test_launches_move_what_the_plan_counts(clnn_device, chain):
    observed = Observed(clnn_device, chain)
    observed.run()
    lowered = observed.plan.lowered
    taken = [each for each in lowered.chains if each.taken]
    assert bool(taken) == (chain == "on")
    inside = {name for each in taken for name in each.inside}
    seen = observed.loads + observed.stores
    assert sum(nbytes for home, nbytes in seen.items() if home not in inside) == plan_traffic_bytes(lowered)
    assert sum(seen.values()) == traffic_bytes(observed.plan.graph.nodes, lowered)
