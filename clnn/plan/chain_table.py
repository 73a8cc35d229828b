"""What is told of the chains of a plan, to people and to programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from clnn.ops.rows import WHOLE
from clnn.plan.traffic import chain_traffic_bytes
from clnn.plan.types import Chain, Plan


def chain_rows(plan: Plan) -> list[dict[str, object]]:
    """One record per chain that was considered, taken or not, as ``Chain`` has it.

    ``nodes`` are the layers; of a chain that was taken, ``traffic_bytes`` is its traffic, counted launch by launch.
    """
    records = []
    for chain in plan.lowered.chains:
        told = ("nodes", "device", "transport", "taken", "reason", "images", "bands", "rows")
        record = {name: getattr(chain, name) for name in told}
        record["buffers"] = {name: asdict(buffer) for name, buffer in chain.buffers.items()}
        record |= {"banded": asdict(chain.banded), "layered": asdict(chain.layered)}
        records.append({**record, "traffic_bytes": chain_traffic_bytes(chain, plan.lowered) if chain.taken else None})
    return records


def chain_lines(plan: Plan) -> list[str]:
    """A line per chain, and why there are no more."""
    lines, number = [], 0
    for chain in plan.lowered.chains:
        number += chain.taken
        lines.append(f"chain {number} on {_taken(chain)}" if chain.taken else f"no chain of {_declined(chain)}")
    if plan.lowered.chain_reason:
        lines.append(f"no {'more ' if lines else ''}chains: {plan.lowered.chain_reason}")
    return lines


def _name(chain: Chain) -> str:
    return f"{chain.nodes[0]} to {chain.nodes[-1]} ({len(chain.nodes)} layers)"


def _taken(chain: Chain) -> str:
    bands, layers = chain.banded, chain.layered
    held, whole = (
        sum(getattr(buffer, key) for buffer in chain.buffers.values()) / 1e6 for key in ("nbytes", "whole_bytes")
    )
    images = f"{chain.images} images, each " if chain.images > 1 else ""
    return (
        f"{chain.device}: {_name(chain)}, {images}in {chain.bands} bands of {chain.rows} rows; "
        f"line buffers {held:.2f} MB for {whole:.2f}, memory {bands.arena_bytes / 1e6:.2f} MB for "
        f"{layers.arena_bytes / 1e6:.2f}, traffic {bands.traffic_bytes / 1e6:.2f} MB for "
        f"{layers.traffic_bytes / 1e6:.2f}, {bands.ms:.3f} ms for {layers.ms:.3f}: {chain.reason}"
    )


def _declined(chain: Chain) -> str:
    return f"{_name(chain)}: {chain.reason}: {chain.banded.ms:.3f} ms in {chain.bands} bands, {chain.layered.ms:.3f} " \
           "layer by layer"


def by_layer(plan: Plan, records: Iterable[dict[str, object]]) -> list[dict[str, object]]:
    """The records of nodes with those of all bands of a layer added up, and those of a chain's line buffers."""
    nodes = {node.name: node for node in plan.graph.nodes}
    taken = [chain for chain in plan.lowered.chains if chain.taken]
    owner = {name: f"line buffers of chain {number}" for number, chain in enumerate(taken, 1) for name in chain.members}
    found: dict[str, dict[str, object]] = {}
    for record in records:
        name = record["layer"]
        whole = nodes[name].attrs.get(WHOLE)
        layer = name if name not in owner else owner[name] if whole is None else whole.name
        if layer not in found:
            output = record["output"] if whole is None else str(plan.graph.types[next(filter(None, whole.outputs))])
            found[layer] = {**record, "layer": layer, "output": output}
            continue
        for key in ("flops", "bytes", "launches", "predicted_ms", "measured_ms"):
            if record.get(key) is not None:
                found[layer][key] = (found[layer][key] or 0) + record[key]
    return list(found.values())
