"""The inferences of a stream that are under way: read ahead, bounded in number, handed back in their order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Feeds = Mapping[str, np.ndarray]

JOIN_S = 1.0
"""How long closing waits for the thread that reads the feeds: it may be blocked in the caller's iterable."""


class Window:
    """Reads feeds ahead in a thread of its own, lets devices take them, and yields the results in order, each once.

    Args:
        feeds: consumed lazily; what it raises is raised in its place, after the results before it.
        ahead: how many wait to be taken at most; may be changed.

    ``changed`` guards the attributes, and is notified when there may be work for a device: of feeds, results and the
    end. The reader of feeds and the consumer of results wait on conditions of their own, lest each inference wakes all.
    """

    def __init__(self, feeds: Iterable[Feeds], ahead: int = 1) -> None:
        lock = threading.RLock()
        self.changed, self._room, self._news = (threading.Condition(lock) for _ in range(3))
        self.ahead = ahead
        self.waiting: deque[tuple[int, Feeds]] = deque()
        self.taken: dict[int, Feeds] = {}
        self.failure: BaseException | None = None
        self.closed = False
        self._results: dict[int, list[np.ndarray] | BaseException] = {}
        self._read = self._yielded = 0
        self._exhausted = False
        self._feeder = threading.Thread(target=self._feed, args=(feeds,), name="clnn-feeds", daemon=True)
        self._feeder.start()

    def _feed(self, feeds: Iterable[Feeds]) -> None:
        try:
            iterator = iter(feeds)
            while self._wait_for_room():
                try:
                    item = next(iterator)
                except StopIteration:
                    break
                with self.changed:
                    self.waiting.append((self._read, item))
                    self._read += 1
                    self.changed.notify_all()
        except BaseException as error:  # raised where the caller is: in its thread, after what came before
            with self.changed:
                self._results[self._read] = error
                self._read += 1
        with self.changed:
            self._exhausted = True
            self._wake_all()

    def _wait_for_room(self) -> bool:
        """Wait until one more may be read; false when the window was closed."""
        with self.changed:
            self._room.wait_for(lambda: self.closed or self._has_room())
            return not self.closed

    def _has_room(self) -> bool:
        # While the slowest device is at one, as many as wait for it may be finished by the others.
        return len(self.waiting) < self.ahead and self._read - self._yielded <= 2 * self.ahead + len(self.taken)

    def first(self) -> Feeds | None:
        """The first that waits, once it is there; ``None`` if none ever comes."""
        with self.changed:
            self.changed.wait_for(lambda: self.waiting or self._exhausted or self.closed)
            return self.waiting[0][1] if self.waiting else None

    def take(self) -> tuple[int, Feeds]:
        """The next inference, number and feeds; ``changed`` must be held and one be waiting."""
        index, feeds = self.waiting.popleft()
        self.taken[index] = feeds
        self._room.notify()
        return index, feeds

    def finish(self, index: int, result: list[np.ndarray] | BaseException) -> None:
        """Hand in the result of an inference that was taken, or the error that it caused; ``changed`` must be held.

        Only the first result of an inference counts.
        """
        if self.taken.pop(index, None) is None:
            return
        self._results[index] = result
        if index == self._yielded:
            self._news.notify()
        if self._has_room():
            self._room.notify()
        self.changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """End the results with an error, the first one that is given; ``changed`` must be held."""
        self.failure = self.failure or error
        self._wake_all()

    def _wake_all(self) -> None:
        for condition in (self.changed, self._room, self._news):
            condition.notify_all()

    def give_back(self, indices: Sequence[int] | None = None) -> None:
        """Let inferences that were taken, ``None`` for all, wait again, before all others; ``changed`` must be held."""
        for index in sorted(self.taken if indices is None else indices, reverse=True):
            self.waiting.appendleft((index, self.taken.pop(index)))
        self.changed.notify_all()

    def results(self) -> Iterator[list[np.ndarray]]:
        """Yield results in the order of the feeds.

        Raises:
            BaseException: what an inference caused, at its place; ``failure`` once it is set and nothing else is left.
        """
        while True:
            with self.changed:
                self._news.wait_for(self._has_news)
                if self._yielded in self._results:
                    result: Any = self._results.pop(self._yielded)
                    self._yielded += 1
                    if self._has_room():
                        self._room.notify()
                elif self.failure is not None:
                    raise self.failure
                else:
                    return
            if isinstance(result, BaseException):
                raise result
            yield result

    def _has_news(self) -> bool:
        done = self._exhausted and self._yielded == self._read
        return self._yielded in self._results or self.failure is not None or done

    def close(self) -> None:
        """Let all threads that wait for a change end."""
        with self.changed:
            self.closed = True
            self.waiting.clear()
            self._wake_all()
        self._feeder.join(JOIN_S)


def start_threads(work: Callable, each: Sequence) -> list[threading.Thread]:
    """Start a thread that calls ``work`` for each; one that hangs in a driver does not keep the process."""
    threads = [threading.Thread(target=work, args=(one,), name="clnn-stream", daemon=True) for one in each]
    for thread in threads:
        thread.start()
    return threads
