"""Builds programs for another process, which finds their binaries in the cache folder: the child's side.

:mod:`clnn.runtime.builders` starts it and sends lines of JSON on stdin: first the cache folder and the device, then a
job per line, see ``Job``. Each is answered by a line on stdout after MARK, because drivers print too. When stdin ends,
as it does when the other process dies, this one ends.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from clnn.errors import ClnnError, DeviceError
from clnn.runtime import discovery, loader, programs
from clnn.runtime.discovery import OpenDevice

MARK = "clnn-builder "


def serve() -> None:
    """Do the jobs on stdin."""
    request = json.loads(sys.stdin.readline())
    opened = _open(tuple(request["device"]))
    cache = programs.ProgramCache(request["cache_dir"])
    for line in sys.stdin:
        try:
            answer = build(cache, opened, json.loads(line))
        except ClnnError as error:  # the other process will meet it, too, and tell
            answer = str(error)
        print(MARK + json.dumps(answer), flush=True)


def build(cache: programs.ProgramCache, opened: OpenDevice, job: dict[str, Any]) -> str:
    """Build the program of a job, launch it as the job says, and store its binary; why not, or ``""``."""
    cl = loader.opencl()
    program = cache.build(opened, job["source"], job["options"])
    try:
        with cl.CommandQueue(opened.context, opened.device) as queue:
            for launch in job["launches"]:
                kernel = cl.Kernel(program, launch["kernel"])
                arguments = [_argument(opened, kind, value) for kind, value in launch["args"]]
                for index, argument in enumerate(arguments):  # the list keeps the buffers alive
                    kernel.set_arg(index, argument)
                cl.enqueue_nd_range_kernel(queue, kernel, launch["global_size"], launch["local_size"])
                queue.finish()
    except cl.Error as error:
        return f"{job['source']}: {error}"
    return "" if cache.store() else f"{job['source']}: its binary cannot be stored"


def _open(wanted: tuple[str, ...]) -> OpenDevice:
    """The device of this platform, name and driver, working on one thread, as another process may need the cores."""
    for info in discovery.devices():
        if (info.platform, info.name, info.driver) == wanted and info.usable:
            loader.limit_threads(1)
            return discovery.open_device(info)
    raise DeviceError(f"there is no usable device {wanted}; run 'clnn devices'")


def _argument(opened: OpenDevice, kind: str, value: Any) -> Any:
    """A kernel argument; tensors are full of zeros, which as indices are valid, too."""
    cl = loader.opencl()
    if kind == "tensor":
        zeros = np.zeros(max(1, value), np.uint8)
        return cl.Buffer(opened.context, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=zeros)
    return {"local": cl.LocalMemory, "int": np.int32, "float": np.float32, "none": lambda _: None}[kind](value)
