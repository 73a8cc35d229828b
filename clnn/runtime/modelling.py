"""Measuring a device's model: how fast it is at every kind of launch, by size.

What is timed is a synthetic network (:mod:`clnn.runtime.yardstick`), planned and run as any other, never one whose time
is to be predicted. The first time takes as long as its programs take to build; then about a second. Models are kept in
the cache folder by device, driver and kernels.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib import resources
from typing import Any

import numpy as np

from clnn import passes, plan, schedule
from clnn.devices.fitting import Sample, fit_link, fit_rates
from clnn.devices.info import DeviceInfo
from clnn.devices.model import Curve, DeviceModel, Link, MachineModel
from clnn.kernels import source
from clnn.plan.simulate import simulate
from clnn.runtime import cachedir, drivers, programs, yardstick
from clnn.runtime.discovery import IsolatedDevice, OpenDevice
from clnn.runtime.executor import Executor, LoadedPlan
from clnn.runtime.failures import opencl_errors
from clnn.runtime.loader import opencl

_FORMAT = "2"
_KIND = "models"
_HOST = schedule.HOST
_MOST_RUNS, _LEAST_RUNS = 15, 3
_PATIENCE_S = 3.0  # for the runs after which a slow device is measured well enough
_COPY_BYTES = (1 << 12, 1 << 16, 1 << 20, 1 << 22)
_COPIES, _HANDOVERS = 12, 60


def machine(
    devices: Sequence[OpenDevice | IsolatedDevice],
    measure_missing: bool = False,
    refresh: bool = False,
    cache_dir: str | None = None,
    tell: Callable[[str], Any] = lambda text: None,
) -> MachineModel:
    """The models of these devices and the links between each and the host.

    Args:
        measure_missing: measure those in this process of which no model is kept; with ``refresh`` all. Of the others
            ``MachineModel.model`` takes the figures of ``DeviceInfo``.
        tell: called with a line before something takes a while.

    Raises:
        BuildError, DeviceError: a device fails while it is measured.
    """
    models: dict[str, DeviceModel] = {}
    links: dict[tuple[str, str], Link] = {}
    for opened in devices:
        info = opened.info
        kept = None if refresh else known(info, cache_dir)
        if kept is None and (measure_missing or refresh) and isinstance(opened, OpenDevice) and not info.interpreter:
            tell(f"measuring {info.id} ...")
            kept = measure(opened, cache_dir)
        if kept is not None:
            model, own_links = kept
            models[info.id] = replace(model.slowed(info.slowdown), platform=info.platform)
            links |= {(link.source, link.destination): link for link in own_links}
    links |= {
        (a.info.id, b.info.id): Link(a.info.id, b.info.id, float("inf"))
        for a in devices for b in devices if a is not b and a.info.host_memory and b.info.host_memory
    }
    return MachineModel(models, links)


def known(info: DeviceInfo, cache_dir: str | None = None) -> tuple[DeviceModel, tuple[Link, Link]] | None:
    """What an earlier measurement found: the model of a device, and its links from and to the host."""
    kept = cachedir.Store(_KIND, cache_dir).get_json(_key(info))
    return None if kept is None else _decode(kept, info.id)


def measure(opened: OpenDevice, cache_dir: str | None = None) -> tuple[DeviceModel, tuple[Link, Link]]:
    """Measure a device, without its ``slowdown``, and keep the result.

    Raises:
        BuildError, DeviceError: the device fails meanwhile.
    """
    opened = replace(opened, info=replace(opened.info, slowdown=1))
    with opencl_errors(f"measuring {opened.info.id}"):
        links = _links(opened)
        sync_ms, enqueue_ms = _overheads_ms(opened, cache_dir)
        courses = _run_courses(opened, cache_dir)
        rates, bandwidth = fit_rates([sample for course in courses for sample in course.samples()])
        launch_ms = statistics.median(gap for course in courses for gap in course.gaps_ms)
        model = DeviceModel(rates, bandwidth, max(0.0, launch_ms), sync_ms, enqueue_ms)
        # Of the smallest picture, whose steps are the shortest.
        model = replace(model, run_ms=courses[-1].excess_ms(model, links))
    cachedir.Store(_KIND, cache_dir).put_json(_key(opened.info), _encode(model, links))
    return model, links


def _key(info: DeviceInfo) -> str:
    texts = [
        source.read(file.name) for file in sorted(resources.files(source.PACKAGE).iterdir(), key=lambda each: each.name)
        if file.name.endswith(".cl")
    ]
    return cachedir.digest(_KIND, _FORMAT, info.platform, info.driver, info.name, info.kind, str(info.compute_units),
                           drivers.processor(), *texts)


def _encode(model: DeviceModel, links: Iterable[Link]) -> dict[str, Any]:
    return {
        "rates": {kind: curve.points for kind, curve in model.rates.items()},
        "bandwidth": model.bandwidth.points,
        "launch_ms": model.launch_ms,
        "sync_ms": model.sync_ms,
        "enqueue_ms": model.enqueue_ms,
        "run_ms": model.run_ms,
        "links": [(link.bandwidth_gbs, link.latency_ms) for link in links],
    }


def _decode(kept: dict[str, Any], device_id: str) -> tuple[DeviceModel, tuple[Link, Link]]:
    def curve(points: list[list[float]]) -> Curve:
        return Curve(tuple((size, rate) for size, rate in points))

    rates = {kind: curve(points) for kind, points in kept["rates"].items()}
    overheads = {name: kept[name] for name in ("launch_ms", "sync_ms", "enqueue_ms", "run_ms")}
    model = DeviceModel(rates, curve(kept["bandwidth"]), **overheads)
    write, read = kept["links"]
    return model, (Link(_HOST, device_id, *write), Link(device_id, _HOST, *read))


def _run_courses(opened: OpenDevice, cache_dir: str | None) -> list[_Course]:
    """The synthetic network, run in both sizes by turns, so that one finds caches full of the other's weights."""
    courses = [_Course(opened, pixels, cache_dir) for pixels in yardstick.SIZES]
    started = time.perf_counter()
    for run in range(_MOST_RUNS):
        for course in courses:
            course.run()
        if run + 1 >= _LEAST_RUNS and time.perf_counter() - started > _PATIENCE_S:
            break
    return courses


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
        return [(step.work, statistics.median(self._times_ms[step.node])) for step in self._plan.steps
                if isinstance(step, plan.Run) and step.work is not None]


    def excess_ms(self, model: DeviceModel, links: tuple[Link, Link]) -> float:
        """How much longer a run takes than its steps do by the model."""
        (device,) = self._plan.used_devices
        by_ends = {(link.source, link.destination): link for link in links}
        steps_ms = simulate(self._plan, MachineModel({device: model}, by_ends)).duration_ms
        return max(0.0, statistics.median(self._whole_ms) - steps_ms)


