"""Builds many programs at once, in child processes that leave the binaries in the cache folder.

Only for drivers that compile at the first launch, as PoCL does: one kernel at a time in a process, up to a second each.
Measured with PoCL 3.1 on two idle cores, from process start to the first result of YOLOv8n (22 programs) with an empty
cache folder: 13.8 s in one process, 8.3 s with two children. It takes about a fifth more processor time, and gains
nothing where other work keeps the cores busy.

A program is launched there as the plan launches it, on tensors of the right sizes. Whatever goes wrong, the program is
still missing in the cache afterwards, and is built in this process.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from clnn.kernels import Arg, Local
from clnn.plan import Plan, Run
from clnn.runtime import programs
from clnn.runtime.discovery import OpenDevice

log = logging.getLogger(__name__)

MIN_JOBS = 4
"""Fewer programs are built here: a child takes as long to start as one or two of them to build."""

MAX_CHILDREN = 4
JOB_LIMIT_S = 120.0
EXIT_LIMIT_S = 5.0
_SLOWEST = ("winograd.cl", "conv_gemm.cl", "depthwise.cl")  # 1.1, 0.7 and 0.3 s; others about 0.2
_MARK = "clnn-builder "
# -I: nothing from the working folder or beside the script is importable; the path comes from the parent.
_CHILD = "import json, sys; sys.path[:] = json.loads(sys.stdin.readline()); " \
         "from clnn.runtime.builder import serve; serve()"

Listener = Callable[[int, int], Any]
_listeners: list[Listener] = []


@dataclass(frozen=True)
class Job:
    """A program to build, and its launches, one for each kernel and work-group size."""

    source: str
    options: tuple[str, ...]
    launches: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call ``listener(done, total)`` as programs get built during the block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def prepare(plan: Plan, device: str, opened: OpenDevice, cache: programs.ProgramCache) -> None:
    """Put the programs that ``plan`` launches on ``device`` into the cache folder, where that is worth children."""
    children = min(os.cpu_count() or 1, MAX_CHILDREN)
    if children < 2 or not programs.compiles_at_launch(opened) or os.environ.get("POCL_CACHE_DIR"):
        return  # with a folder of PoCL's that processes share, it is not clear what belongs to which program
    found = [job for job in jobs(plan, device) if cache.is_missing(opened, job.source, job.options)]
    if len(found) >= MIN_JOBS and cache.can_store():
        _share(found, min(children, len(found) // 2), opened, cache)


def jobs(plan: Plan, device: str) -> list[Job]:
    """The programs that ``plan`` launches on a device; those first that take longest to build."""
    found: dict[tuple, Job] = {}
    seen = set()
    for step in plan.steps:
        if not isinstance(step, Run) or step.device != device:
            continue
        launch = step.launch
        key = launch.kernel.source, launch.options
        job = found.setdefault(key, Job(*key))
        if (key, launch.kernel.name, launch.local_size) not in seen:
            seen.add((key, launch.kernel.name, launch.local_size))
            job.launches.append({
                "kernel": launch.kernel.name,
                "args": [_described(plan, device, arg) for arg in launch.args],
                "global_size": launch.global_size,
                "local_size": launch.local_size,
            })
    ranks = {source: rank for rank, source in enumerate(_SLOWEST)}
    return sorted(found.values(), key=lambda job: ranks.get(job.source, len(ranks)))


def _described(plan: Plan, device: str, arg: Arg) -> tuple[str, Any]:
    match arg:
        case Local(nbytes):
            return "local", nbytes
        case str() if arg in plan.constants.get(plan.memories[device], {}):
            return "tensor", plan.constants[plan.memories[device]][arg].nbytes
        case str():
            return "tensor", plan.arenas[plan.memories[device]].offsets[arg].nbytes
        case None:
            return "none", None
    return type(arg).__name__, arg


class _Counter:
    """Counts jobs that are done, for the listeners."""

    def __init__(self, total: int) -> None:
        self._done, self._total = 0, total
        self._lock = threading.Lock()

    def step(self) -> None:
        with self._lock:
            self._done += 1
            for listener in _listeners:
                listener(self._done, self._total)


def _share(found: Sequence[Job], children: int, opened: OpenDevice, cache: programs.ProgramCache) -> None:
    """Let ``children`` take the jobs one by one, and wait for them."""
    left: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in found:
        left.put(job)
    done = _Counter(len(found))
    # A sub-device is not listed: what is built for the whole device runs on it.
    device = (opened.info.platform, opened.device.name.strip(), opened.info.driver)
    greeting = [[str(path) for path in sys.path], {"cache_dir": cache.folder, "device": device}]
    processes: list[subprocess.Popen] = []
    threads = []
    try:
        for _ in range(children):
            processes.append(_start())
            threads.append(threading.Thread(target=_serve, args=(processes[-1], greeting, left, done), daemon=True))
            threads[-1].start()
        for thread in threads:
            thread.join()
        for process in processes:  # time to remove what it left on disk
            with suppress(subprocess.TimeoutExpired):
                process.wait(EXIT_LIMIT_S)
    except OSError as error:
        log.info("programs are built one by one: %s does not start (%s)", sys.executable, error.strerror)
    finally:  # also when the user loses patience: no child outlives this
        for process in processes:
            process.kill()
            process.wait()
            process.stdout.close()


def _start() -> subprocess.Popen:
    # Not pinned: PoCL would pin the threads of all children to the same core.
    environment = {**os.environ, "POCL_AFFINITY": "0"}
    command = [sys.executable or "python", *(["-B"] if sys.dont_write_bytecode else []), "-I", "-c", _CHILD]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                            env=environment, text=True, encoding="utf-8")


def _serve(process: subprocess.Popen, greeting: Iterable[Any], left: queue.SimpleQueue, done: _Counter) -> None:
    """Hand jobs to one child until none is left, or it fails."""
    try:
        for line in greeting:
            process.stdin.write(json.dumps(line) + "\n")
        while True:
            job = left.get_nowait()
            process.stdin.write(json.dumps(asdict(job)) + "\n")
            process.stdin.flush()
            answer = _answer(process)
            if answer:
                log.info("a child process cannot build %s: %s", job.source, answer)
            if answer is None:
                return
            done.step()
    except (queue.Empty, OSError):  # a child that is gone closes its pipe
        return
    finally:
        with suppress(OSError):
            process.stdin.close()  # it ends then


def _answer(process: subprocess.Popen) -> str | None:
    """What the child says; ``None`` when it dies, or takes so long that it is ended."""
    timer = threading.Timer(JOB_LIMIT_S, process.kill)
    timer.start()
    try:
        for line in process.stdout:
            if line.startswith(_MARK):
                return json.loads(line[len(_MARK):])
        return None
    finally:
        timer.cancel()
