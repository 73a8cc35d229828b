"""A worker in a child process: a driver that crashes or hangs there does not take this process along.

    IsolatedWorker                      isolated_child
      sys.path, request  ─────────────▶   loads the driver, then the plan, on the cores it is pinned to
      0                  ◀─────────────   or why not
      number, outputs    ─────────────▶   runs the plan on the feeds in shared memory
      number             ◀─────────────   the results are in shared memory, or why not

Messages go over a socket that only these two have. Plan and tensors lie in memory without a name
(:mod:`clnn.runtime.shared_memory`). The child ends when the socket closes, as it does when this process dies.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from clnn.errors import DeadlineError, DeviceError, ForkError, UsageError
from clnn.plan import Plan
from clnn.runtime import probe, quarantine, scratch, shared_memory
from clnn.runtime.discovery import IsolatedDevice

FIRST_LIMIT_S = 300.0
"""For the child's start, and for the first run, in which drivers may still compile."""

PATIENCE = 20
LEAST_LIMIT_S = 2.0
"""A later run may take ``PATIENCE`` times the median of those before it, and so long in any case."""

EXIT_LIMIT_S = 5.0
_SLICE_S = 0.25
_REMEMBERED_RUNS = 32
_REMEMBERED_LINES = 40

_alive: weakref.WeakSet[_Child] = weakref.WeakSet()

# -I: nothing from the working folder or beside the script is importable; the path comes from the parent.
_CHILD = "import sys; from multiprocessing.connection import Connection; channel = Connection(int(sys.argv[1])); " \
         "sys.path[:] = channel.recv(); from clnn.runtime.isolated_child import serve; serve(channel)"


@dataclass(frozen=True)
class Request:
    """What the child is to do; ``plan`` (with its ``spans``) and ``tensors`` are file descriptors of shared memory."""

    device: IsolatedDevice
    plan: int
    spans: list[shared_memory.Span]
    tensors: int
    scratch: Path
    cache_dir: str | os.PathLike[str] | None


class IsolatedWorker:
    """A :class:`~clnn.runtime.worker.Worker` in a child process, which is not started again once it has died.

    Tensors of known size go through shared memory, made once; texts, and outputs whose size only a run tells, go over
    the socket.

    Args:
        plan: what to run; it uses no other device.
        device: the device, as ``selection.select`` gives it.
        cache_dir: folder for program binaries, as in ``Options``.
        timeout_s: seconds after which a run is given up and the child ended; ``None``: see ``PATIENCE``.

    Raises:
        DeviceError: the child does not start, or its device fails; ``BuildError`` when that refuses a kernel.
        DeadlineError: the child does not get ready within ``FIRST_LIMIT_S``.
        OutOfMemoryError: the device cannot hold the network.
        UsageError: the child cannot be pinned to these cores, or its driver limited to so many threads.
    """

    def __init__(self, plan: Plan, device: IsolatedDevice, cache_dir: str | os.PathLike[str] | None = None,
                 timeout_s: float | None = None) -> None:
        self.device = device.info.id
        self._used = [device]
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._number = 0
        self._took_s: deque[float] = deque(maxlen=_REMEMBERED_RUNS)
        self._failure: str | None = None
        self._closed = False
        types = tensor_types(plan)
        handle, spans = shared_memory.pack(plan)
        tensors = shared_memory.allocate(types)
        try:
            self._arrays = shared_memory.arrays(tensors, types)
            self._child = _Child(device, (handle, tensors))
            try:
                self._child.greet(device)
                self._ask(0, Request(device, handle, spans, tensors, self._child.scratch, cache_dir), FIRST_LIMIT_S)
            except BaseException:
                self._child.end()
                raise
        finally:
            os.close(handle)
            os.close(tensors)

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """See :class:`~clnn.runtime.worker.Worker`. Raises ``ForkError`` in a process forked since."""
        self._child.check_process()
        with self._lock:
            if self._closed:
                raise UsageError(f"the worker on {self.device} is closed; make a new session")
            quarantine.check(self._used)
            if self._failure:
                raise self._failed(DeviceError(self._failure))
            beside = {name: array for name, array in feeds.items()
                      if not shared_memory.put(self._arrays.get(("feed", name)), array)}
            started = time.monotonic()
            self._number += 1
            results = self._ask(self._number, (self._number, tuple(outputs), beside), self._limit_s())
            self._took_s.append(time.monotonic() - started)
            return [self._arrays["result", name].copy() if result is None else result
                    for name, result in zip(outputs, results, strict=True)]

    def close(self) -> None:
        """See :class:`~clnn.runtime.worker.Worker`."""
        with self._lock:
            self._closed = True
            self._child.end()

    def _ask(self, number: int, message: Any, limit_s: float) -> Any:
        """Send a message and return what the child answers to it; raise what it raised."""
        try:
            answered, answer = self._child.ask(message, limit_s)
            while answered != number:  # the answer to a run whose caller was interrupted
                answered, answer = self._child.answer(limit_s)
        except (DeviceError, DeadlineError) as error:
            self._failure = str(error)
            raise self._failed(error) from None
        if isinstance(answer, Exception):
            raise self._failed(answer)
        return answer

    def _failed(self, error: Exception) -> Exception:
        """``error`` with the name of the device, if it is one about devices."""
        if isinstance(error, DeviceError | DeadlineError):
            error.device = self.device
        return error

    def _limit_s(self) -> float:
        if self._timeout_s is not None:
            return self._timeout_s
        if not self._took_s:
            return FIRST_LIMIT_S
        return max(LEAST_LIMIT_S, PATIENCE * statistics.median_low(self._took_s))


