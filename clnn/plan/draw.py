"""A plan as a picture: the timeline of one inference, in SVG."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from clnn.errors import UsageError
from clnn.ops.dataflow import OP as DATAFLOW
from clnn.plan.table import node_rows, totals
from clnn.plan.times import Times, predict, timeline
from clnn.plan.types import Copy, Host, Plan
from clnn.schedule import HOST

PALETTE = ("#8db9e8", "#f8bd7f", "#9ad6a4", "#f2a09d", "#c4b0e6", "#8fd6d2", "#f4dc7c", "#d6b294")
_GREY = "#cfd4dc"
"""Light enough for dark labels: the operators that take longest have a colour each, the others share the grey."""

_COPY = "copy"

MARGIN, _LEFT, _ROW, _GAP, LINE = 20, 120, 40, 10, 18
"""Pixels around the picture, before the timeline, of a row, between two rows, of a line of text."""
_PER_BOX, _NARROWEST, _WIDEST = 30, 1000, 6000
"""Pixels along the timeline: for each box of the device that has most, for all at least and at most."""
_LETTER = 6.4
"""Pixels that a letter of a label takes, about."""
_STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#24292f}.title{font-size:15px;font-weight:600}.dim{fill:#6b7280}"
    ".box{stroke:#fff;stroke-width:.6}.box:hover{stroke:#24292f}.row{fill:#f4f5f7}.tick{stroke:#e1e4e8}.middle{text-anchor:middle}"
)


@dataclass(frozen=True)
class _Box:
    """Something that a device, or the host, does for a while; ``tip`` is shown when it is pointed at."""

    device: str
    start_ms: float
    finish_ms: float
    op: str
    name: str
    tip: str

    @property
    def ms(self) -> float:
        return self.finish_ms - self.start_ms


def to_svg(plan: Plan, title: str, measured: Times | None = None) -> str:
    """The timeline of one inference: a row per device, a box for each kernel, copy and node that the host computes.

    Boxes are as long as measured, else as predicted, and start when they would by simulation.

    Args:
        title: for the head, as the name of the network.

    Raises:
        UsageError: nothing is known of the speed of a device.
    """
    predicted = predict(plan)
    if predicted is None:
        unknown = min(set(plan.used_devices) - plan.lowered.machine.devices.keys())
        raise UsageError(
            f"the plan cannot be drawn: the speed of {unknown} is unknown; give it a hint in platforms.yaml"
        )
    boxes = _boxes(plan, predicted, measured)
    devices = list(dict.fromkeys([*plan.used_devices, *(box.device for box in boxes)]))
    totals_ms: dict[str, float] = defaultdict(float)
    for box in boxes:
        totals_ms[box.op] += box.ms
    colours = _colours(totals_ms)
    end_ms = max((box.finish_ms for box in boxes), default=0.0) or 1.0
    most = max(Counter(box.device for box in boxes).values(), default=0)
    width = min(max(_PER_BOX * most, _NARROWEST), _WIDEST)
    about = totals(plan, measured)
    top = 2 * MARGIN + LINE * (1 + len(about))
    bottom = top + len(devices) * (_ROW + _GAP)
    parts = [caption(MARGIN, MARGIN + 14, f"{title}: policy {plan.schedule.policy}", "title")]
    parts += [caption(MARGIN, MARGIN + 14 + LINE * line, text, "dim") for line, text in enumerate(about, 1)]
    parts += _axis(end_ms, width / end_ms, top, bottom)
    for index, device in enumerate(devices):
        own = [box for box in boxes if box.device == device]
        parts += _row(device, own, top + index * (_ROW + _GAP), width / end_ms, end_ms, colours)
    parts += _legend(colours, totals_ms, width, bottom + 2 * LINE)
    return picture(parts, _LEFT + width + MARGIN, bottom + 3 * LINE + MARGIN)


def picture(parts: Iterable[str], width: float, height: float) -> str:
    """An SVG of these elements, so large in pixels."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    return "\n".join([head, f"<style>{_STYLE}</style>", ground, *parts, "</svg>", ""])


