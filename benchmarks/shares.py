"""The share of each device that a split chooses, against a scan over all shares, on two real devices.

    python benchmarks/shares.py [--platform NAME] [--layers N] [--rounds N]

Takes the convolutions of YOLOv8n that differ in shape, the largest first. Each is run by itself, cut between the two
devices of the platform as the plan cuts it, and cut at every place of each dimension of its index space (at most 33),
all in turn. Prints the share of the first device and the time of the plan's choice and of the fastest cut, medians, and
how much longer the choice takes. The time of a cut includes waiting for both devices.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.networks import yolov8n
from clnn import frontend
from clnn.devices.info import DeviceInfo
from clnn.kernels import Launch
from clnn.plan import Plan, Run
from clnn.plan.divide import Part
from clnn.planning import plan_graph
from clnn.runtime import modelling, programs, selection
from clnn.runtime.executor import Executor, LoadedPlan

MOST_CUTS = 33


def convolutions(plan: Plan, count: int) -> list[str]:
    """Names of the ``count`` convolutions with the most work, of those that differ in shape."""
    found: dict[tuple, tuple[float, str]] = {}
    for node in plan.graph.nodes:
        parts = plan.lowered.parts.get(node.name)
        if node.op == "Conv" and parts:
            types = [str(plan.graph.types[name]) for name in (*node.inputs, *node.outputs) if name in plan.graph.types]
            found[tuple(types)] = plan.lowered.lowered[node.name].work.operations, node.name
    return [name for _, name in sorted(found.values(), reverse=True)[:count]]


def cuts(launch: Launch, devices: list[DeviceInfo]) -> list[tuple[Part, ...]]:
    """All ways to cut a launch in two along one dimension, those included that leave it whole."""
    ways = [(Part(device.id, launch, 1.0),) for device in devices]
    for axis in launch.kernel.cuts:
        groups = launch.groups(axis) if axis < len(launch.global_size) else 1
        for start in sorted({round(groups * step / MOST_CUTS) for step in range(1, MOST_CUTS)} - {0, groups}):
            first, second = launch.part(axis, 0, start), launch.part(axis, start, groups)
            share = start / groups
            ways.append((Part(devices[0].id, first, share), Part(devices[1].id, second, 1 - share)))
    return ways


def executor(whole: Executor, node: str, parts: tuple[Part, ...]) -> Executor:
    """What runs these parts of a node of the plan, and nothing else."""
    return whole.rebound(tuple(Run(node, part.device, part.launch) for part in parts))


def medians_ms(executors: list[Executor], rounds: int) -> list[float]:
    """Median time of a run of each, taken in an order that changes: caches remember who had what before."""
    times: list[list[float]] = [[] for _ in executors]
    pairs = list(zip(executors, times, strict=True))
    order = random.Random(0)
    for _ in range(rounds + 1):
        order.shuffle(pairs)
        for each, own in pairs:
            started = time.perf_counter()
            each.run({}, ())
            own.append((time.perf_counter() - started) * 1e3)
    return [statistics.median(own[1:]) for own in times]


def share_of(device: DeviceInfo, parts: tuple[Part, ...]) -> float:
    return sum(part.share for part in parts if part.device == device.id)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--platform", default="bed-two-drivers")
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    opened = selection.select(None, f"#{options.platform}")
    devices = [device.info for device in opened]
    graph = frontend.load(yolov8n())
    shapes = {name: graph.types[name].shape for name in graph.inputs}
    plan = plan_graph(graph, shapes, devices, "split", machine=modelling.machine(opened, measure_missing=True))
    whole = Executor(LoadedPlan(plan, {device.info.id: device for device in opened}, programs.shared()))
    feeds = {name: np.random.default_rng(0).random(shape, np.float32) for name, shape in shapes.items()}
    whole.run(feeds, ())  # every tensor has its memory then, and numbers in it
    print(f"| layer of YOLOv8n | share of {devices[0].id} | ms | best share | ms | choice / best |")
    print("|---|---|---|---|---|---|")
    ratios = []
    for name in convolutions(plan, options.layers):
        chosen = plan.lowered.parts[name][-1]
        ways = [chosen, *cuts(plan.lowered.lowered[name].launches[-1], devices)]
        times = medians_ms([executor(whole, name, parts) for parts in ways], options.rounds)
        best = min(range(1, len(ways)), key=times.__getitem__)
        ratios.append(times[0] / times[best])
        print(
            f"| {name}, {plan.lowered.lowered[name].choice} | {share_of(devices[0], chosen):.2f} | {times[0]:.3f} | "
            f"{share_of(devices[0], ways[best]):.2f} | {times[best]:.3f} | {ratios[-1]:.3f} |",
            flush=True,
        )
    print(f"\nmedian {statistics.median(ratios):.3f}, largest {max(ratios):.3f}")


if __name__ == "__main__":
    main()
