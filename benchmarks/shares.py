"""The share of each device that a split chooses, against a scan over all shares, on two real devices.

    python benchmarks/shares.py [--platform NAME] [--layers N] [--rounds N]

Takes the convolutions of YOLOv8n that differ in shape, the largest first. Each is run by itself, cut between the two
devices of the platform as a session cuts it after some runs, which adapt the shares, and cut at every place of each
dimension of its index space (at most 33), all in turn; then the choice and the fastest once more. Prints the share of
the first device that was predicted, that of the session and that of the fastest cut, the times of these two, medians,
and how much longer the choice takes. The time of a cut includes waiting for both devices.
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

import clnn
from benchmarks.networks import yolov8n
from clnn.devices.info import DeviceInfo
from clnn.kernels import Launch
from clnn.plan import Plan, Run
from clnn.plan.divide import Part
from clnn.runtime import programs, selection
from clnn.runtime.executor import Executor
from clnn.runtime.loaded import LoadedPlan
from clnn.tools.inputs import bound_shapes, random_feeds

MOST_CUTS = 33
ADAPTING_RUNS = 60


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
    with clnn.InferenceSession(yolov8n(), policy="split", platforms=f"#{options.platform}") as session:
        arguments = session.get_inputs()
        feeds = random_feeds(arguments, bound_shapes(arguments, {}), np.random.default_rng(0))
        predicted = session.plan().lowered.parts
        for _ in range(ADAPTING_RUNS):
            session.run(None, feeds)
        plan = session.plan()
    whole = Executor(LoadedPlan(plan, {device.info.id: device for device in opened}, programs.shared()))
    whole.run(feeds, ())  # every tensor has its memory then, and numbers in it
    print(f"| layer of YOLOv8n | predicted share of {devices[0].id} | chosen | ms | best | ms | choice / best |")
    print("|---|---|---|---|---|---|---|")
    ratios = []
    for name in convolutions(plan, options.layers):
        chosen = plan.lowered.parts[name][-1]
        ways = [chosen, *cuts(plan.lowered.lowered[name].launches[-1], devices)]
        times = medians_ms([executor(whole, name, parts) for parts in ways], options.rounds)
        best = min(range(1, len(ways)), key=times.__getitem__)
        # Anew, as the fastest of many was also lucky.
        times = medians_ms([executor(whole, name, parts) for parts in (chosen, ways[best])], 4 * options.rounds)
        ratios.append(times[0] / times[1])
        shares = [share_of(devices[0], parts) for parts in (predicted[name][-1], chosen, ways[best])]
        print(
            f"| {name}, {plan.lowered.lowered[name].choice} | {shares[0]:.2f} | {shares[1]:.2f} | {times[0]:.3f} | "
            f"{shares[2]:.2f} | {times[1]:.3f} | {ratios[-1]:.3f} |",
            flush=True,
        )
    print(f"\nmedian {statistics.median(ratios):.3f}, largest {max(ratios):.3f}")


if __name__ == "__main__":
    main()
