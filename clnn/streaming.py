"""Many inferences of one network over several devices: what a session does for policies "batch" and "pipeline"."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from clnn import passes
from clnn.devices.model import MachineModel
from clnn.errors import InputError
from clnn.feeds import check_feeds
from clnn.graph import Graph
from clnn.plan import Plan, plan_alone
from clnn.runtime import affinity
from clnn.runtime.batch import stream_batch
from clnn.runtime.discovery import IsolatedDevice, OpenDevice
from clnn.runtime.pipeline import StageRunner, stream_pipeline
from clnn.runtime.roster import LOSSES, Roster
from clnn.runtime.window import Feeds, Window
from clnn.runtime.worker import Worker
from clnn.schedule import CostModel, StreamPlan, plan_batch
from clnn.schedule.pipeline import QUEUE_DEPTH
from clnn.stages import balanced_stages, close

MAX_WORKERS = 32
"""Workers kept, one per device and combination of input shapes; the least recently used one goes first."""

OVERLAPPED = 2
"""Inferences under way at once on a device with a memory of its own: one computes, another one is copied."""

Shapes = tuple[tuple[int, ...], ...]
MakeWorker = Callable[[Plan], Worker]


class Streams:
    """Runs many inferences of a network on several devices; a device that fails is not used again.

    Args:
        source: the network as loaded, with its constants.
        policy: "pipeline", or anything else for "batch".
        exact, chain: see ``plan.lower``.
        machine: how fast the devices are.
        existing: a worker that the session has loaded for input shapes, and the device that it uses, if it is one.
    """

    def __init__(
        self,
        source: Graph,
        devices: Sequence[OpenDevice | IsolatedDevice],
        policy: str | None,
        exact: bool,
        make_worker: MakeWorker,
        machine: Callable[[], MachineModel],
        existing: Callable[[Shapes], Worker | None] = lambda shapes: None,
        chain: str = "off",
    ) -> None:
        self._source = source
        # The fastest as far as known comes first: it begins a stream while others are still timed.
        self._devices = {each.info.id: each for each in sorted(devices, key=lambda each: -each.info.gflops)}
        self._pipelined = policy == "pipeline"
        self._exact = exact
        self._chain = chain
        self._make_worker = make_worker
        self._machine = machine
        self._existing = existing
        self._here = {name: each for name, each in self._devices.items() if isinstance(each, OpenDevice)}
        self._roster = Roster(list(self._devices))
        self._any_shape = {device: _OfAnyShape(device, self._worker) for device in self._devices}
        self._workers: OrderedDict[tuple[str, Shapes], Worker] = OrderedDict()
        self._stages: tuple[Any, list[StageRunner]] | None = None
        self._running: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._plan: StreamPlan | None = None

    @property
    def plan(self) -> StreamPlan | None:
        """How the latest stream was shared out; ``None`` before the first."""
        times = self._roster.item_ms()
        return self._plan if self._pipelined or not times else plan_batch(times)

    @property
    def images(self) -> dict[str, int]:
        """Inferences that each device did in the latest stream, whole or as a stage; only those that did any."""
        return dict(self._roster.images)

    @property
    def devices(self) -> list[str]:
        """Ids of the devices that have not been dropped."""
        return list(self._roster.present)

    def run_many(self, outputs: Sequence[str], feeds: Iterable[Mapping[str, Any]]) -> Iterator[list[np.ndarray]]:
        """See ``InferenceSession.run_many``."""
        self._check_present()
        self._roster.images.clear()
        if self._pipelined:
            window = Window(self._of_one_shape(feeds), QUEUE_DEPTH)
            yield from stream_pipeline(window, self._make_stages, self._roster, outputs, QUEUE_DEPTH)
            return
        window = Window((check_feeds(self._source, each) for each in feeds), len(self._roster.present))
        workers = [self._any_shape[device] for device in self._roster.present]
        apart = [name for name, each in self._here.items() if not each.info.host_memory]
        yield from stream_batch(window, workers, self._roster, outputs, dict.fromkeys(apart, OVERLAPPED))

    def run(self, outputs: Sequence[str], arrays: Feeds) -> list[np.ndarray]:
        """Run one inference on the device that will be through with it, and what it is at, before the others."""
        while True:
            with self._lock:
                self._check_present()
                item_ms = self._roster.item_ms()
                unknown_ms = max(item_ms.values(), default=1.0)
                device = min(
                    self._roster.present, key=lambda each: (self._running[each] + 1) * item_ms.get(each, unknown_ms)
                )
                self._running[device] += 1
            started = time.perf_counter()
            try:
                results = self._any_shape[device].run(arrays, outputs)
                if self._running[device] == 1:
                    self._roster.record(device, (time.perf_counter() - started) * 1e3)
                return results
            except LOSSES as error:
                self._roster.drop(device, error)
            finally:
                with self._lock:
                    self._running[device] -= 1

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            self._close_stages()
            while self._workers:
                self._workers.popitem()[1].close()

    def _costs(self) -> CostModel:
        return CostModel(self._machine().at_once)

    def _check_present(self) -> None:
        if not self._roster.present:
            raise self._roster.nobody_left()

    def _of_one_shape(self, feeds: Iterable[Mapping[str, Any]]) -> Iterator[Feeds]:
        """Checked feeds; stages are made for the shapes of the first."""
        expected: Shapes | None = None
        for each in feeds:
            arrays = check_feeds(self._source, each)
            shapes = self._shapes(arrays)
            expected = expected or shapes
            if shapes != expected:
                raise InputError(
                    f"inputs of shapes {_text(shapes)} follow such of {_text(expected)}: a pipeline is made for one "
                    "shape; use policy batch, or a stream per shape"
                )
            yield arrays

    def _shapes(self, arrays: Feeds) -> Shapes:
        return tuple(arrays[name].shape for name in self._source.inputs)

    def _graph(self, shapes: Shapes) -> Graph:
        return passes.run(passes.bind(self._source, dict(zip(self._source.inputs, shapes, strict=True))))

    def _load(self, graph: Graph, device: str) -> Worker:
        """A worker for a network, or a stage of one, that a device runs alone."""
        planned = plan_alone(graph, self._devices[device].info, self._machine(), self._exact, self._chain)
        return self._on_its_cores(self._make_worker(planned))

    def _on_its_cores(self, worker: Worker) -> Worker:
        """The worker for threads that drive no other device; one in a child process has cores of its own."""
        return _OnItsCores(worker, self._here) if worker.device in self._here else worker

    def _worker(self, device: str, arrays: Feeds) -> Worker:
        """The worker of a device for feeds of these shapes, loaded when they are new."""
        shapes = self._shapes(arrays)
        key = device, shapes
        with self._lock:
            if key not in self._workers:
                loaded = self._existing(shapes)
                if loaded is None or loaded.device != device:
                    self._workers[key] = self._load(self._graph(shapes), device)
                else:
                    self._workers[key] = self._on_its_cores(loaded)
                if len(self._workers) > MAX_WORKERS:
                    self._workers.popitem(last=False)
            self._workers.move_to_end(key)
            return self._workers[key]

    def _make_stages(self, present: Sequence[str], feeds: Feeds) -> list[StageRunner]:
        """Stages on these devices for feeds of these shapes; the latest are kept for the next stream."""
        key = tuple(present), self._shapes(feeds)
        with self._lock:
            if self._stages is None or self._stages[0] != key:
                self._close_stages()
                infos = [self._devices[device].info for device in present]
                graph = self._graph(self._shapes(feeds))
                self._plan, runners = balanced_stages(graph, feeds, infos, self._costs(), self._load)
                self._stages = key, runners
            return self._stages[1]

    def _close_stages(self) -> None:
        close(self._stages[1] if self._stages else ())
        self._stages = None

class _OnItsCores:
    """A worker whose runs keep to the cores that suit its device beside the others of this process."""

    def __init__(self, worker: Worker, here: Mapping[str, OpenDevice]) -> None:
        self.device = worker.device
        self._worker = worker
        self._here = here

    def run(self, feeds: Feeds, outputs: Sequence[str]) -> list[np.ndarray]:
        with affinity.beside(self._here.values(), self._here[self.device]):
            return self._worker.run(feeds, outputs)

    def close(self) -> None:
        self._worker.close()


class _OfAnyShape:
    """A device as a worker for feeds of any shapes."""

    def __init__(self, device: str, worker: Callable[[str, Feeds], Worker]) -> None:
        self.device = device
        self._worker = worker

    def run(self, feeds: Feeds, outputs: Sequence[str]) -> list[np.ndarray]:
        return self._worker(self.device, feeds).run(feeds, outputs)

    def close(self) -> None:
        """Nothing of its own."""


def _text(shapes: Shapes) -> str:
    return ", ".join("×".join(map(str, shape)) for shape in shapes)
