"""Running many inferences on several devices: a thread per device, results in order, devices that fail are dropped."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from clnn.errors import ClnnError, DeviceError, ResourceError
from clnn.runtime.window import Feeds, Window
from clnn.runtime.worker import Worker
from clnn.schedule import look_ahead, recent_ms, should_take
from clnn.schedule.batch import RECENT

log = logging.getLogger("clnn")

LOSSES = (DeviceError, ResourceError)
"""Errors that say something of the device, or what it has room and time for, and not of one inference."""


class WorkerLost(Exception):
    """``device`` cannot be used any more because of ``error``."""

    def __init__(self, device: str, error: ClnnError) -> None:
        super().__init__(device, error)
        self.device = device
        self.error = error


class Roster:
    """The devices of a session's streams: how long an inference takes on each, and which were dropped, and why."""

    def __init__(self, devices: Sequence[str]) -> None:
        self.present = list(devices)
        self.images: Counter[str] = Counter()
        self._samples_ms: dict[str, list[float]] = {}
        self._lost: dict[str, ClnnError] = {}

    def record(self, device: str, item_ms: float) -> None:
        """Note the time of an inference; that of a device's first, which completes its programs, does not count."""
        samples = self._samples_ms.get(device)
        self._samples_ms[device] = [] if samples is None else [*samples[1 - RECENT :], item_ms]

    def item_ms(self) -> dict[str, float]:
        """Time of one inference on each device that has done any."""
        times = {device: recent_ms(self._samples_ms.get(device, ())) for device in self.present}
        return {device: each for device, each in times.items() if each is not None}

    def drop(self, device: str, error: ClnnError) -> None:
        """Do without a device, and say so."""
        if device in self.present:
            self.present.remove(device)
            self._lost[device] = error
            if self.present:
                log.warning("%s is dropped: %s; its work goes to %s", device, error, ", ".join(self.present))

    def nobody_left(self) -> ClnnError:
        """The error to raise when all devices were dropped: of the last one's type, naming all."""
        causes = "; ".join(f"{device}: {error}" for device, error in self._lost.items())
        return type(list(self._lost.values())[-1])(f"no device is left: {causes}")


class Batch:
    """Gives each inference of a window whole to one of the workers, see ``clnn.schedule.batch``.

    The first worker begins at once. Others of unknown speed are timed first, on the side, lest a slow one holds up a
    stream that is short.
    """

    def __init__(self, window: Window, workers: Sequence[Worker], roster: Roster, outputs: Sequence[str]) -> None:
        self._window = window
        self._roster = roster
        self._outputs = outputs
        self._started: dict[str, float] = {}
        self._timing = {worker.device for worker in workers[1:]} - set(roster.item_ms())
        self._look_ahead()
        self._threads = dict(zip((worker.device for worker in workers), _start(self._work, workers), strict=True))

    def stop(self) -> None:
        """Wait for the threads, which end when the window is closed and they have finished what they are at.

        Those that still time a device are not waited for: nobody needs their results.
        """
        for device, thread in self._threads.items():
            if device not in self._timing:
                thread.join()

    def _time(self, worker: Worker) -> bool:
        """Find out how long an inference takes on a device, from its second one; whether it can be used."""
        window = self._window
        try:
            for _ in range(2):  # the first one completes the programs
                feeds = window.first()
                if feeds is None:
                    break
                started = time.perf_counter()
                worker.run(feeds, self._outputs)
                self._roster.record(worker.device, (time.perf_counter() - started) * 1e3)
        except LOSSES as loss:
            if not window.closed:
                self._drop(worker.device, [], loss)
            return False
        except Exception:  # the inference's own, which is raised where it is run for its result
            log.debug("%s could not be timed", worker.device, exc_info=True)
        with window.changed:
            self._timing.discard(worker.device)
            self._look_ahead()
        return True

    def _work(self, worker: Worker) -> None:
        if worker.device in self._timing and not self._time(worker):
            return
        while (item := self._take(worker.device)) is not None:
            index, feeds = item
            error, result = None, None
            started = time.perf_counter()
            try:
                result = worker.run(feeds, self._outputs)
            except LOSSES as loss:
                self._drop(worker.device, [index], loss)
                return
            except Exception as own:  # the inference's own, raised at its place
                error = own
            item_ms = (time.perf_counter() - started) * 1e3
            del feeds, item
            with self._window.changed:
                del self._started[worker.device]
                if error is None:
                    self._roster.images[worker.device] += 1
                    self._roster.record(worker.device, item_ms)
                    self._look_ahead()
                self._window.finish(index, error or result)

    def _take(self, device: str) -> tuple[int, Feeds] | None:
        """Wait for an inference that the device shall do; ``None`` when there will be no more."""
        window = self._window
        with window.changed:
            while not window.closed:
                if window.waiting and self._should_take(device):
                    self._started[device] = time.perf_counter()
                    return window.take()
                # What was left to the others is looked at again: they may be slower than they were.
                window.changed.wait(self._roster.item_ms().get(device, 0.0) / 1e3 if window.waiting else None)
        return None

    def _should_take(self, device: str) -> bool:
        item_ms, now = self._roster.item_ms(), time.perf_counter()
        if device not in item_ms:
            return True
        elapsed_ms = {other: (now - started) * 1e3 for other, started in self._started.items() if other in item_ms}
        item_ms |= {other: max(item_ms[other], elapsed) for other, elapsed in elapsed_ms.items()}
        busy_ms = {other: item_ms[other] - elapsed for other, elapsed in elapsed_ms.items()}
        return should_take(device, len(self._window.waiting), item_ms, busy_ms)

    def _look_ahead(self) -> None:
        item_ms = self._roster.item_ms()
        self._window.ahead = max(look_ahead(item_ms) if item_ms else 1, len(self._roster.present))

    def _drop(self, device: str, indices: Sequence[int], error: ClnnError) -> None:
        with self._window.changed:
            self._started.pop(device, None)
            self._timing.discard(device)
            self._roster.drop(device, error)
            self._window.give_back(indices)
            if not self._roster.present:
                self._window.failure = self._roster.nobody_left()
                self._window.changed.notify_all()
            else:
                self._look_ahead()


