"""Making the stages of a pipeline: loaded, measured, and cut anew where that promises more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from clnn.devices.info import DeviceInfo
from clnn.graph import Graph, extract
from clnn.runtime.pipeline import StageRunner
from clnn.runtime.roster import LOSSES, WorkerLost
from clnn.runtime.window import Feeds
from clnn.runtime.worker import Worker
from clnn.schedule import CostModel, StreamPlan, balance

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
    return balance(graph, infos, costs, partial(_load_stages, graph, load), partial(_time_stages, feeds=feeds), close)


def close(runners: Iterable[StageRunner]) -> None:
    """End the workers of stages."""
    for runner in runners:
        runner.worker.close()


def _load_stages(graph: Graph, load: Load, plan: StreamPlan) -> list[StageRunner]:
    runners = []
    for stage in plan.stages:
        part = extract(graph, stage.start, stage.stop)
        try:
            runners.append(StageRunner(load(part, stage.device), part.inputs, part.outputs))
        except LOSSES as error:
            raise WorkerLost(stage.device, error) from error
    return runners


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