def tensor_types(plan: Plan) -> dict[tuple[str, str], Any]:
    """The types of what is fed and of what results, by ("feed" or "result", name)."""
    types = plan.graph.types
    return {**{("feed", name): types[name] for name in plan.graph.inputs},
            **{("result", name): types[name] for name in plan.graph.outputs}}


class _Child:
    """The child process and the socket to it; it ends with this object, and at the end of this process."""

    def __init__(self, device: IsolatedDevice, handles: tuple[int, ...]) -> None:
        self._device = device.info.id
        self._owner = os.getpid()
        self._said: deque[str] = deque(maxlen=_REMEMBERED_LINES)
        self.scratch = Path(tempfile.mkdtemp(dir=scratch.folder()))
        self._channel, theirs = Pipe()
        try:
            self._process = _start(device, (theirs.fileno(), *handles))
        finally:
            theirs.close()
        self.end = weakref.finalize(self, _end, self._owner, self._process, self._channel, self.scratch)
        _alive.add(self)
        _end_at_exit()
        self._listener = threading.Thread(target=_listen, args=(self._process.stdout, self._said), daemon=True)
        self._listener.start()

    def greet(self, device: IsolatedDevice) -> None:
        """Pin the child to its cores, and let it import clnn, for which it has waited."""
        _pin(self._process.pid, device)
        self._send([str(path) for path in sys.path])

    def check_process(self) -> None:
        """Raise ``ForkError`` in a process that was forked since: socket and memory are its parent's."""
        if os.getpid() != self._owner:
            raise ForkError(f"device {self._device} belongs to process {self._owner}, and this is its forked child; "
                            "create sessions after forking, or start processes with the 'spawn' method")

    def _send(self, message: Any) -> None:
        with suppress(OSError):  # the child is gone, and answer() tells why
            self._channel.send(message)

    def ask(self, message: Any, limit_s: float) -> Any:
        """Send ``message`` and return the next answer; the child is gone after an error, as for :meth:`answer`."""
        self._send(message)
        return self.answer(limit_s)

    def answer(self, limit_s: float) -> Any:
        """The next message of the child.

        Raises:
            DeviceError: the child has died.
            DeadlineError: nothing came within ``limit_s``.
        """
        left_s = limit_s
        try:
            while not self._channel.poll(min(_SLICE_S, left_s)):
                # Slices are counted, not the clock: where both processes were stopped, the child does not hang.
                left_s -= _SLICE_S
                if self._process.poll() is not None:
                    raise EOFError
                if left_s <= 0:
                    self._process.kill()
                    self.end()
                    raise DeadlineError(f"device {self._device} did not answer within {limit_s:.3g} s, and its process "
                                        "was ended; use another device, or raise timeout_s if it is only slow")
            return self._channel.recv()
        except (EOFError, OSError):
            raise DeviceError(self._ending()) from None

    def _ending(self) -> str:
        """How the child ended."""
        with suppress(subprocess.TimeoutExpired):  # it closes the socket a moment before
            self._process.wait(EXIT_LIMIT_S)
        self._process.kill()
        self.end()
        self._listener.join(EXIT_LIMIT_S)
        code = self._process.returncode
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        line = probe.telling_line("\n".join(self._said), otherwise=-1)
        return f"device {self._device}: its process {how}{': ' if line else ''}{line}; use another device, or see " \
               "'clnn doctor'"


def _start(device: IsolatedDevice, handles: tuple[int, ...]) -> subprocess.Popen:
    if os.name == "nt":
        raise DeviceError(f"device {device.info.id}: isolate: processes cannot share memory without a name on Windows; "
                          "leave it out")
    environment = dict(os.environ)
    if device.cores and device.cores != tuple(range(len(device.cores))):
        # PoCL would pin its threads to the first cores of the machine.
        environment["POCL_AFFINITY"] = "0"
    command = [sys.executable or "python", *(["-B"] if sys.dont_write_bytecode else []), "-I", "-c", _CHILD,
               str(handles[0])]
    try:
        # A session of its own: Ctrl-C on the terminal is for this process, which then ends the child.
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                pass_fds=handles, env=environment, start_new_session=True, text=True, errors="replace")
    except OSError as error:
        raise DeviceError(f"device {device.info.id}: {command[0]} does not start ({error.strerror})") from error


def _pin(pid: int, device: IsolatedDevice) -> None:
    """Pin a process that has one thread yet, and so all that it will have."""
    if not device.cores:
        return
    there: set[int] = set()
    with suppress(AttributeError, OSError):  # AttributeError: only Linux can
        there = os.sched_getaffinity(0)
        os.sched_setaffinity(pid, device.cores)
        if os.sched_getaffinity(pid) == set(device.cores):
            return
    names = ", ".join(map(str, sorted(there))) or "none, as this system cannot pin"
    raise UsageError(f"device {device.info.id}: cores: its process cannot be pinned to all of "
                     f"{', '.join(map(str, device.cores))}; there are {names}")


def _listen(stream: TextIO, said: deque[str]) -> None:
    with stream:
        said.extend(stream)


@cache
def _end_at_exit() -> None:
    """End what lives at exit. Registered after, and so called before, the removal of the scratch folder."""
    atexit.register(lambda: [child.end() for child in list(_alive)])


def _end(owner: int, process: subprocess.Popen, channel: Connection, folder: Path) -> None:
    """Let the child end, or end it; in a forked process it is not ours."""
    if os.getpid() != owner:
        return
    channel.close()
    process.stdin.close()
    try:
        process.wait(EXIT_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)