@dataclass(frozen=True)
class StageRunner:
    """A stage of a pipeline: what it reads of an inference's tensors, and what it adds to them."""

    worker: Worker
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Pipeline:
    """Passes each inference of a window through all stages; sets the window's failure when a device is lost."""

    def __init__(
        self, window: Window, stages: Sequence[StageRunner], roster: Roster, outputs: Sequence[str], queue_depth: int
    ) -> None:
        self._window = window
        self._stages = stages
        self._roster = roster
        self._outputs = outputs
        self._depth = queue_depth
        self._queues: list[list[tuple[int, dict[str, np.ndarray]]]] = [[] for _ in stages[1:]]
        self._stopped = False
        window.ahead = queue_depth
        self._threads = _start(self._work, range(len(stages)))

    def stop(self) -> None:
        """End the threads; inferences that were taken and not finished are still taken."""
        with self._window.changed:
            self._stopped = True
            self._window.changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self, position: int) -> None:
        stage = self._stages[position]
        needed = {*self._outputs, *(name for later in self._stages[position + 1 :] for name in later.inputs)}
        while (item := self._take(position)) is not None:
            index, tensors = item
            started = time.perf_counter()
            try:
                arrays = stage.worker.run({name: tensors[name] for name in stage.inputs}, stage.outputs)
            except LOSSES as loss:
                with self._window.changed:
                    self._window.failure = self._window.failure or WorkerLost(stage.worker.device, loss)
                    self._window.changed.notify_all()
                return
            except Exception as own:  # the inference's own, raised at its place
                with self._window.changed:
                    self._window.finish(index, own)
                continue
            self._roster.images[stage.worker.device] += 1
            self._roster.record(stage.worker.device, (time.perf_counter() - started) * 1e3)
            tensors = {**tensors, **dict(zip(stage.outputs, arrays, strict=True))}
            self._pass_on(position, index, {name: array for name, array in tensors.items() if name in needed})

    def _take(self, position: int) -> tuple[int, dict[str, np.ndarray]] | None:
        window = self._window
        with window.changed:
            source = window.waiting if position == 0 else self._queues[position - 1]
            window.changed.wait_for(lambda: self._over or source)
            if self._over:
                return None
            if position == 0:
                index, feeds = window.take()
                return index, dict(feeds)
            window.changed.notify_all()
            return source.pop(0)

    def _pass_on(self, position: int, index: int, tensors: dict[str, np.ndarray]) -> None:
        with self._window.changed:
            if position == len(self._queues):
                self._window.finish(index, [tensors[name] for name in self._outputs])
                return
            queue = self._queues[position]
            self._window.changed.wait_for(lambda: self._over or len(queue) < self._depth)
            queue.append((index, tensors))
            self._window.changed.notify_all()

    @property
    def _over(self) -> bool:
        return self._stopped or self._window.closed or self._window.failure is not None


def stream_batch(
    window: Window, workers: Sequence[Worker], roster: Roster, outputs: Sequence[str]
) -> Iterator[list[np.ndarray]]:
    """Run the inferences of a window, each whole on one of the workers, and yield the results in order.

    Raises:
        ClnnError: all workers were lost (of the type of the last loss), or an inference is wrong.
    """
    batch = Batch(window, workers, roster, outputs)
    try:
        yield from window.results()
    finally:
        window.close()
        batch.stop()


def stream_pipeline(
    window: Window,
    make_stages: Callable[[Sequence[str], Feeds], Sequence[StageRunner]],
    roster: Roster,
    outputs: Sequence[str],
    queue_depth: int,
) -> Iterator[list[np.ndarray]]:
    """Run the inferences of a window through stages, and yield the results in order.

    When a device is lost, stages are made for those that remain, and what was not yet delivered runs again.

    Args:
        make_stages: stages on the devices given, for feeds of the shapes given; raises ``WorkerLost``.

    Raises:
        ClnnError: all devices were lost (of the type of the last loss), or an inference is wrong.
    """
    try:
        while (first := window.first()) is not None:
            pipeline = None
            try:
                pipeline = Pipeline(window, make_stages(roster.present, first), roster, outputs, queue_depth)
                yield from window.results()
                return
            except WorkerLost as lost:
                roster.drop(lost.device, lost.error)
            finally:
                if pipeline is not None:
                    pipeline.stop()
            if not roster.present:
                raise roster.nobody_left()
            with window.changed:
                window.failure = None
                window.give_back()
        yield from window.results()  # the feeds gave none, or raised
    finally:
        window.close()


def _start(work: Callable, each: Sequence) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, args=(one,), name="clnn-stream", daemon=True) for one in each]
    for thread in threads:
        thread.start()
    return threads
