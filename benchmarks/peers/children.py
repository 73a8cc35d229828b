"""The processes of the runtimes, seen from the one that times them."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from benchmarks.peers.jobs import Job, PeerError

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 600.0
"""How long a runtime may load, compile or run before it is given up: some compile for minutes at first."""
SETTLE_S, SETTLE_STEP_S, SETTLE_LOOKS = 0.2, 0.001, 3
"""A process is idle when so many looks, a step apart, find none of its threads running; we wait no longer than this."""
CACHES = ("CLNN_CACHE_DIR", "POCL_CACHE_DIR", "CACHEDB", "OPENCV_OPENCL_CACHE_DIR")


class Child:
    """A process with a network loaded in one runtime, blocked on a socket except while it is asked to run.

    After each run we wait until it is idle. So runtimes keep their own ways of waiting for work (threads that spin for
    some milliseconds, which their speed depends on) and still do not take the processor from the next one.
    """

    def __init__(self, name: str, job: Job, variables: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        with theirs:
            self._process = _start("serve", theirs.fileno(), name, job, variables, self._errors)
        self._connection = Connection(ours.detach())
        self.restless = 0
        """How many runs it was still busy after when we had waited long enough."""
        try:
            (self.version,) = self._answer("ready")
        except PeerError:
            self.close()
            raise

    def run(self, feeds: Mapping[str, np.ndarray]) -> float:
        """Run once, and wait until the process is idle; milliseconds of the run."""
        return self.compute(feeds, outputs=False)[0]

    def compute(self, feeds: Mapping[str, np.ndarray], outputs: bool = True) -> tuple[float, list[np.ndarray]]:
        """Milliseconds of a run and, if wanted, what it gave."""
        try:
            self._connection.send((feeds, outputs))
        except OSError as error:
            raise PeerError(self._death()) from error
        result = self._answer("done")
        self._settle()
        return result

    def _answer(self, expected: str) -> Any:
        try:
            if not self._connection.poll(LIMIT_S):
                raise PeerError(f"does not answer within {LIMIT_S:.0f} s")
            kind, *rest = self._connection.recv()
        except (EOFError, OSError) as error:
            raise PeerError(self._death()) from error
        if kind != expected:
            words = self._last_words()
            raise PeerError(f"{rest[0]}; its last message: {words}" if words else rest[0])
        return rest

    def _death(self) -> str:
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "closes its connection"
        words = self._last_words()
        return f"its process ends with {_ending(code)}" + (f"; its last message: {words}" if words else "")

    def _last_words(self) -> str:
        """The last line that the process printed: ncnn says there, and only there, what it does not know."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[:200] if lines else ""

    def _settle(self) -> None:
        if not Path("/proc/self/task").is_dir():
            time.sleep(SETTLE_S)
            return
        end = time.perf_counter() + SETTLE_S
        looks = 0
        while looks < SETTLE_LOOKS:
            if time.perf_counter() > end:
                self.restless += 1
                return
            time.sleep(SETTLE_STEP_S)
            looks = 0 if _runs(self._process.pid) else looks + 1

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()


@dataclass(frozen=True)
class Start:
    """A fresh process: milliseconds from its start to its first result, and its peak of resident memory in bytes."""

    first_result_ms: float
    peak_rss_bytes: int


def fresh(name: str, job: Job, variables: Mapping[str, str], caches: Path) -> Start:
    """Start a process that loads and runs the network, with ``caches`` as the only folder for what is kept.

    Raises:
        PeerError: it fails.
    """
    cleared = dict.fromkeys(CACHES) | {"XDG_CACHE_HOME": str(caches)} | dict(variables)
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as errors, os.fdopen(reader) as answers:
        try:
            begin = time.perf_counter()
            process = _start("first", writer, name, job, cleared, errors)
        finally:
            os.close(writer)
        try:
            lines = []
            for _ in range(2):
                if not select.select([answers], [], [], LIMIT_S)[0]:
                    raise PeerError(f"gives no result within {LIMIT_S:.0f} s")
                lines.append((answers.readline().strip(), time.perf_counter()))
                if lines[-1][0].startswith("failed"):
                    raise PeerError(lines[-1][0].removeprefix("failed "))
                if not lines[-1][0]:
                    raise PeerError(f"its process ends with {_ending(process.wait())}")
        finally:
            process.kill()
            process.wait()
    return Start((lines[0][1] - begin) * 1e3, int(lines[1][0]))


def _start(
    task: str, fd: int, name: str, job: Job, variables: Mapping[str, str | None], errors: IO
) -> subprocess.Popen:
    merged = {**os.environ, **variables}
    environment = {key: value for key, value in merged.items() if value is not None}
    command = [sys.executable, "-m", "benchmarks.peers.worker", task, str(fd), name, job.dumps()]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, pass_fds=[fd], stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
    )


def _runs(pid: int) -> bool:
    """Whether any thread of a process runs or would if it had a processor: one that spins does."""
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    try:
        return any(path.read_bytes().rpartition(b")")[2].split()[0] == b"R" for path in threads)
    except OSError:  # a thread has ended meanwhile, or the process, which the next request will tell of
        return False


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