def _boxes(plan: Plan, predicted: Times, measured: Times | None) -> list[_Box]:
    """What takes time, in the order of the plan's steps."""
    known = [*([("measured", measured)] if measured else []), ("predicted", predicted)]
    layers = {row["layer"]: row for row in node_rows(plan)}
    boxes = []
    for index, (step, event) in enumerate(zip(plan.steps, timeline(plan, known[0][1]), strict=True)):
        took = [f"{ms:.3f} ms {what}" for what, times in known if (ms := times.step_ms[index]) is not None]
        if isinstance(step, Copy):
            device, op, name, about = step.device, _COPY, step.tensor, [f"{step.source} → {step.destination}"]
        else:
            device, name = (HOST, step.node.name) if isinstance(step, Host) else (step.device, step.node)
            layer = layers[name]
            op, share = layer["op"].removeprefix("clnn."), layer["shares"].get(device)
            if layer["op"] == DATAFLOW:  # stages have colours of their own
                op = f"{step.launch.kernel.name} stage"
            about = [f"{device}: {100 * share:.0f} %" if share else device, layer["algorithm"], layer["reason"]]
        tip = "\n".join(filter(None, [f"{name} ({op})", ", ".join(took), *about]))
        boxes.append(_Box(device, event.start_ms, event.finish_ms, op, name, tip))
    return [box for box in boxes if box.ms > 0]


def _colours(totals_ms: Mapping[str, float]) -> dict[str, str]:
    """A colour for each operator, in the order of the time that it takes."""
    longest = sorted(totals_ms, key=lambda op: (op == _COPY, -totals_ms[op]))
    palette = dict(zip((op for op in longest if op != _COPY), PALETTE, strict=False))
    return {op: palette.get(op, _GREY) for op in longest}


def _axis(end_ms: float, scale: float, top: float, bottom: float) -> Iterable[str]:
    """Lines and their times, some 100 pixels apart, at 1, 2 or 5 times a power of ten."""
    least_ms = 80 / scale
    power = 10.0 ** math.floor(math.log10(least_ms))
    step_ms = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least_ms)
    for count in range(int(end_ms / step_ms) + 1):
        x = _LEFT + count * step_ms * scale
        yield f'<path class="tick" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>'
        yield caption(x, bottom + LINE - 4, f"{count * step_ms:.10g} ms", "dim middle")


def _row(
    device: str, boxes: Sequence[_Box], top: float, scale: float, end_ms: float, colours: Mapping[str, str]
) -> Iterable[str]:
    """The name of a device, how busy it is, and its boxes."""
    busy = sum(box.ms for box in boxes) / end_ms
    yield f'<rect class="row" x="{_LEFT}" y="{top}" width="{end_ms * scale:.1f}" height="{_ROW}"/>'
    yield caption(MARGIN, top + 17, _fitting(device, _LEFT - MARGIN), "")
    yield caption(MARGIN, top + 32, f"{100 * busy:.0f} % busy", "dim")
    for box in boxes:
        x, width = _LEFT + box.start_ms * scale, box.ms * scale
        yield f"<g><title>{_escape(box.tip)}</title>"
        yield (
            f'<rect class="box" x="{x:.2f}" y="{top}" width="{width:.2f}" height="{_ROW}" rx="2" '
            f'fill="{colours[box.op]}"/>'
        )
        label = next((text for text in (box.name, box.op) if len(text) * _LETTER + 6 <= width), "")
        if label:
            yield caption(x + width / 2, top + _ROW / 2 + 4, label, "middle")
        yield "</g>"


def _legend(colours: Mapping[str, str], totals_ms: Mapping[str, float], width: float, top: float) -> Iterable[str]:
    """What each colour stands for, and how long devices work on it in all; as much as fits in a line."""
    x = float(_LEFT)
    for op, colour in colours.items():
        text = f"{op} {totals_ms[op]:.2f} ms"
        if x + 18 + len(text) * _LETTER > _LEFT + width:
            return
        yield f'<rect x="{x:.1f}" y="{top}" width="12" height="12" rx="2" fill="{colour}"/>'
        yield caption(x + 17, top + 10, text, "")
        x += 35 + len(text) * _LETTER


def _fitting(text: str, width: float) -> str:
    most = int(width / _LETTER)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def caption(x: float, y: float, label: str, kind: str) -> str:
    """A label of one of the classes of the style sheet."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{_escape(label)}</text>'


def _escape(text: str) -> str:
    """Names come from the model: what XML knows no way to write becomes U+FFFD."""
    return escape(re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text))
