"""A plan written out for people and for programs."""

from __future__ import annotations

from clnn.ops import find
from clnn.plan.types import Plan
from clnn.schedule import HOST

_WIDTHS = {"reason": 80}


def rows(plan: Plan) -> list[dict[str, object]]:
    """One record per node, in the order in which they run.

    Keys: layer, op, device, algorithm, output (type), flops, bytes, launches, reason.
    """
    records = []
    for node in plan.graph.nodes:
        assignment = plan.schedule.assignments[node.name]
        lowered = plan.lowered.lowered.get(node.name)
        static = all(plan.graph.types[name].is_static for name in (*node.reads, *filter(None, node.outputs)))
        op = find(node.op)
        cost = op.cost(node, plan.graph.types) if op and static else None
        records.append(
            {
                "layer": node.name,
                "op": node.op,
                "device": assignment.device,
                "algorithm": _algorithm(lowered),
                "output": str(plan.graph.types[next(filter(None, node.outputs))]),
                "flops": cost.flops if cost else None,
                "bytes": cost.bytes if cost else None,
                "launches": len(lowered.launches) if lowered else 0,
                "reason": "; ".join(filter(None, (assignment.reason, lowered.reason if lowered else ""))),
            }
        )
    return records


def _algorithm(lowered: object) -> str:
    if lowered is None:
        return "reference operator"
    if lowered.choice:
        return lowered.choice
    return ", ".join(dict.fromkeys(launch.kernel.name for launch in lowered.launches)) or "no work: shares memory"


def as_dict(plan: Plan) -> dict[str, object]:
    """The plan as JSON-ready data."""
    return {
        "policy": plan.schedule.policy,
        "predicted_ms": plan.schedule.predicted_ms or None,
        "arenas": {
            memory: {"bytes": arena.nbytes, "lower_bound_bytes": arena.lower_bound_bytes}
            for memory, arena in plan.arenas.items()
        },
        "weights_bytes": plan.weights_bytes,
        "steps": len(plan.steps),
        "layers": rows(plan),
    }


def as_text(plan: Plan) -> str:
    """The plan as a table with a line per node, and a summary."""
    columns = ("layer", "op", "device", "algorithm", "output", "reason")
    records = rows(plan)
    cells = [columns, *(tuple(_shorten(str(record[column]), _WIDTHS.get(column, 48)) for column in columns)
                        for record in records)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    on_host = sum(record["device"] == HOST for record in records)
    arenas = ", ".join(f"arena on {memory} {a.nbytes / 1e6:.2f} MB" for memory, a in plan.arenas.items())
    lines.append(
        f"{len(records)} layers ({on_host} on the host), {len(plan.steps)} steps, policy {plan.schedule.policy}; "
        f"weights {plan.weights_bytes / 1e6:.2f} MB{', ' if arenas else ''}{arenas}"
    )
    return "\n".join(lines)


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
