"""Running the synthetic network on devices, one alone or several at once, to see how fast they are."""

from __future__ import annotations

import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from clnn import passes, plan
from clnn.devices.fitting import Sample, fit_rates, undisturbed_ms
from clnn.devices.model import DeviceModel, Link, MachineModel
from clnn.plan.simulate import simulate
from clnn.runtime import affinity, programs, yardstick
from clnn.runtime.discovery import OpenDevice
from clnn.runtime.executor import Executor
from clnn.runtime.loaded import LoadedPlan

_MOST_RUNS, _LEAST_RUNS = 15, 3
_PATIENCE_S = 3.0  # for the runs after which a slow device is measured well enough


@dataclass(frozen=True)
class Runner:
    """A device to run on, the links from the host to it and back, and how it hands over."""

    opened: OpenDevice
    links: tuple[Link, Link]
    known: DeviceModel


def run_alone(runner: Runner, cache_dir: str | None) -> DeviceModel:
    """How fast a device is while others rest.

    Raises:
        BuildError, DeviceError: the device fails meanwhile.
    """
    courses = _courses(runner.opened, cache_dir)
    _run(courses, lambda: True)
    return _model(courses, runner)


def run_together(runners: Sequence[Runner], cache_dir: str | None) -> list[DeviceModel]:
    """How fast each device is while the others work as well: they share memory, caches and the cores of host threads.

    Raises:
        BuildError, DeviceError: a device fails meanwhile.
    """
    devices = [runner.opened for runner in runners]
    courses = [_courses(opened, cache_dir) for opened in devices]
    finished: set[int] = set()

    def run(index: int) -> None:
        def all_have_enough() -> bool:
            finished.add(index)
            return len(finished) == len(devices)

        try:
            with affinity.beside(devices, devices[index]):
                _run(courses[index], all_have_enough)
        except BaseException:
            finished.update(range(len(devices)))  # nobody waits for one that failed
            raise

    with ThreadPoolExecutor(len(devices)) as pool:
        for done in [pool.submit(run, index) for index in range(len(devices))]:
            done.result()
    return [_model(own, runner) for own, runner in zip(courses, runners, strict=True)]


def _courses(opened: OpenDevice, cache_dir: str | None) -> list[_Course]:
    return [_Course(opened, pixels, cache_dir) for pixels in yardstick.SIZES]


def _run(courses: Sequence[_Course], may_end: Callable[[], bool]) -> None:
    """Run both sizes by turns, so that one finds caches full of the other's weights, until there is enough.

    ``may_end`` is asked then, after each further turn.
    """
    started = time.perf_counter()
    for run in itertools.count(1):
        for course in courses:
            course.run()
        patient = run < _MOST_RUNS and time.perf_counter() - started < _PATIENCE_S
        if run >= _LEAST_RUNS and not patient and may_end():
            break


def _model(courses: Sequence[_Course], runner: Runner) -> DeviceModel:
    rates, bandwidth = fit_rates([sample for course in courses for sample in course.samples()])
    launch_ms = statistics.median(gap for course in courses for gap in course.gaps_ms)
    model = replace(runner.known, rates=rates, bandwidth=bandwidth, launch_ms=max(0.0, launch_ms))
    # Of the smallest picture, whose steps are the shortest.
    return replace(model, run_ms=courses[-1].excess_ms(model, runner.links))


class _Course:
    """The synthetic network for one size of picture, and the times that its launches took so far."""

    def __init__(self, opened: OpenDevice, pixels: int, cache_dir: str | None) -> None:
        graph = passes.run(yardstick.yardstick(pixels))
        self._plan = plan.plan_alone(graph, opened.info, MachineModel())
        loaded = LoadedPlan(self._plan, {opened.info.id: opened}, programs.shared(cache_dir))
        self._executor = Executor(loaded, profile=True)
        self._plain = Executor(loaded)
        shape = graph.types[yardstick.INPUT].shape
        self._feeds = {yardstick.INPUT: np.random.default_rng(0).random(shape, np.float32)}
        self._times_ms: dict[str, list[float]] = defaultdict(list)
        self._whole_ms: list[float] = []
        self.gaps_ms: list[float] = []
        # The first run builds programs and gives memory a place.
        for executor in (self._executor, self._plain):
            executor.run(self._feeds, graph.outputs)

    def run(self) -> None:
        """Run and note the time of each node and the gaps between launches, and run as users do for that of all."""
        started = time.perf_counter()
        self._plain.run(self._feeds, self._plan.graph.outputs)
        self._whole_ms.append((time.perf_counter() - started) * 1e3)
        self._executor.run(self._feeds, self._plan.graph.outputs)
        spent_ms: dict[str, float] = defaultdict(float)
        ended: float | None = None
        for step, timing in zip(self._plan.steps, self._executor.timings_ms, strict=True):
            if isinstance(step, plan.Run):
                begin, end = timing
                spent_ms[step.node] += end - begin
                if ended is not None:
                    self.gaps_ms.append(begin - ended)
                ended = end
        for node, ms in spent_ms.items():
            self._times_ms[node].append(ms)

    def samples(self) -> list[Sample]:
        """What each node has to do and how long it takes."""
        return [(step.work, undisturbed_ms(self._times_ms[step.node])) for step in self._plan.steps
                if isinstance(step, plan.Run) and step.work is not None]

    def excess_ms(self, model: DeviceModel, links: tuple[Link, Link]) -> float:
        """How much longer a run takes than its steps do by the model."""
        (device,) = self._plan.used_devices
        by_ends = {(link.source, link.destination): link for link in links}
        steps_ms = simulate(self._plan, MachineModel({device: model}, by_ends)).duration_ms
        return max(0.0, undisturbed_ms(self._whole_ms) - steps_ms)
