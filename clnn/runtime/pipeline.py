"""Running many inferences through stages on several devices: a thread per stage, results in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from clnn.runtime.roster import LOSSES, Roster, WorkerLost
from clnn.runtime.window import Feeds, Window, start_threads
from clnn.runtime.worker import Worker


@dataclass(frozen=True)
class StageRunner:
    """A stage of a pipeline: what it reads of an inference's tensors, and what it adds to them."""

    worker: Worker
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


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
        self._threads = start_threads(self._work, range(len(stages)))

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
                    self._window.fail(WorkerLost(stage.worker.device, loss))
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
