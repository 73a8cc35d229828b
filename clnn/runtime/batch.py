"""Running many inferences, each whole on one of several devices: a thread per device, results in order."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clnn.errors import ClnnError
from clnn.runtime.roster import LOSSES, Roster
from clnn.runtime.window import Feeds, Window, start_threads
from clnn.runtime.worker import Worker
from clnn.schedule import is_overdue, look_ahead, should_take

log = logging.getLogger("clnn")

LOOK_AGAIN_MS = 1.0
"""How often an idle device looks at what it may do, if its inferences do not take longer."""


def stream_batch(
    window: Window,
    workers: Sequence[Worker],
    roster: Roster,
    outputs: Sequence[str],
    at_once: Mapping[str, int] | None = None,
) -> Iterator[list[np.ndarray]]:
    """Run the inferences of a window, each whole on one of the workers, and yield the results in order.

    Args:
        at_once: by device, how many inferences are under way on it at once, if not one.

    Raises:
        ClnnError: all workers were lost (of the type of the last loss), or an inference is wrong.
    """
    batch = Batch(window, workers, roster, outputs, at_once or {})
    try:
        yield from window.results()
    finally:
        window.close()
        batch.stop()


@dataclass(frozen=True)
class _Running:
    """An inference on a device, since the moment ``started_s``."""

    device: str
    index: int
    started_s: float

    def elapsed_ms(self, now_s: float) -> float:
        return (now_s - self.started_s) * 1e3


class Batch:
    """Gives each inference of a window whole to one of the workers, see ``clnn.schedule.batch``.

    The first worker begins at once. Others of unknown speed are timed first, on the side, lest a slow one holds up a
    stream that is short. What takes a device much longer than usual, as one does that hangs, is also run by another one
    that has nothing else to do; the first result counts.

    A thread runs one inference at a time. A device with a memory of its own has several: while it computes for one,
    the inputs of another are copied to it and the outputs of a third from it.
    """

    def __init__(
        self,
        window: Window,
        workers: Sequence[Worker],
        roster: Roster,
        outputs: Sequence[str],
        at_once: Mapping[str, int],
    ) -> None:
        self._window = window
        self._roster = roster
        self._outputs = outputs
        self._at_once = {worker.device: at_once.get(worker.device, 1) for worker in workers}
        self._running: dict[threading.Thread, _Running] = {}
        self._timing = {worker.device for worker in workers[1:]} - set(roster.item_ms())
        self._timers: set[threading.Thread] = set()
        self._look_ahead()
        self._threads: list[threading.Thread] = []
        self._start(self._begin, workers)

    def _start(self, work: Callable[[Worker], None], workers: Sequence[Worker]) -> None:
        with self._window.changed:
            self._threads += start_threads(work, workers)

    def stop(self) -> None:
        """Wait for the threads, which end when the window is closed and they have finished what they are at.

        Those that still time a device are not waited for, nor those at what another one has done meanwhile: nobody
        needs their results.
        """
        with self._window.changed:
            useless = {thread for thread, run in self._running.items() if run.index not in self._window.taken}
            useful = [thread for thread in self._threads if thread not in useless | self._timers]
        for thread in useful:
            thread.join()

    def _time(self, worker: Worker) -> bool:
        """Find out how long an inference takes on a device, from its second one; whether it can be used."""
        window, me = self._window, threading.current_thread()
        self._timers.add(me)
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
            self._timers.discard(me)
            self._timing.discard(worker.device)
            self._look_ahead()
        return True

    def _begin(self, worker: Worker) -> None:
        """The first thread of a device."""
        if worker.device in self._timing and not self._time(worker):
            return
        self._start(self._work, [worker] * (self._at_once[worker.device] - 1))
        self._work(worker)

    def _work(self, worker: Worker) -> None:
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
            item_ms = (time.perf_counter() - started) * 1e3 / self._at_once[worker.device]
            del feeds, item
            with self._window.changed:
                del self._running[threading.current_thread()]
                if error is None:
                    self._roster.images[worker.device] += index in self._window.taken
                    self._roster.record(worker.device, item_ms)
                    self._look_ahead()
                self._window.finish(index, error or result)

    def _take(self, device: str) -> tuple[int, Feeds] | None:
        """Wait for an inference that the device shall do; ``None`` when there will be no more."""
        window = self._window
        with window.changed:
            while not window.closed and device in self._roster.present:
                if (item := self._next(device)) is not None:
                    self._running[threading.current_thread()] = _Running(device, item[0], time.perf_counter())
                    return item
                # What was left to the others is looked at again: they may be slower than they were.
                look_again_s = max(self._roster.item_ms().get(device, 0.0), LOOK_AGAIN_MS) / 1e3
                window.changed.wait(look_again_s if window.waiting or self._running else None)
        return None

    def _next(self, device: str) -> tuple[int, Feeds] | None:
        window = self._window
        if window.waiting:
            return window.take() if self._should_take(device) else None
        item_ms, now = self._roster.item_ms(), time.perf_counter()
        runs = Counter(run.index for run in self._running.values())
        for run in self._running.values():
            usual_ms = item_ms.get(run.device, math.inf) * self._at_once[run.device]
            if is_overdue(usual_ms, run.elapsed_ms(now)) and runs[run.index] == 1 and run.index in window.taken:
                return run.index, window.taken[run.index]
        return None

    def _should_take(self, device: str) -> bool:
        item_ms, now = self._roster.item_ms(), time.perf_counter()
        if device not in item_ms:
            return True
        # Of several at once, they end at even distances: each counts as if it was alone, and the last one tells.
        elapsed_ms = {run.device: run.elapsed_ms(now) / self._at_once[run.device]
                      for run in self._running.values() if run.device in item_ms}
        item_ms |= {other: max(item_ms[other], elapsed) for other, elapsed in elapsed_ms.items()}
        busy_ms = {other: item_ms[other] - elapsed for other, elapsed in elapsed_ms.items()}
        return should_take(device, len(self._window.waiting), item_ms, busy_ms)

    def _look_ahead(self) -> None:
        item_ms = self._roster.item_ms()
        self._window.ahead = max(
            look_ahead(item_ms) if item_ms else 1, sum(self._at_once[device] for device in self._roster.present)
        )

    def _drop(self, device: str, indices: Sequence[int], error: ClnnError) -> None:
        with self._window.changed:
            self._running.pop(threading.current_thread(), None)
            self._timers.discard(threading.current_thread())
            self._timing.discard(device)
            self._roster.drop(device, error)
            elsewhere = {run.index for run in self._running.values()}
            self._window.give_back([each for each in indices if each in self._window.taken and each not in elsewhere])
            if not self._roster.present:
                self._window.fail(self._roster.nobody_left())
            else:
                self._look_ahead()
