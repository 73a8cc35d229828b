"""How fast a device is: fp32 multiply-adds and memory, measured once and kept in the cache folder.

Only what shows or needs the figures measures them (``clnn devices``, ``bench``, ``plan``); a session starts without,
and uses them when they are there.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.errors import DeviceError
from clnn.kernels import source
from clnn.runtime import cachedir, drivers, loader, programs
from clnn.runtime.discovery import IsolatedDevice, OpenDevice

_FORMAT = "1"
_SOURCE = "calibrate.cl"
_CHAINS = 12
_LANES = 16
_REPEATS = 12
_TARGET_S = 0.02  # of one repetition: long beside a launch, short beside a time slice
_TRIAD_BYTES = 64 << 20  # of each of three arrays, twice the largest last-level cache in common use


def known(info: DeviceInfo, cache_dir: str | None = None) -> DeviceInfo:
    """``info`` with the figures of an earlier measurement, when there was one."""
    kept = cachedir.Store("calibration", cache_dir).get_json(_key(info))
    return _with_speed(info, kept) if kept else info


def measure(opened: OpenDevice | IsolatedDevice, refresh: bool = False, cache_dir: str | None = None) -> DeviceInfo:
    """The device with measured ``gflops`` and ``bandwidth_gbs``; takes about a second the first time.

    One that is isolated is not measured, as its driver must not be loaded here: what is known of it stands.

    Raises :class:`BuildError` or :class:`DeviceError` when the device fails meanwhile.
    """
    info = opened.info
    if isinstance(opened, IsolatedDevice):
        return info
    if not refresh:
        info = known(info, cache_dir)
        if info.gflops:
            return info
    try:
        figures = {"gflops": round(_gflops(opened, cache_dir), 1),
                   "bandwidth_gbs": round(_bandwidth_gbs(opened, cache_dir), 2)}
    except loader.opencl().Error as error:
        raise DeviceError(f"calibration fails on {info.id} ({info.name}): {error}; run 'clnn doctor'") from error
    cachedir.Store("calibration", cache_dir).put_json(_key(info), figures)
    return _with_speed(info, figures)


def _with_speed(info: DeviceInfo, figures: Mapping[str, float]) -> DeviceInfo:
    """``info`` with what its slowdown leaves of measured figures."""
    return replace(info, **{name: figure / info.slowdown for name, figure in figures.items()})


def _key(info: DeviceInfo) -> str:
    return cachedir.digest("calibration", _FORMAT, info.platform, info.driver, info.name, str(info.compute_units),
                           drivers.processor(), source.read(_SOURCE))


Load = Callable[[int], float]
"""Runs a number of steps of the same work on all of a device; the seconds that it took."""


def computing(opened: OpenDevice, cache_dir: str | None = None) -> Load:
    """Independent ``fma`` chains: a load that computes, and touches no memory.

    Raises :class:`BuildError`.
    """
    cl = loader.opencl()
    items, group = _shape(opened.info)
    out = cl.Buffer(opened.context, cl.mem_flags.WRITE_ONLY, 4 * items)
    kernel = cl.Kernel(programs.shared(cache_dir).build(opened, _SOURCE, ("-D", f"CHAINS={_CHAINS}")), "peak")

    def run(steps: int) -> float:
        kernel.set_args(out, np.float32(1e-6), np.int32(steps))
        return _seconds(opened, lambda queue: cl.enqueue_nd_range_kernel(queue, kernel, (items,), (group,)))

    return run


def steps_for(load: Load, target_s: float) -> int:
    """How many steps of ``load`` take at least ``target_s`` seconds, and not much more."""
    steps = 1000
    while (taken := min(load(steps), load(steps))) < target_s and steps < 1 << 28:
        steps = math.ceil(steps * min(10.0, 1.2 * target_s / max(taken, 1e-6)))
    return steps


def _gflops(opened: OpenDevice, cache_dir: str | None) -> float:
    """Best rate of multiply-adds, 10^9 operations per second."""
    load = computing(opened, cache_dir)
    steps = steps_for(load, _TARGET_S)
    best_s = min(load(steps) for _ in range(_REPEATS))
    return 2.0 * _LANES * _CHAINS * steps * _shape(opened.info)[0] / best_s / 1e9


def _bandwidth_gbs(opened: OpenDevice, cache_dir: str | None) -> float:
    """Rate of a triad over arrays that no cache holds, counting two reads and a write, 10^9 bytes per second."""
    cl = loader.opencl()
    info = opened.info
    items, group = _shape(info)
    vector_bytes = 4 * _LANES
    array_bytes = min(_TRIAD_BYTES, info.max_alloc, info.global_mem // 8)
    per_item = max(1, array_bytes // vector_bytes // items)
    size = per_item * items * vector_bytes
    arrays = [cl.Buffer(opened.context, cl.mem_flags.READ_WRITE, size) for _ in range(3)]
    kernel = cl.Kernel(programs.shared(cache_dir).build(opened, _SOURCE, ("-D", f"CHAINS={_CHAINS}")), "triad")
    kernel.set_args(*arrays, np.float32(0.5), np.int32(per_item))
    with cl.CommandQueue(opened.context, opened.device) as queue:
        for array in arrays:  # gives every page a place
            cl.enqueue_fill_buffer(queue, array, np.float32(1.0), 0, size)
    times_s = [_seconds(opened, lambda queue: cl.enqueue_nd_range_kernel(queue, kernel, (items,), (group,)))
               for _ in range(_REPEATS)]
    # On a virtual machine the best of many is far above what lasts.
    return 3.0 * size / statistics.median(times_s) / 1e9


def _shape(info: DeviceInfo) -> tuple[int, int]:
    """Work-items in all and per group: a few per core of a CPU, many thousand for anything else."""
    if info.kind == "cpu":
        return 8 * info.compute_units, 1
    group = min(64, info.max_work_group_size)
    return 64 * info.compute_units * group, group


def _seconds(opened: OpenDevice, enqueue: Callable[[object], object]) -> float:
    with loader.opencl().CommandQueue(opened.context, opened.device) as queue:
        start = time.perf_counter()
        enqueue(queue)
        queue.finish()
        return time.perf_counter() - start
