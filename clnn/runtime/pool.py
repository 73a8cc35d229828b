"""A small pool of executors, so that threads share a plan and never an executor."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from clnn.errors import DeadlineError, DeviceError
from clnn.runtime.executor import Executor

MAX_EXECUTORS = 4
"""Executors per plan at most, each with arenas of its own; further threads wait for a free one."""


class ExecutorPool:
    """Hands out executors; makes one when none is free, up to ``MAX_EXECUTORS``."""

    def __init__(self, make: Callable[[], Executor]) -> None:
        self._make = make
        self._free: queue.LifoQueue[Executor] = queue.LifoQueue()
        self._made = 0
        self._failed: list[Executor] = []
        self._lock = threading.Lock()
        self._free.put(self._new())

    def _new(self) -> Executor:
        executor = self._make()
        self._made += 1
        return executor

    @contextmanager
    def take(self) -> Iterator[Executor]:
        """Lend an executor for the block; one whose run failed on the device is not lent again."""
        executor = self._acquire()
        try:
            yield executor
        except (DeviceError, DeadlineError):
            with self._lock:
                self._made -= 1
                # Its device may still be at work in its buffers: they must not be freed before it is done.
                self._failed = [failed for failed in (*self._failed, executor) if failed.busy]
            raise
        except BaseException:
            self._free.put(executor)
            raise
        else:
            self._free.put(executor)

    def _acquire(self) -> Executor:
        while True:
            try:
                return self._free.get_nowait()
            except queue.Empty:
                with self._lock:
                    if self._made < MAX_EXECUTORS:
                        return self._new()
            try:
                return self._free.get(timeout=1.0)
            except queue.Empty:
                continue  # one may have been dropped meanwhile
