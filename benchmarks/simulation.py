"""Simulated against measured times of networks on a bed of two devices, by every policy.

    python benchmarks/simulation.py --platform bed-two-drivers --networks FILE [FILE ...]    one process per bed
    python benchmarks/simulation.py --report FILE [FILE ...]                                 tables of what --json kept

In each round the models of the devices are measured anew, on the synthetic network only, then all policies take turns,
so that both find the machine in the same states; medians count. A stream's time is that of one image.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import clnn
from clnn.runtime import modelling, selection
from clnn.tools.inputs import bound_shapes, random_feeds
from clnn.tools.simulator import simulate_network

POLICIES = ("single", "split", "heft", "batch", "pipeline")
STREAMS = ("batch", "pipeline")
IMAGES = 32
"""Length of a stream."""
SETTLING_RUNS = 4
"""Pairs of runs in which a split finds its shares."""


@dataclass(frozen=True)
class Comparison:
    """A network by a policy on devices of a platform; milliseconds of an inference, or of a stream's image."""

    platform: str
    network: str
    policy: str
    devices: str
    simulated_ms: float
    measured_ms: float

    @property
    def error(self) -> float:
        return self.simulated_ms / self.measured_ms - 1


def compare(
    platform: str, model: Path, dims: dict[str, int], policies: Sequence[str], rounds: int, turns: int
) -> list[Comparison]:
    """Simulate and measure a network by these policies, which take so many turns in each round."""
    reference = f"#{platform}"
    opened = selection.select(None, reference)
    modelling.machine(opened, measure_missing=True)
    ids = [device.info.id for device in opened]
    ways = [(policy, ",".join(ids)) for policy in policies if policy != "single"]
    if "single" in policies:
        ways = [*(("single", each) for each in ids), *ways]
    simulated: list[list[float]] = [[] for _ in ways]
    measured: list[list[float]] = [[] for _ in ways]
    with ExitStack() as stack:
        runs = [_prepare(stack, model, dims, policy, devices, reference) for policy, devices in ways]
        for _ in range(rounds):
            modelling.machine(opened, refresh=True)
            for (policy, devices), own in zip(ways, simulated, strict=True):
                (found,) = simulate_network(str(model), dims, devices, policy, reference, _images(policy))
                own.append(found.timeline.duration_ms / _images(policy))
            for _ in range(turns):
                for run, own in zip(runs, measured, strict=True):
                    own.append(run())
    return [Comparison(platform, model.stem, *way, *map(statistics.median, times))
            for way, *times in zip(ways, simulated, measured, strict=True)]


def _images(policy: str) -> int:
    return IMAGES if policy in STREAMS else 1


def _prepare(
    stack: ExitStack, model: Path, dims: dict[str, int], policy: str, devices: str, reference: str
) -> Callable[[], float]:
    """Load the network, and run it so often that programs are built and shares known; what tells a run's time in ms.

    Before a single inference, which finds caches full of what the others left, goes another one that is not timed.
    """
    session = stack.enter_context(clnn.InferenceSession(model, devices, policy, platforms=reference))
    arguments = session.get_inputs()
    feeds = random_feeds(arguments, bound_shapes(arguments, dims), np.random.default_rng(0))

    def run() -> float:
        if policy not in STREAMS:
            session.run(None, feeds)
        started = time.perf_counter()
        if policy in STREAMS:
            for _ in session.run_many(None, (feeds for _ in range(IMAGES))):
                pass
        else:
            session.run(None, feeds)
        return (time.perf_counter() - started) * 1e3 / _images(policy)

    for _ in range(1 if policy in STREAMS else SETTLING_RUNS):
        run()
    return run


def table(found: Sequence[Comparison]) -> str:
    """Markdown: a row per network and policy, the errors' median and 95th percentile by policy and of all."""
    lines = ["| Platform | Network | Policy | Devices | simulated ms | measured ms | error |",
             "|---|---|---|---|---|---|---|"]
    lines += [f"| {each.platform} | {each.network} | {each.policy} | {each.devices} | {each.simulated_ms:.2f} | "
              f"{each.measured_ms:.2f} | {100 * each.error:+.0f} % |" for each in found]
    return "\n".join([*lines, "", *summary(found)])


def summary(found: Sequence[Comparison]) -> list[str]:
    """The lines of a Markdown table of absolute errors by platform and policy."""
    lines = ["| Platform | Policy | comparisons | median | 95th percentile |", "|---|---|---|---|---|"]
    for platform in (*dict.fromkeys(each.platform for each in found), "all"):
        own = [each for each in found if platform in (each.platform, "all")]
        for policy in (*dict.fromkeys(each.policy for each in own), "all"):
            errors = [abs(each.error) for each in own if policy in (each.policy, "all")]
            median, high = np.percentile(errors, [50, 95])
            lines.append(f"| {platform} | {policy} | {len(errors)} | {100 * median:.1f} % | {100 * high:.1f} % |")
    return lines


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--platform", help="an entry of platforms.yaml with several devices")
    parser.add_argument("--networks", nargs="+", type=Path, default=[], metavar="FILE", help="ONNX files")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=POLICIES)
    parser.add_argument("--dim", action="append", default=[], metavar="NAME=SIZE", help="size of a symbolic dimension")
    parser.add_argument("--rounds", type=int, default=3, help="per network (default: 3)")
    parser.add_argument("--turns", type=int, default=7, help="of all policies per round (default: 7)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append a line per comparison to FILE")
    parser.add_argument("--report", nargs="+", type=Path, default=[], metavar="FILE", help="print what --json wrote")
    options = parser.parse_args(arguments)
    dims = {name: int(size) for name, _, size in (each.partition("=") for each in options.dim)}
    found = [Comparison(**json.loads(line)) for file in options.report for line in file.read_text().splitlines()]
    for model in options.networks:
        new = compare(options.platform, model, dims, options.policies, options.rounds, options.turns)
        found += new
        if options.json:
            with options.json.open("a") as file:
                file.writelines(json.dumps(asdict(each)) + "\n" for each in new)
    print(table(found))


if __name__ == "__main__":
    main(sys.argv[1:])
