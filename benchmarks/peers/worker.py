"""What runs in the process of one runtime: blocks until asked, runs the network, tells the time it took.

    python -m benchmarks.peers.worker serve FD RUNTIME JOB     answers requests on a socket until it is closed
    python -m benchmarks.peers.worker first FD RUNTIME JOB     one fresh start: tells of the first result, then the peak
"""

from __future__ import annotations

import os
import sys
import time

import numpy as np

from benchmarks.peers.jobs import Job
from benchmarks.peers.runtimes import RUNTIMES, peak_rss_bytes

LATER_RUNS = 2
"""Runs after the first that a peak of memory covers: tinygrad records in its second run."""


def reason(error: Exception) -> str:
    """An exception in one line."""
    text = str(error).strip()
    kind = type(error).__name__
    return text.splitlines()[0] if kind == "PeerError" else f"{kind}: {(text.splitlines() or [''])[0]}"[:300]


def serve(fd: int, name: str, job: Job) -> None:
    """Answer ``(feeds, whether outputs are wanted)`` with ``("done", ms, outputs)`` or ``("failed", reason)``."""
    from multiprocessing.connection import Connection

    connection = Connection(fd)
    try:
        run, version = RUNTIMES[name].load(job)
    except Exception as error:
        connection.send(("failed", reason(error)))
        return
    connection.send(("ready", version))
    while True:
        try:
            feeds, wanted = connection.recv()
        except EOFError:
            return
        try:
            begin = time.perf_counter()
            outputs = run(feeds)
            ms = (time.perf_counter() - begin) * 1e3
        except Exception as error:
            connection.send(("failed", reason(error)))
            return
        connection.send(("done", ms, outputs if wanted else None))


def first(fd: int, name: str, job: Job) -> None:
    """Load and run once, write a line; run some more, write the peak of resident memory in bytes."""
    random = np.random.default_rng(0)
    feeds = {key: random.random(one.shape, np.float32).astype(one.dtype) for key, one in job.inputs.items()}
    try:
        run, _ = RUNTIMES[name].load(job)
        run(feeds)
        os.write(fd, b"ran\n")
        for _ in range(LATER_RUNS):
            run(feeds)
        os.write(fd, b"%d\n" % peak_rss_bytes())
    except Exception as error:
        os.write(fd, f"failed {reason(error)}\n".encode())


if __name__ == "__main__":
    {"serve": serve, "first": first}[sys.argv[1]](int(sys.argv[2]), sys.argv[3], Job.loads(sys.argv[4]))