def _overheads_ms(opened: OpenDevice, cache_dir: str | None) -> tuple[float, float]:
    """From the end of a kernel to the start of the next in another queue, which the host enqueues when it saw the end;
    and the time of the host for enqueueing one.

    Two queues of one device: what it takes to see an end and to start from nothing. From one device to another it is
    one part of either, so that the mean of both is what a handover between them takes.
    """
    cl = opencl()
    kernel = cl.Kernel(programs.shared(cache_dir).build(opened, "calibrate.cl", ("-D", "CHAINS=12")), "peak")
    items = 8 * opened.info.compute_units
    out = cl.Buffer(opened.context, cl.mem_flags.WRITE_ONLY, 4 * items)
    kernel.set_args(out, np.float32(1e-6), np.int32(1000))
    profiling = cl.command_queue_properties.PROFILING_ENABLE
    queues = [cl.CommandQueue(opened.context, opened.device, profiling) for _ in range(2)]
    events, enqueue_ms = [], []
    for index in range(_HANDOVERS):
        started = time.perf_counter()
        event = cl.enqueue_nd_range_kernel(queues[index % 2], kernel, (items,), (1,))
        queues[index % 2].flush()
        enqueue_ms.append((time.perf_counter() - started) * 1e3)
        event.wait()
        events.append(event)
    gaps = [after.profile.start - before.profile.end for before, after in zip(events, events[1:], strict=False)]
    return max(0.0, statistics.median(gaps) * 1e-6), statistics.median(enqueue_ms)


def _links(opened: OpenDevice) -> tuple[Link, Link]:
    """How arrays get to the device and from it: copied as an executor does, into arrays that are new when it reads."""
    cl, device_id = opencl(), opened.info.id
    writes, reads = [], []
    with cl.CommandQueue(opened.context, opened.device) as queue:
        for nbytes in _COPY_BYTES:
            array = np.ones(nbytes, np.uint8)
            buffer = cl.Buffer(opened.context, cl.mem_flags.READ_WRITE, nbytes)
            both = ([], [])
            for _ in range(_COPIES):
                both[0].append(_copy_ms(queue, buffer, array))
                both[1].append(_copy_ms(queue, np.empty(nbytes, np.uint8), buffer))
            writes.append((nbytes, statistics.median(both[0])))
            reads.append((nbytes, statistics.median(both[1])))
    return fit_link(_HOST, device_id, writes), fit_link(device_id, _HOST, reads)


def _copy_ms(queue: Any, target: Any, origin: Any) -> float:
    started = time.perf_counter()
    event = opencl().enqueue_copy(queue, target, origin, is_blocking=False)
    queue.finish()
    elapsed_ms = (time.perf_counter() - started) * 1e3
    del event
    return elapsed_ms
