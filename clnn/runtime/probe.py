"""Tries one device, in a process of its own: whatever the driver does, it does it there.

Run as a script with a JSON request on stdin: ``path`` (the parent's ``sys.path``), ``icd`` (a folder that registers one
driver, or null), ``source`` (the probe kernel) and ``index`` (which of the driver's devices). It answers with lines of
JSON on stdout, each after MARK, because drivers print too: first the facts of every device, then the verdict on one.
Nothing of clnn is imported here, so that the start costs little more than pyopencl.
"""

from __future__ import annotations

import glob
import json
import os
import re
import sys
from typing import Any

MARK = "clnn-probe "
UNTRIED = "cannot be tried, as pyopencl cannot be imported"
ITEMS = 256
GROUP = 16
WEIGHT = 0.5


def say(**answer: Any) -> None:
    """Answer the parent; flushed, because the next call may never return."""
    print(MARK + json.dumps(answer), flush=True)


def facts(cl: Any, device: Any) -> dict[str, Any]:
    """What ``DeviceInfo`` wants to know about ``device``, and what tells it from others."""
    kinds = ((cl.device_type.CPU, "cpu"), (cl.device_type.GPU, "gpu"))
    extensions = device.extensions.split()
    return {
        "kind": next((kind for bit, kind in kinds if device.type & bit), "accelerator"),
        "name": device.name.strip(),
        "vendor": device.vendor.strip(),
        "platform": device.platform.name.strip(),
        "platform_version": device.platform.version.strip(),
        "driver": device.driver_version.strip(),
        "compute_units": device.max_compute_units,
        "global_mem": device.global_mem_size,
        "max_alloc": device.max_mem_alloc_size,
        "local_mem": device.local_mem_size,
        "cache_bytes": cache_bytes(cl, device),
        "alignment": max(1, device.mem_base_addr_align // 8),  # reported in bits
        "max_work_group_size": device.max_work_group_size,
        "vector_width": max(1, device.native_vector_width_float),
        "host_memory": bool(device.host_unified_memory),
        "fp16": "cl_khr_fp16" in extensions,
        "fp64": "cl_khr_fp64" in extensions,
        "pipes": pipes(cl, device),
        "subdevices": subdevices(cl, device),
    }


def cache_bytes(cl: Any, device: Any) -> int:
    """The largest cache: what the driver says, or, as some mean one of a core by that, what Linux says of a CPU."""
    sizes = [device.global_mem_cache_size]
    if device.type & cl.device_type.CPU:
        for file in glob.glob("/sys/devices/system/cpu/cpu0/cache/index*/size"):
            with open(file, encoding="ascii") as text:
                number = re.fullmatch(r"(\d+)K", text.read().strip())
            sizes.append(1024 * int(number[1]) if number else 0)
    return max(sizes)


def pipes(cl: Any, device: Any) -> bool:
    """Whether kernels may use pipes: mandatory in OpenCL 2.x, optional from 3.0 on."""
    version = device.version.split()[1]
    if version.startswith("2."):
        return True
    if version.startswith("1."):
        return False
    try:
        return bool(device.get_info(cl.device_info.PIPE_SUPPORT))
    except cl.Error:
        return False


def subdevices(cl: Any, device: Any) -> bool:
    """Whether the device can be cut into parts."""
    try:
        return device.partition_max_sub_devices > 1 and any(device.partition_properties)
    except cl.Error:
        return False


def trial(cl: Any, device: Any, source: str) -> str:
    """Build and run the probe kernel; why it failed, or ``""``."""
    import numpy as np

    context = cl.Context([device])
    program = cl.Program(context, source)
    try:
        program.build(devices=[device])
    except cl.Error as error:
        return "does not build a kernel: " + first_line(program, device, error)
    given = np.arange(ITEMS, dtype=np.float32) % 7
    got = np.zeros_like(given)
    flags = cl.mem_flags
    source_buffer = cl.Buffer(context, flags.READ_ONLY | flags.COPY_HOST_PTR, hostbuf=given)
    target_buffer = cl.Buffer(context, flags.WRITE_ONLY, got.nbytes)
    kernel = cl.Kernel(program, "probe")
    kernel.set_args(source_buffer, target_buffer, np.int32(ITEMS))
    with cl.CommandQueue(context, device) as queue:
        cl.enqueue_nd_range_kernel(queue, kernel, (ITEMS,), (GROUP,))
        cl.enqueue_copy(queue, got, target_buffer)
    sums = given.reshape(-1, GROUP).sum(axis=1) * WEIGHT
    # Whole and half numbers far below 2^24: every order of summation gives the same floats.
    wanted = np.repeat(sums, GROUP) + GROUP * np.arange(ITEMS)
    wrong = np.flatnonzero(got != wanted.astype(np.float32))
    return f"computes a wrong result: {len(wrong)} of {ITEMS} numbers differ" if len(wrong) else ""


def first_line(program: Any, device: Any, error: Exception) -> str:
    """The line of the build log that says most: the first error, else the first line of anything."""
    try:
        log = program.get_build_info(device, sys.modules["pyopencl"].program_build_info.LOG)
    except Exception:  # a broken driver may fail here in any way; the error itself is still worth telling
        log = ""
    return telling_line(f"{log}\n{error}") or "no build log"


def telling_line(text: str, otherwise: int = 0) -> str:
    """The first line that speaks of an error, else the first one, or the one at ``otherwise``."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[otherwise] if lines else "")


def missing_library(library: str) -> str:
    """Why the dynamic linker refuses ``library``, or ``""`` when it does not."""
    import ctypes

    try:
        ctypes.CDLL(library)
    except OSError as error:
        return str(error)
    return ""


def main() -> None:
    """Answer the request on stdin."""
    request = json.load(sys.stdin)
    sys.path[:] = request["path"]
    try:
        import pyopencl as cl
    except ImportError as error:
        say(devices=[], reason=f"{UNTRIED}: {error}")
        return
    if request["icd"] is not None:
        os.environ["OCL_ICD_VENDORS"] = os.environ["PYOPENCL_HOME"] = request["icd"]
    try:
        platforms = cl.get_platforms()
    except cl.Error:
        platforms = []
    if not platforms:
        say(devices=[], reason=missing_library(request["library"]) or "offers no OpenCL platform")
        return
    devices = []
    for platform in platforms:
        try:
            devices += platform.get_devices()
        except cl.Error:  # a platform without devices says DEVICE_NOT_FOUND
            continue
    say(devices=[facts(cl, device) for device in devices], reason="" if devices else "lists no device")
    if request["index"] < len(devices):
        say(verdict=trial(cl, devices[request["index"]], request["source"]))


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # reported to the parent, which knows what to make of it
        say(failed=" ".join(f"{type(error).__name__}: {error}".split()))
