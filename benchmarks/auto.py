"""Times policy "auto" beside the best single device, on platforms of several devices.

    python benchmarks/auto.py PLATFORM MODEL ...     prints a line of a Markdown table for each network

Sessions with all devices and with each one alone take turns in one process, as thread limits hold for a process. Of
every two runs that follow one another the second counts. The ratio is the median over pairs of runs, its interval the
95 % of 2,000 bootstrap samples of the pairs (percentiles). Thread limits are set before a driver loads: give each
platform a process of its own.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import clnn
from clnn.tools.inputs import bound_shapes, random_feeds

PAIRS = 20
SAMPLES = 2000
SLOW = 1.5
"""A device that takes more than this multiple of the fastest is not the best single one, and not timed further."""


def timed_ms(session: clnn.InferenceSession, feeds: Mapping[str, np.ndarray]) -> float:
    session.run(None, feeds)
    started = time.perf_counter()
    session.run(None, feeds)
    return (time.perf_counter() - started) * 1e3


def ratio(auto_ms: np.ndarray, single_ms: np.ndarray) -> tuple[float, float, float]:
    """The median ratio of pairs, and the 95 % interval."""
    pairs = auto_ms / single_ms
    drawn = np.random.default_rng(0).choice(pairs, (SAMPLES, len(pairs)))
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    return float(np.median(pairs)), float(low), float(high)


def line(platform: str, model: Path, size: int) -> str:
    """Time a network, and return its line of the table."""
    auto = clnn.InferenceSession(str(model), platforms=f"#{platform}")
    ids = [info.id for info in auto.get_devices()]
    singles = {name: clnn.InferenceSession(str(model), devices=name, platforms=f"#{platform}") for name in ids}
    args = auto.get_inputs()
    dims = {dim: size for arg in args for dim in arg.shape[1:] if isinstance(dim, str)}
    feeds = random_feeds(args, bound_shapes(args, dims), np.random.default_rng(0))
    auto.run(None, feeds)
    first_ms = {name: min(timed_ms(session, feeds) for _ in range(2)) for name, session in singles.items()}
    near = [name for name in ids if first_ms[name] <= SLOW * min(first_ms.values())]
    times_ms: dict[str, list[float]] = {name: [] for name in ("auto", *near)}
    for index in range(PAIRS):
        for name in list(times_ms)[:: -1 if index % 2 else 1]:
            times_ms[name].append(timed_ms(auto if name == "auto" else singles[name], feeds))
    best = min(near, key=lambda name: np.median(times_ms[name]))
    middle, low, high = ratio(np.array(times_ms["auto"]), np.array(times_ms[best]))
    policy = auto.plan().schedule.policy.removeprefix("auto: ")
    for session in (auto, *singles.values()):
        session.close()
    return (f"| {model.stem} | {platform} | {policy} | {np.median(times_ms['auto']):.2f} | {best} "
            f"{np.median(times_ms[best]):.2f} | {middle:.2f} | {low:.2f} to {high:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description='Time policy "auto" beside the best single device.')
    parser.add_argument("platform", help="an entry of platforms.yaml")
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--size", type=int, default=320, help="of symbolic dimensions")
    options = parser.parse_args()
    for model in options.models:
        print(line(options.platform, model, options.size), flush=True)


if __name__ == "__main__":
    main()
