"""A plan written out for people and for programs."""

from __future__ import annotations

from clnn.graph import Node
from clnn.ops import Lowered, find
from clnn.plan.chain_table import by_layer, chain_lines, chain_rows
from clnn.plan.times import Times, layer_ms, predict
from clnn.plan.types import Plan
from clnn.schedule import HOST

_WIDTHS = {"reason": 100}
_UNKNOWN = "-"


def rows(plan: Plan, measured: Times | None = None) -> list[dict[str, object]]:
    """One record per layer, in the order in which they begin: those of ``node_rows``, all bands of a layer together."""
    return by_layer(plan, node_rows(plan, measured))


def node_rows(plan: Plan, measured: Times | None = None) -> list[dict[str, object]]:
    """One record per node, in the order in which they run.

    Keys: layer, op, device (the one that computes it, the team's id where several do), shares (the part of the work
    that each device does, 0 to 1; none where there is nothing to do), algorithm, output (type), flops, bytes, launches,
    reason, predicted_ms (``None`` where nothing is known), and measured_ms where times are given.
    """
    predicted = predict(plan)
    predicted_ms = layer_ms(plan, predicted) if predicted else {}
    measured_ms = layer_ms(plan, measured) if measured else {}
    records = []
    for node in plan.graph.nodes:
        record = {**_row(plan, node), "predicted_ms": predicted_ms.get(node.name)}
        records.append({**record, "measured_ms": measured_ms[node.name]} if measured else record)
    return records


def _row(plan: Plan, node: Node) -> dict[str, object]:
    assignment = plan.schedule.assignments[node.name]
    lowered = plan.lowered.lowered.get(node.name)
    parts = plan.lowered.parts.get(node.name)
    static = all(plan.graph.types[name].is_static for name in (*node.reads, *filter(None, node.outputs)))
    op = find(node.op)
    cost = op.cost(node, plan.graph.types) if op and static else None
    shares = _shares(plan, node)
    reasons = assignment.reason, parts[-1][0].reason if parts else "", lowered.reason if lowered else ""
    return {
        "layer": node.name,
        "op": node.op,
        "device": next(iter(shares)) if len(shares) == 1 else assignment.device,
        "shares": shares,
        "algorithm": _algorithm(lowered),
        "output": str(plan.graph.types[next(filter(None, node.outputs))]),
        "flops": cost.flops if cost else None,
        "bytes": cost.bytes if cost else None,
        "launches": len(lowered.launches) if lowered else 0,
        "reason": "; ".join(filter(None, reasons)),
    }


def _shares(plan: Plan, node: Node) -> dict[str, float]:
    """Who does which part of the node's last launch, the one that its work is in."""
    parts = plan.lowered.parts.get(node.name)
    if parts:
        devices = dict.fromkeys(part.device for part in parts[-1])
        return {device: sum(part.share for part in parts[-1] if part.device == device) for device in devices}
    lowered = plan.lowered.lowered.get(node.name)
    return {plan.schedule.place(node.name): 1.0} if lowered is None or lowered.launches else {}


def _algorithm(lowered: Lowered | None) -> str:
    if lowered is None:
        return "reference operator"
    if lowered.choice:
        return lowered.choice
    return ", ".join(dict.fromkeys(launch.kernel.name for launch in lowered.launches)) or "no work: shares memory"


def as_dict(plan: Plan, measured: Times | None = None) -> dict[str, object]:
    """The plan as JSON-ready data, with measured times where they are given."""
    predicted = predict(plan)
    return {
        "policy": plan.schedule.policy,
        "reason": plan.schedule.reason,
        "devices": list(plan.used_devices),
        "predicted_ms": predicted.total_ms if predicted else None,
        **({"measured_ms": measured.total_ms} if measured else {}),
        "arenas": {
            memory: {"bytes": arena.nbytes, "lower_bound_bytes": arena.lower_bound_bytes}
            for memory, arena in plan.arenas.items()
        },
        "weights_bytes": plan.weights_bytes,
        "chains": chain_rows(plan),
        "chain_reason": plan.lowered.chain_reason,
        "steps": len(plan.steps),
        "layers": rows(plan, measured),
    }


def as_text(plan: Plan, measured: Times | None = None) -> str:
    """The plan as a table with a line per node, and a summary."""
    times = ("predicted ms", "measured ms") if measured else ("predicted ms",)
    columns = ("layer", "op", "device", "algorithm", "output", *times, "reason")
    records = rows(plan, measured)
    cells = [columns, *(_cells(record, columns) for record in records)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = [
        "  ".join(
            cell.rjust(width) if column in times else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ).rstrip()
        for row in cells
    ]
    on_host = sum(record["device"] == HOST for record in records)
    arenas = ", ".join(f"arena on {memory} {a.nbytes / 1e6:.2f} MB" for memory, a in plan.arenas.items())
    lines.append(
        f"{len(records)} layers ({on_host} on the host), {len(plan.steps)} steps, policy {plan.schedule.policy}; "
        f"weights {plan.weights_bytes / 1e6:.2f} MB{', ' if arenas else ''}{arenas}"
    )
    return "\n".join([*lines, *chain_lines(plan), *totals(plan, measured)])


def _cells(record: dict[str, object], columns: tuple[str, ...]) -> tuple[str, ...]:
    """The record as a row of the table, times of "x ms" from "x_ms"."""
    texts = {key: _shorten(str(value), _WIDTHS.get(key, 48)) for key, value in record.items()}
    for key in ("predicted_ms", "measured_ms"):
        ms = record.get(key)
        texts[key.replace("_", " ")] = _UNKNOWN if ms is None else f"{ms:.3f}"
    texts["device"] = share_text(record["shares"]) or texts["device"]
    return tuple(texts[column] for column in columns)


def share_text(shares: dict[str, float]) -> str:
    """Who does how much, as in "gpu:0 62 % + gpu:1 38 %"; of one that does all just its id."""
    if len(shares) == 1:
        return next(iter(shares))
    return " + ".join(f"{device} {100 * share:.0f} %" for device, share in shares.items())


def totals(plan: Plan, measured: Times | None = None) -> list[str]:
    """Lines about the whole plan: what it takes, as far as that is known, and why the policy was chosen."""
    predicted = predict(plan)
    without = " without the host's layers" if predicted and None in predicted.step_ms else ""
    times = [f"predicted {predicted.total_ms:.2f} ms{without}"] if predicted else []
    times += [f"measured {measured.total_ms:.2f} ms"] if measured else []
    return [line for line in (", ".join(times), plan.schedule.reason) if line]


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
