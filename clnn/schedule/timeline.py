"""Virtual time: when the tasks of queues start and finish, for one inference and for streams of images.

Queues are in order, so that the start of every task follows from tasks before it and one pass over them is an exact
discrete-event simulation. Times are milliseconds from the start of the first inference.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median

from clnn.devices.model import MachineModel
from clnn.schedule.types import HOST

Take = Callable[[str, int, Mapping[str, float], Mapping[str, float]], bool]


@dataclass(frozen=True)
class Task:
    """Something that occupies an in-order queue: a kernel, a transfer, or a node that the host computes.

    Attributes:
        queue: a device's id, or ``HOST``.
        waits_for: indices of tasks before it that must have finished.
        launch_ms: least time from the end of the task before it in its queue; of the first one, from time 0.
        sync_ms: time from its end until a task of another queue that waits for it may start.
        awaits: those of ``waits_for`` that the thread which enqueues waits for, as the queue itself cannot. Half of
            their ``sync_ms`` is then seeing the end, and half of this one's is starting from nothing; the host, which
            starts nothing, is charged the whole.
        enqueue_ms: time that this thread needs for it.
        link: that of a transfer, which it occupies as well: a link moves one tensor at a time. See ``link_name``.
    """

    name: str
    queue: str
    duration_ms: float
    waits_for: tuple[int, ...] = ()
    launch_ms: float = 0.0
    sync_ms: float = 0.0
    awaits: tuple[int, ...] = ()
    enqueue_ms: float = 0.0
    link: str = ""


@dataclass(frozen=True)
class StageTimes:
    """A stage of a pipeline: the device that runs it, its time per image, and that of the transfer to the next one."""

    device: str
    duration_ms: float
    transfer_ms: float = 0.0


@dataclass(frozen=True)
class Event:
    """That ``track``, a queue, or for a transfer a link, is occupied for a while by something called ``name``."""

    name: str
    track: str
    start_ms: float
    finish_ms: float
    image: int = 0

    def delayed(self, delay_ms: float, image: int) -> Event:
        """The same thing for another image, later."""
        return Event(self.name, self.track, self.start_ms + delay_ms, self.finish_ms + delay_ms, image)


@dataclass(frozen=True)
class Timeline:
    """What happens on a machine during a simulation.

    Attributes:
        latency_ms: from the start of an image to its result; the median over the images.
        duration_ms: from time 0 to the end of the last event.
        busy_ms: by the id of each device of the machine, how long kernels run on it.
        energy_mj: energy in millijoules that the devices take: ``busy_watts`` while they are busy, else ``idle_watts``.
    """

    events: tuple[Event, ...]
    images: int
    latency_ms: float
    duration_ms: float
    busy_ms: Mapping[str, float]
    energy_mj: float

    @property
    def images_per_s(self) -> float:
        return 1e3 * self.images / self.duration_ms if self.duration_ms else 0.0

    @property
    def utilisation(self) -> dict[str, float]:
        """The share of the time in which kernels run, by device."""
        return {device: busy / self.duration_ms if self.duration_ms else 0.0 for device, busy in self.busy_ms.items()}


def link_name(source: str, destination: str) -> str:
    """What the link between two places is called in tasks and events."""
    return f"{source} → {destination}"


def run_tasks(tasks: Sequence[Task], begin_ms: float = 0.0, beside: str = "") -> tuple[Event, ...]:
    """When each task starts and finishes; every queue, and every link, takes its tasks in the order given.

    One thread enqueues them in this order, from ``begin_ms`` on, waits for those that queues cannot wait for, and
    computes those of the queue ``HOST`` itself.

    Args:
        beside: the queue whose device computes on the core of this thread, and stands still while it enqueues.
    """
    free_ms: dict[str, float] = {HOST: begin_ms}
    held_ms = 0.0
    events: list[Event] = []
    for task in tasks:
        for index in task.awaits:
            seen_ms = tasks[index].sync_ms if task.queue == HOST else tasks[index].sync_ms / 2
            free_ms[HOST] = max(free_ms[HOST], events[index].finish_ms + seen_ms)
        if free_ms.get(beside, 0.0) > free_ms[HOST]:
            held_ms += task.enqueue_ms
        free_ms[HOST] += task.enqueue_ms
        start_ms = max(free_ms[HOST] + (task.sync_ms / 2 if task.awaits else 0.0), free_ms.get(task.link, 0.0),
                       free_ms.get(task.queue, 0.0) + task.launch_ms)
        for index in task.waits_for:
            if index not in task.awaits:
                across = tasks[index].queue != task.queue
                start_ms = max(start_ms, events[index].finish_ms + (tasks[index].sync_ms if across else 0.0))
        finish_ms = start_ms + task.duration_ms
        if task.queue == beside:
            finish_ms, held_ms = finish_ms + held_ms, 0.0
        free_ms[task.queue] = finish_ms
        if task.link:
            free_ms[task.link] = finish_ms
        events.append(Event(task.name, task.link or task.queue, start_ms, finish_ms))
    return tuple(events)


def shared_time(events: Sequence[Event]) -> list[float]:
    """The share of each event's time, 0 to 1, in which other queues than its own, the host's apart, are occupied."""
    tracks: dict[str, list[tuple[float, float]]] = {}
    for event in events:
        if event.track != HOST:
            tracks.setdefault(event.track, []).append((event.start_ms, event.finish_ms))
    others = {
        own: _Spans(sorted(span for track, spans in tracks.items() if track != own for span in spans))
        for own in (*tracks, HOST)
    }
    return [
        (others[event.track].upto(event.finish_ms) - others[event.track].upto(event.start_ms)) / duration_ms
        if (duration_ms := event.finish_ms - event.start_ms) > 0 else 0.0
        for event in events
    ]


class _Spans:
    """How much of the time up to some moment lies in any of the spans (start, end), which are sorted."""

    def __init__(self, spans: Sequence[tuple[float, float]]) -> None:
        self._starts: list[float] = []
        self._ends: list[float] = []
        for start, end in spans:
            if self._ends and start <= self._ends[-1]:
                self._ends[-1] = max(end, self._ends[-1])
            else:
                self._starts.append(start)
                self._ends.append(end)
        lengths = (end - start for start, end in zip(self._starts, self._ends, strict=True))
        self._before = list(accumulate(lengths, initial=0.0))

    def upto(self, moment: float) -> float:
        """Milliseconds before ``moment`` that lie in a span."""
        index = bisect_right(self._starts, moment)
        late = max(0.0, self._ends[index - 1] - moment) if index else 0.0
        return self._before[index] - late


def run_batch(
    inferences: Mapping[str, Sequence[Event]], images: int, take: Take = lambda device, waiting, item_ms, busy_ms: True
) -> tuple[Event, ...]:
    """A stream of images that are all there at the start: a device takes the next one whenever it becomes free.

    Self-scheduling: Tang and Yew, "Processor self-scheduling for multiple-nested parallel loops", ICPP 1986.

    Args:
        inferences: by device, the events of one whole image on it, from time 0.
        take: whether an idle device shall take an image, given how many wait, the time of one by device, and how long
            the busy ones still will be. One that does not goes without from then on; the last one left takes all.
    """
    item_ms = {device: max(event.finish_ms for event in events) for device, events in inferences.items()}
    order = {device: position for position, device in enumerate(inferences)}
    free = [(0.0, order[device], device) for device in inferences]
    found: list[Event] = []
    image = 0
    while image < images:
        now_ms, _, device = heapq.heappop(free)
        busy_ms = {other: free_ms - now_ms for free_ms, _, other in free if free_ms > now_ms}
        if free and not take(device, images - image, item_ms, busy_ms):
            continue
        found.extend(event.delayed(now_ms, image) for event in inferences[device])
        heapq.heappush(free, (now_ms + item_ms[device], order[device], device))
        image += 1
    return tuple(found)


def run_pipeline(stages: Sequence[StageTimes], images: int, depth: int) -> tuple[Event, ...]:
    """A stream of images through stages, each on a device of its own, with room for ``depth`` images before each.

    A stage that has finished an image keeps it, and stands still, until there is room before the next one; then the
    transfer goes on beside the stage's next image. The room is free again when the next stage starts with the image.
    """
    started_ms: list[list[float]] = [[] for _ in stages]
    free_ms = [0.0] * len(stages)
    link_free_ms = [0.0] * len(stages)
    found: list[Event] = []
    for image in range(images):
        arrival_ms = 0.0
        for index, stage in enumerate(stages):
            start_ms = max(arrival_ms, free_ms[index])
            finish_ms = start_ms + stage.duration_ms
            started_ms[index].append(start_ms)
            found.append(Event(f"image {image}", stage.device, start_ms, finish_ms, image))
            free_ms[index] = finish_ms
            if index + 1 < len(stages):
                if image >= depth:
                    free_ms[index] = max(finish_ms, started_ms[index + 1][image - depth])
                leave_ms = max(free_ms[index], link_free_ms[index])
                arrival_ms = link_free_ms[index] = leave_ms + stage.transfer_ms
                track = link_name(stage.device, stages[index + 1].device)
                found.append(Event(f"image {image}", track, leave_ms, arrival_ms, image))
    return tuple(found)


def summarise(events: Sequence[Event], machine: MachineModel, images: int = 1) -> Timeline:
    """The figures of a simulation of ``images`` images on a machine, all of whose devices take power."""
    duration_ms = max((event.finish_ms for event in events), default=0.0)
    busy_ms = dict.fromkeys(machine.devices, 0.0)
    for event in events:
        if event.track in busy_ms:
            busy_ms[event.track] += event.finish_ms - event.start_ms
    energy_mj = sum(
        device.busy_watts * busy_ms[name] + device.idle_watts * (duration_ms - busy_ms[name])
        for name, device in machine.devices.items()
    )
    latency_ms = duration_ms if images == 1 else _median_latency_ms(events, images)
    return Timeline(tuple(events), images, latency_ms, duration_ms, busy_ms, energy_mj)


def _median_latency_ms(events: Sequence[Event], images: int) -> float:
    first_ms, last_ms = [float("inf")] * images, [0.0] * images
    for event in events:
        first_ms[event.image] = min(first_ms[event.image], event.start_ms)
        last_ms[event.image] = max(last_ms[event.image], event.finish_ms)
    return median(last - first for first, last in zip(first_ms, last_ms, strict=True))
