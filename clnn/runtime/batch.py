"""Running many inferences, each whole on one of several devices: a thread per device, results in order."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence

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


class Batch:
    """Gives each inference of a window whole to one of the workers, see ``clnn.schedule.batch``.

    The first worker begins at once. Others of unknown speed are timed first, on the side, lest a slow one holds up a
    stream that is short. What takes a device much longer than usual, as one does that hangs, is also run by another one
    that has nothing else to do; the first result counts.
    """

    def __init__(self, window: Window, workers: Sequence[Worker], roster: Roster, outputs: Sequence[str]) -> None:
        self._window = window
        self._roster = roster
        self._outputs = outputs
        self._running: dict[str, tuple[int, float]] = {}  # by device: which inference, since when
        self._timing = {worker.device for worker in workers[1:]} - set(roster.item_ms())
        self._look_ahead()
        threads = start_threads(self._work, workers)
        self._threads = {worker.device: thread for worker, thread in zip(workers, threads, strict=True)}

    def stop(self) -> None:
        """Wait for the threads, which end when the window is closed and they have finished what they are at.

        Those that still time a device are not waited for, nor those at what another one has done meanwhile: nobody
        needs their results.
        """
        with self._window.changed:
            useless = {device for device, (index, _) in self._running.items() if index not in self._window.taken}
            useless |= self._timing
        for device, thread in self._threads.items():
            if device not in useless:
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
                del self._running[worker.device]
                if error is None:
                    self._roster.images[worker.device] += index in self._window.taken
                    self._roster.record(worker.device, item_ms)
                    self._look_ahead()
                self._window.finish(index, error or result)

    def _take(self, device: str) -> tuple[int, Feeds] | None:
        """Wait for an inference that the device shall do; ``None`` when there will be no more."""
        window = self._window
        with window.changed:
            while not window.closed:
                if (item := self._next(device)) is not None:
                    self._running[device] = item[0], time.perf_counter()
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
        runs = Counter(index for index, _ in self._running.values())
        for other, (index, started) in self._running.items():
            late = other in item_ms and is_overdue(item_ms[other], (now - started) * 1e3)
            if late and runs[index] == 1 and index in window.taken:
                return index, window.taken[index]
        return None

    def _should_take(self, device: str) -> bool:
        item_ms, now = self._roster.item_ms(), time.perf_counter()
        if device not in item_ms:
            return True
        elapsed_ms = {other: (now - begun) * 1e3 for other, (_, begun) in self._running.items() if other in item_ms}
        item_ms |= {other: max(item_ms[other], elapsed) for other, elapsed in elapsed_ms.items()}
        busy_ms = {other: item_ms[other] - elapsed for other, elapsed in elapsed_ms.items()}
        return should_take(device, len(self._window.waiting), item_ms, busy_ms)

    def _look_ahead(self) -> None:
        item_ms = self._roster.item_ms()
        self._window.ahead = max(look_ahead(item_ms) if item_ms else 1, len(self._roster.present))

    def _drop(self, device: str, indices: Sequence[int], error: ClnnError) -> None:
        with self._window.changed:
            self._running.pop(device, None)
            self._timing.discard(device)
            self._roster.drop(device, error)
            elsewhere = {index for index, _ in self._running.values()}
            self._window.give_back([each for each in indices if each in self._window.taken and each not in elsewhere])
            if not self._roster.present:
                self._window.fail(self._roster.nobody_left())
            else:
                self._look_ahead()
