"""Command line: ``python -m benchmarks.peers``, from the root of the repository."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.networks import NETWORKS
from benchmarks.peers import environment, report, rounds
from benchmarks.peers.children import Child, fresh
from benchmarks.peers.jobs import Job, PeerError, prepare
from benchmarks.peers.report import Result
from benchmarks.peers.runtimes import RUNTIMES
from clnn.devices.info import DeviceInfo

TOLERANCE = 1e-3
"""Relative error at which two runtimes are said to agree; they sum in different orders, and clnn uses Winograd."""
WARM_UP_RUNS = 3
"""tinygrad runs step by step, records, and replays what it recorded: only the third run is as later ones are."""
STARTS = 3
SLOW_START_MS = 5000


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    names = ["clnn", *(name for name in RUNTIMES if name in options.peers and name != "clnn")]
    with tempfile.TemporaryDirectory(prefix="clnn-peers-") as folder:
        info = environment.device(options.device)
        about = {
            "machine": environment.machine(info),
            "threads": options.threads,
            "versions": {},
            "command": f"python -m benchmarks.peers {shlex.join(arguments)}".strip(),
        }
        results = []
        for number, network in enumerate(options.networks):
            own = Path(folder, str(number))
            own.mkdir()
            results.append(time_network(network, names, info, options, own, about["versions"]))
    if options.json:
        print(json.dumps(report.as_data(results, about), indent=2, ensure_ascii=False))
    else:
        print(report.markdown(results, about))
    return 0 if all("clnn" in result.times for result in results) else 1


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description="Times networks on clnn and on what a user would run them with instead, interleaved in one run.",
    )
    known = [name for name in RUNTIMES if name != "clnn"]
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), metavar="NAME|FILE",
                        help=f"ONNX files, or of {', '.join(NETWORKS)} (default: all of these)")
    parser.add_argument("--peers", nargs="+", default=known, choices=known, metavar="PEER",
                        help=f"of {', '.join(known)} (default: those that are installed)")
    parser.add_argument("--batch", type=_positive, default=1, help="images per run (default: 1)")
    parser.add_argument("--threads", type=_positive, default=2, help="of every runtime (default: 2)")
    parser.add_argument("--device", default="pocl", help="OpenCL device, as clnn names it (default: pocl)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--rounds", type=_positive, help="rounds per network")
    length.add_argument("--duration", type=float, default=20.0, help="seconds per network, after warm-up (default: 20)")
    parser.add_argument("--startup", action="store_true", help="also time fresh processes to their first result")
    parser.add_argument("--memory", action="store_true", help="also give the peak memory of fresh processes")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--markdown", action="store_true", help="print tables (default)")
    output.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("give 1 or more")
    return value


def time_network(network: str, names: list[str], info: DeviceInfo, options: argparse.Namespace, folder: Path,
                 versions: dict[str, str]) -> Result:
    """Time one network on all runtimes; those that fail are in the result with their reasons."""
    result = Result(Path(network).stem, options.batch)
    try:
        job = prepare(network, options.batch, options.threads, info.id, folder)
    except PeerError as error:
        result.left_out = dict.fromkeys(names, str(error))
        return result
    settings: dict[str, dict[str, str]] = {}
    for name in names:
        runtime = RUNTIMES[name]
        try:
            if not environment.installed(runtime):
                raise PeerError(f"it is not installed; run: pip install {runtime.package}")
            settings[name] = environment.variables(runtime, info, options.threads, folder)
            environment.convert(name, job)
        except PeerError as error:
            settings.pop(name, None)
            _leave_out(result, name, error)
    with ExitStack() as stack:
        children = {}
        for name in settings:
            _progress(f"{result.title()}: {name} loads")
            try:
                children[name] = stack.enter_context(Child(name, job, settings[name]))
                versions[name] = children[name].version
            except PeerError as error:
                _leave_out(result, name, error)
        _time(job, children, options, result)
    if options.startup or options.memory:
        for name in settings:
            if name not in result.left_out:
                _start_afresh(name, job, settings[name], options, result, folder)
    return result


def _time(job: Job, children: Mapping[str, Child], options: argparse.Namespace, result: Result) -> None:
    random = np.random.default_rng(0)

    def new_feeds() -> dict[str, np.ndarray]:
        return {
            name: (random.random(one.shape, np.float32) if np.dtype(one.dtype).kind == "f"
                   else random.integers(0, 2, one.shape)).astype(one.dtype)
            for name, one in job.inputs.items()
        }

    warm_ms, outputs = {}, {}
    feeds = [new_feeds() for _ in range(WARM_UP_RUNS)]
    for name, child in children.items():
        _progress(f"{result.title()}: {name} warms up")
        try:
            earlier = [child.run(one) for one in feeds[:-1]]
            last, outputs[name] = child.compute(feeds[-1])
            warm_ms[name] = min(*earlier, last)
        except PeerError as error:
            _leave_out(result, name, error)
    result.reference = next(iter([name for name in ("onnxruntime", "clnn") if name in outputs]), "")
    for name in [name for name in outputs if name != result.reference]:
        try:
            error = rounds.relative_error(outputs[name], outputs[result.reference])
            result.errors[name] = error
            if error > TOLERANCE:
                raise PeerError(f"its outputs differ from {result.reference}'s by {error:.1e} of their largest value")
        except PeerError as error:
            _leave_out(result, name, error)
            del warm_ms[name]
    every = rounds.periods(warm_ms, options.rounds)
    _progress(f"{result.title()}: timing " + ", ".join(f"{name} in 1 of {every[name]}" for name in every))
    runs = {name: children[name].run for name in every}
    times, failed = rounds.measure(runs, new_feeds, every, rounds=options.rounds, duration_s=options.duration)
    for name, reason in failed.items():
        _leave_out(result, name, PeerError(reason))
    result.times = {name: rounds.summary(taken) for name, taken in times.items() if taken}
    result.restless = {name: child.restless for name, child in children.items() if name in result.times}


def _start_afresh(name: str, job: Job, settings: dict[str, str], options: argparse.Namespace, result: Result,
                  folder: Path) -> None:
    """The first start fills an empty folder of caches, later ones find them there."""
    caches = folder / f"caches-{name}"
    caches.mkdir()
    try:
        _progress(f"{result.title()}: {name} starts afresh")
        first = fresh(name, job, settings, caches)
        later = [fresh(name, job, settings, caches)]
        if later[0].first_result_ms < SLOW_START_MS:
            later += [fresh(name, job, settings, caches) for _ in range(STARTS - 1)]
    except PeerError as error:
        _leave_out(result, name, error)
        return
    figures = result.starts.setdefault(name, {})
    if options.startup:
        figures["first_ever_ms"] = first.first_result_ms
        figures["cached_ms"] = float(np.median([start.first_result_ms for start in later]))
    if options.memory:
        figures["peak_rss_mb"] = float(np.median([start.peak_rss_bytes for start in later])) / 1e6


def _leave_out(result: Result, name: str, error: PeerError) -> None:
    result.left_out[name] = str(error)
    _progress(f"{result.title()}: {name} left out: {error}")


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
