"""Timing a network, alone or against onnxruntime."""

from __future__ import annotations

import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from clnn.errors import ComparisonError, UsageError
from clnn.options import Options
from clnn.session import InferenceSession
from clnn.tools.inputs import bound_shapes, random_feeds

WARM_UP_RUNS = 3
MIN_RUNS = 5
SETTLE_S = 0.2
TOLERANCE = {"float32": 1e-3, "float64": 1e-3, "float16": 2e-2}
"""Relative errors at which two runtimes are said to agree; they sum in different orders."""
FLOOR = 1e-6
"""Difference that counts for nothing: onnxruntime's sigmoid errs by 1e-7, all of a score that is nearly 0."""


def benchmark(
    model: str | Path,
    *,
    devices: str | None = None,
    policy: str | None = None,
    platforms: str | None = None,
    options: Options | None = None,
    batch: int | None = None,
    dims: Mapping[str, int] | None = None,
    duration_s: float = 3.0,
    against: str | None = None,
    cold: bool = False,
    progress: Callable[[float], Any] = lambda fraction: None,
) -> dict[str, Any]:
    """Time a network with new input data in each run, outputs copied to the host.

    Args:
        batch: size of a symbolic batch dimension; for a network of another fixed batch, and with a policy that works
            on several devices at once, how many single runs make up one timed run.
        duration_s: seconds to measure for, after warm-up.
        against: "onnxruntime", to run it in turn with clnn on the same data and the same number of threads.
        cold: load with an empty cache directory and report that as ``cold_ms``.
        progress: called with the share done.

    Returns:
        median_ms, p90_ms, min_ms, images_per_s, load_ms (session creation to first result; ``cold_ms`` when
        cold), runs, batch, batched, device, policy; ``shares``, the runs that each device did of the last timed one,
        where several worked at once; and, if asked for, against.

    Raises:
        UsageError: the peer is unknown or not installed, or a dimension has no size.
        ComparisonError: the peer gives other results.
    """
    options = options or Options()
    with tempfile.TemporaryDirectory(prefix="clnn-cold-") as empty:
        if cold:
            options = replace(options, cache_dir=empty)
        started = time.perf_counter()
        session = InferenceSession(os.fspath(model), devices, policy, options, platforms)
        inputs = session.get_inputs()
        streamed = batch is not None and session.streams
        shapes = bound_shapes(inputs, dims or {}, None if streamed else batch)
        random = np.random.default_rng(0)
        feeds = random_feeds(inputs, shapes, random)
        outputs = next(session.run_many(None, [feeds])) if streamed else session.run(None, feeds)
        load_ms = (time.perf_counter() - started) * 1e3
    repeats, batched = _repeats(shapes, batch)
    contenders = {"clnn": _streaming(session) if streamed else _one_by_one(session.run)}
    if against is not None:
        peer = _peer(against, model, options.threads)
        _compare(against, session, outputs, peer(None, feeds))
        contenders[against] = _one_by_one(peer)
    times = _interleave(contenders, lambda: random_feeds(inputs, shapes, random), duration_s, repeats, progress)
    result = _summary(times.pop("clnn"))
    images = repeats * (next(iter(shapes.values()), (1,)) or (1,))[0]
    result |= {
        "images_per_s": 1e3 * images / result["median_ms"],
        "cold_ms" if cold else "load_ms": load_ms,
        "batch": batch or images,
        "batched": batched,
        "device": ",".join(session.used_devices()) or "host",
        "policy": session.stream_plan().policy if streamed else session.plan().schedule.policy,
    }
    if streamed:
        result["shares"] = session.stream_images()
    if against is not None:
        summary = _summary(times[against])
        result["against"] = {against: summary | {"ratio": result["median_ms"] / summary["median_ms"]}}
    session.close()
    return result


def _repeats(shapes: Mapping[str, tuple[int, ...]], batch: int | None) -> tuple[int, bool]:
    """How many runs make up ``batch`` images, and whether one run takes them all."""
    own = {shape[0] for shape in shapes.values() if shape}
    if batch is None or own == {batch}:
        return 1, True
    if own != {1}:
        raise UsageError(f"--batch {batch}: the network's own batch is fixed at {sorted(own)}")
    return batch, False


def _one_by_one(run: Callable) -> Callable[[list[dict[str, np.ndarray]]], Any]:
    return lambda batch: deque((run(None, feeds) for feeds in batch), maxlen=0)


def _streaming(session: InferenceSession) -> Callable[[list[dict[str, np.ndarray]]], Any]:
    return lambda batch: deque(session.run_many(None, batch), maxlen=0)


def _peer(name: str, model: str | Path, threads: int | None) -> Callable:
    if name != "onnxruntime":
        raise UsageError(f"--against {name}: only onnxruntime is known")
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError("--against onnxruntime: it is not installed; run: pip install onnxruntime") from error
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads or os.cpu_count() or 1
    return onnxruntime.InferenceSession(os.fspath(model), settings, providers=["CPUExecutionProvider"]).run


def _compare(peer: str, session: InferenceSession, ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    for arg, a, b in zip(session.get_outputs(), ours, theirs, strict=True):
        if a.dtype.kind != "f" or a.size == 0:
            continue
        difference, largest = np.abs(a.astype(np.float64) - b).max(), np.abs(b.astype(np.float64)).max()
        if not difference <= TOLERANCE[a.dtype.name] * largest + FLOOR:
            error = difference / max(largest, 1e-30)
            raise ComparisonError(
                f"output '{arg.name}' differs from {peer}'s by {error:.2g} of its largest value; a time for a "
                "wrong result means nothing"
            )


def _interleave(
    contenders: Mapping[str, Callable],
    new_feeds: Callable[[], dict[str, np.ndarray]],
    duration_s: float,
    repeats: int,
    progress: Callable[[float], Any],
) -> dict[str, list[float]]:
    """Milliseconds per batch of each contender, taken in turn on the same data."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(WARM_UP_RUNS):
        batch = [new_feeds() for _ in range(repeats)]
        for run in contenders.values():
            run(batch)
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < duration_s or len(times["clnn"]) < MIN_RUNS:
        progress(min(elapsed / duration_s, 1.0))
        batch = [new_feeds() for _ in range(repeats)]
        for name, run in contenders.items():
            if len(contenders) > 1:
                _wait_for_idle()
            begin = time.perf_counter()
            run(batch)
            times[name].append((time.perf_counter() - begin) * 1e3)
    return times


def _wait_for_idle() -> None:
    """Wait until no thread of this process computes any more, or until ``SETTLE_S`` have passed.

    onnxruntime's threads spin after a run in case another follows, for some 35 ms here, and take half a core from
    whoever runs meanwhile: clnn took 20.0 instead of 14.7 ms on YOLOv8n.
    """
    deadline = time.perf_counter() + SETTLE_S
    while time.perf_counter() < deadline:
        used = time.process_time()
        time.sleep(0.01)  # the time of running threads is booked every 4 ms at best
        if time.process_time() - used < 0.001:
            return


def _summary(times_ms: list[float]) -> dict[str, float]:
    return {
        "median_ms": float(np.median(times_ms)),
        "p90_ms": float(np.percentile(times_ms, 90)),
        "min_ms": min(times_ms),
        "runs": len(times_ms),
    }
