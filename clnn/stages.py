"""Making the stages of a pipeline: cut by predicted times, measured, and cut anew where that promises more."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from clnn.devices.info import DeviceInfo
from clnn.devices.model import MachineModel
from clnn.graph import Graph, Node, TensorType, extract
from clnn.runtime.pipeline import StageRunner
from clnn.runtime.roster import LOSSES, WorkerLost
from clnn.runtime.window import Feeds
from clnn.runtime.worker import Worker
from clnn.schedule import HOST, CostModel, StreamPlan, plan_pipeline

RECUTS = 3
"""Times that stages are cut anew after they were measured, at most."""

Load = Callable[[Graph, str], Worker]


def balanced_stages(
    graph: Graph, feeds: Feeds, infos: Sequence[DeviceInfo], costs: CostModel, load: Load
) -> tuple[StreamPlan, list[StageRunner]]:
    """Stages that are cut anew while what they are measured to take promises a shorter longest one.

    Args:
        feeds: what the stages are measured with.
        load: makes a worker for a stage, on the device of this id.

    Raises:
        WorkerLost: a device cannot load its stage, or fails when it is measured.
    """
    slower: dict[str, float] = {info.id: 1.0 for info in infos}
    best: tuple[StreamPlan, list[StageRunner]] | None = None
    for _ in range(RECUTS + 1):
        plan = plan_pipeline(graph, infos, _Scaled(slower, costs), partial(_transfer_ms, costs.machine))
        if best is not None and plan.predicted_ms > 0.97 * best[0].predicted_ms:
            break
        runners = _load_stages(graph, plan, load)
        stage_ms = _time_stages(runners, feeds)
        worse = runners
        if best is None or max(stage_ms) < best[0].predicted_ms:
            worse = best[1] if best is not None else []
            best = replace(plan, predicted_ms=max(stage_ms)), runners
        for runner in worse:
            runner.worker.close()
        slower |= {
            stage.device: slower[stage.device] * ms / stage.predicted_ms
            for stage, ms in zip(plan.stages, stage_ms, strict=True)
            if stage.predicted_ms
        }
    return best


def _load_stages(graph: Graph, plan: StreamPlan, load: Load) -> list[StageRunner]:
    runners = []
    for stage in plan.stages:
        part = extract(graph, stage.start, stage.stop)
        try:
            runners.append(StageRunner(load(part, stage.device), part.inputs, part.outputs))
        except LOSSES as error:
            raise WorkerLost(stage.device, error) from error
    return runners


class _Scaled:
    """The cost model, corrected by how much slower than predicted each device was."""

    def __init__(self, slower: Mapping[str, float], costs: CostModel) -> None:
        self._slower = slower
        self._costs = costs

    def __call__(self, node: Node, types: Mapping[str, TensorType], device: DeviceInfo) -> float:
        return self._slower[device.id] * self._costs.node_ms(node, types, device)


def _transfer_ms(machine: MachineModel, device: DeviceInfo, nbytes: float) -> float:
    return machine.transfer_ms(HOST, device.id, nbytes)


def _timed_ms(worker: Worker, feeds: Feeds, outputs: Sequence[str]) -> float:
    """Time of an inference, the second one; the first completes the programs."""
    worker.run(feeds, outputs)
    started = time.perf_counter()
    worker.run(feeds, outputs)
    return (time.perf_counter() - started) * 1e3


def _time_stages(runners: Sequence[StageRunner], feeds: Feeds) -> list[float]:
    """Time of one inference in each stage.

    Raises:
        WorkerLost: a device fails.
    """
    tensors, times_ms = dict(feeds), []
    for runner in runners:
        own = {name: tensors[name] for name in runner.inputs}
        try:
            tensors |= zip(runner.outputs, runner.worker.run(own, runner.outputs), strict=True)
            times_ms.append(_timed_ms(runner.worker, own, runner.outputs))
        except LOSSES as error:
            raise WorkerLost(runner.worker.device, error) from error
    return times_ms
