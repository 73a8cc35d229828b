"""Timelines as files that Perfetto (ui.perfetto.dev) and chrome://tracing show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clnn.errors import InputError
from clnn.schedule.timeline import Timeline


def write_trace(path: str, timelines: Mapping[str, Timeline]) -> None:
    """Write timelines, by name, in the Trace Event Format of Chromium: a process each, with a track for each queue.

    Raises:
        InputError: the file cannot be written.
    """
    events = [event for pid, name in enumerate(timelines) for event in _process(pid, name, timelines[name])]
    try:
        Path(path).write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}), "utf-8")
    except OSError as error:
        raise InputError(f"trace '{path}' cannot be written: {error.strerror}; choose another file") from error


def _process(pid: int, name: str, timeline: Timeline) -> list[dict[str, Any]]:
    # What takes no time has no width, and would only hide the track.
    shown = [event for event in timeline.events if event.finish_ms > event.start_ms]
    tracks = {track: tid for tid, track in enumerate(dict.fromkeys([*timeline.busy_ms, *(e.track for e in shown)]))}
    labels = [{"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": name}}]
    labels += [
        {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": track}}
        for track, tid in tracks.items()
    ]
    return labels + [
        {
            "ph": "X", "name": event.name, "pid": pid, "tid": tracks[event.track],
            "ts": 1e3 * event.start_ms, "dur": 1e3 * (event.finish_ms - event.start_ms),
            "args": {"image": event.image},
        }
        for event in shown
    ]  # fmt: skip
