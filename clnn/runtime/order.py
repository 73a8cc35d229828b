"""Making steps of several queues wait for each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from clnn.plan import Host, Step

Action = Callable[..., Any]


def order(
    steps: Sequence[Step], actions: Sequence[Action], queues: Mapping[str, Any], wait: Callable[[Any, str], None]
) -> list[Callable[[], Any]]:
    """Actions that enqueue the steps one after the other, each once the steps that it waits for let it start.

    Queues of one context wait for each other's events by themselves. Between contexts, which know no common events,
    the thread that enqueues waits: one thread that drives all devices hands over faster than a thread for each.

    Args:
        actions: enqueue each step; all but those of host steps return an event and take ``wait_for``, a list of them.
        wait: waits for an event of the device of this id.
    """
    events: list[Any] = [None] * len(steps)
    awaited = {other for step in steps for other in step.waits_for}
    context = {device: queue.context.int_ptr for device, queue in queues.items()}
    ordered = []
    for index, (step, action) in enumerate(zip(steps, actions, strict=True)):
        if isinstance(step, Host):
            # What it reads has been copied: copies that the host reads from block.
            ordered.append(action)
            continue
        others = [other for other in step.waits_for if not isinstance(steps[other], Host)]
        same = [other for other in others if context[steps[other].device] == context[step.device]]
        foreign = [(other, steps[other].device) for other in others if other not in same]
        keep = index if index in awaited else None
        ordered.append(partial(_enqueue, action, queues[step.device], events, same, foreign, keep, wait))
    if len(set(context.values())) == 1:
        # Nothing makes the thread wait, and all cores may have pinned workers: let the last one begin.
        *_, last = dict.fromkeys(step.device for step in steps if not isinstance(step, Host))
        first = next(index for index, step in enumerate(steps) if not isinstance(step, Host) and step.device == last)
        ordered[first] = partial(_then_give_way, ordered[first])
    return ordered


def _then_give_way(action: Callable[[], Any]) -> Any:
    event = action()
    if hasattr(os, "sched_yield"):
        os.sched_yield()
    return event


def _enqueue(
    action: Action,
    queue: Any,
    events: list[Any],
    same: Sequence[int],
    foreign: Sequence[tuple[int, str]],
    keep: int | None,
    wait: Callable[[Any, str], None],
) -> Any:
    for other, device in foreign:
        wait(events[other], device)
    event = action(wait_for=[events[other] for other in same]) if same else action()
    queue.flush()
    if keep is not None:
        events[keep] = event
    return event
