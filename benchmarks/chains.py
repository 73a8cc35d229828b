"""Layers in bands of rows beside layer by layer: memory, traffic, and time in pairs of runs that follow one another.

    python benchmarks/chains.py DEVICE PAIRS MODEL[,NAME=SIZE...] ...   prints a row of a table for each model

Memory is the arena, and the arena without what the network is given and gives; traffic is counted launch by launch by
``clnn.plan.traffic``. Ratios are medians with quartiles. Run it with POCL_AFFINITY=1, see docs/performance.md.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from clnn import InferenceSession
from clnn.plan import Plan
from clnn.plan.traffic import plan_traffic_bytes
from clnn.runtime import modelling, selection
from clnn.tools.inputs import bound_shapes, random_feeds
from clnn.tools.runner import parse_dims


def memory_bytes(plan: Plan) -> tuple[int, int]:
    """The arena, and the same without inputs and outputs of the network."""
    types = plan.graph.types
    borders = sum(types[name].nbytes for name in (*plan.graph.inputs, *plan.lowered.outputs.values()))
    whole = sum(arena.nbytes for arena in plan.arenas.values())
    return whole, whole - borders


def compare(device: str, pairs: int, model: str, dims: list[str]) -> None:
    """Print the rows of a model."""
    for chain in ("auto", "on"):
        sessions = {each: InferenceSession(model, devices=device, options={"chain": each}) for each in ("off", chain)}
        args = sessions["off"].get_inputs()
        feeds = random_feeds(args, bound_shapes(args, parse_dims(dims)), np.random.default_rng(0))
        times_ms: dict[str, list[float]] = {each: [] for each in sessions}
        results = {each: session.run(None, feeds) for each, session in sessions.items()}
        same = all(np.array_equal(a, b) for a, b in zip(*results.values(), strict=True))
        for _ in range(pairs):
            for each, session in sessions.items():
                started = time.perf_counter()
                session.run(None, feeds)
                times_ms[each].append((time.perf_counter() - started) * 1e3)
        off, other = (session.plan() for session in sessions.values())
        (before, inner_before), (after, inner) = memory_bytes(off), memory_bytes(other)
        ratio = np.array(times_ms[chain]) / np.array(times_ms["off"])
        low, middle, high = np.percentile(ratio, [25, 50, 75])
        chained = sum(len(each.nodes) for each in other.lowered.chains if each.taken)
        print(
            f"| {Path(model).stem} | {device} | {chain} | {chained} | {after / 1e6:.2f} of {before / 1e6:.2f} | "
            f"{100 * inner / inner_before:.0f} % | "
            f"{plan_traffic_bytes(other.lowered) / 1e6:.1f} of {plan_traffic_bytes(off.lowered) / 1e6:.1f} | "
            f"{np.median(times_ms['off']):.2f} | {np.median(times_ms[chain]):.2f} | "
            f"{middle:.3f} ({low:.3f} to {high:.3f}) | {'same' if same else 'DIFFERENT'} bits |",
            flush=True,
        )
        for session in sessions.values():
            session.close()


def main() -> None:
    device, pairs, *models = sys.argv[1:]
    modelling.machine(selection.select(device), measure_missing=True)
    for each in models:
        model, *dims = each.split(",")
        compare(device, int(pairs), model, dims)


if __name__ == "__main__":
    main()
