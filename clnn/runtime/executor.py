"""Running a plan: kernels and arguments are bound once, a run enqueues a prepared list."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from clnn.errors import DeadlineError, DeviceError
from clnn.host import HostOperator
from clnn.kernels import Arg, Local, Pipe
from clnn.plan import Copy, Host, Plan, Run, Step
from clnn.runtime import affinity, waiting
from clnn.runtime.failures import opencl_errors
from clnn.runtime.loaded import LoadedPlan
from clnn.runtime.loader import opencl
from clnn.runtime.memory import ArenaBuffers, make_pipe
from clnn.runtime.order import order
from clnn.schedule import HOST


class Executor:
    """Runs one plan, one run at a time; threads that run at once need an executor each."""

    def __init__(self, loaded: LoadedPlan, timeout_s: float | None = None, profile: bool = False) -> None:
        cl = opencl()
        self.plan = loaded.plan
        self._loaded = loaded
        self._timeout_s = timeout_s
        self._started = 0.0
        # The device that is being dealt with, so that an error can name it.
        self._at: str | None = None
        self.timings_ms: list[tuple[float, float]] = []
        """With ``profile``: when each step of the last run began and ended, by the clock of its device or the host."""
        self._profile = profile
        self.recording = profile
        """Whether the next runs record ``timings_ms``, for which the executor must have been made with ``profile``."""
        self._host: dict[str, np.ndarray] = {}
        # Events of copies: one that is dropped before its copy is done makes pyopencl wait for it.
        self._copies: list[Any] = []
        returned = set(self.plan.lowered.outputs.values())
        # Outputs that a device writes: read into arrays that are new in each run, and the caller's.
        self._fresh = {
            step.tensor for step in self.plan.steps if isinstance(step, Copy) and step.destination == HOST
        } & returned
        properties = cl.command_queue_properties.PROFILING_ENABLE if profile else 0
        with opencl_errors("preparing a run"):
            self._queues = {
                device: cl.CommandQueue(loaded.devices[device].context, loaded.devices[device].device, properties)
                for device in self.plan.used_devices
            }
            # By device and name; launches of several stages share a pipe.
            self._pipes: dict[tuple[str, str], Any] = {}
            self._buffers = {device: dict(buffers) for device, buffers in loaded.constants.items()}
            self._arenas = [ArenaBuffers(arena, loaded.devices) for arena in self.plan.arenas.values()]
            for arena in self._arenas:
                for device, placed in arena.of.items():
                    self._buffers[device].update(placed)
            self._bind()

    def _bind(self, before: Sequence[Step] = ()) -> None:
        """Prepare all steps, but those that are the same as ``before`` only in their order with others."""
        known = {id(step): action for step, action in zip(before, self._prepared, strict=True)} if before else {}
        self._prepared = [known.get(id(step)) or self._prepare(step) for step in self.plan.steps]
        self._actions = self._prepared
        self._avoided: frozenset[int] = frozenset()
        if len(self.plan.used_devices) > 1:
            # But not off those of the device that is given its work last: then all others are at work already.
            *others, _ = self.plan.used_devices
            self._avoided = affinity.pinned_cores(self._loaded.devices[device] for device in others)
            self._actions = order(self.plan.steps, self._actions, self._queues, self._await)

    def adopt(self, plan: Plan) -> None:
        """Take over a plan that differs from the own one in its steps alone, if it does; see ``rebound``."""
        if plan is not self.plan:
            before, self.plan = self.plan.steps, plan
            with opencl_errors("preparing a run"):
                self._bind(before)

    def rebound(self, steps: tuple[Step, ...]) -> Executor:
        """An executor of other steps over the same memory and queues; only one of the two may run at a time.

        The steps launch programs, and name tensors and devices, that the plan has already.
        """
        other = copy.copy(self)
        other.adopt(replace(self.plan, steps=steps))
        return other

    def _prepare(self, step: Step) -> Callable[[], Any]:
        match step:
            case Run():
                return self._prepare_run(step)
            case Copy(tensor, source, _, device) if source == HOST:
                return partial(self._write, self._queues[device], self._buffers[device][tensor], tensor)
            case Copy(tensor, _, _, device):
                return self._prepare_read(tensor, device)
            case Host(node, sources):
                return partial(self._compute, HostOperator(node), sources)

    def _prepare_run(self, step: Run) -> Callable[[], Any]:
        kernel = self._loaded.kernel(step)
        for index, arg in enumerate(step.launch.args):
            kernel.set_arg(index, self._argument(arg, step.device))
        enqueue = partial(
            opencl().enqueue_nd_range_kernel,
            self._queues[step.device],
            kernel,
            step.launch.global_size,
            step.launch.local_size,
            step.launch.offset,
        )
        repeats = self._repeats(step)
        return enqueue if repeats == 1 else partial(_repeat, enqueue, repeats)

    def _repeats(self, run: Run) -> int:
        """How many times a kernel runs, as that of a device that is pretended to be slow."""
        return self._loaded.devices[run.device].info.slowdown

    def _argument(self, arg: Arg, device: str) -> Any:
        match arg:
            case Local(nbytes):
                return opencl().LocalMemory(nbytes)
            case Pipe():
                return self._pipe(arg, device)
            case str():
                return self._buffers[device][arg]
            case int():
                return np.int32(arg)
            case float():
                return np.float32(arg)
        return None

    def _pipe(self, pipe: Pipe, device: str) -> Any:
        key = device, pipe.name
        if key not in self._pipes:
            self._pipes[key] = make_pipe(self._loaded.devices[device], pipe)
        return self._pipes[key]

    def _prepare_read(self, tensor: str, device: str) -> Callable[..., Any]:
        kind = self.plan.graph.types[tensor]
        # Also where it goes on from the host to another device's memory.
        read_on_host = any(
            (isinstance(step, Host) and tensor in step.sources.values())
            or (isinstance(step, Copy) and step.source == HOST and step.tensor == tensor)
            for step in self.plan.steps
        )
        staging = None if tensor in self._fresh else np.empty(kind.shape, kind.dtype)
        return partial(
            self._read, self._queues[device], self._buffers[device][tensor], tensor, kind, staging, read_on_host
        )

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """Run the network.

        Args:
            feeds: an array for each graph input, C-contiguous, of the plan's shapes and dtypes.
            outputs: names of the graph outputs wanted.

        Returns:
            The outputs in the order asked for; the arrays are the caller's.

        Raises:
            DeviceError: the device failed.
            DeadlineError: ``timeout_s`` passed; the executor must not be used again.
        """
        self._host.update(self.plan.host_constants)
        self._host.update(feeds)
        self._started = time.monotonic()
        try:
            with opencl_errors("running the network"), affinity.off(self._avoided):
                events = self._enqueue_all()
                self._finish()
                if self.recording:
                    self.timings_ms = list(map(self._timing_ms, self.plan.steps, events))
            self._loaded.has_run()
            taken: set[str] = set()
            return [self._result(self.plan.lowered.outputs[name], taken) for name in outputs]
        except DeadlineError as error:
            error.device = waiting.unfinished(self._queues)
            raise  # the device still works on the arrays
        except BaseException as error:
            if isinstance(error, DeviceError) and waiting.FROM_ANOTHER not in str(error):
                error.device = self._at
            with suppress(opencl().Error):  # what has failed is known already
                self._wait()
            raise
        finally:
            self._host.clear()

    def _enqueue_all(self) -> list[Any]:
        """Enqueue all steps; the events are kept for profiling only."""
        events = []
        for step, action in zip(self.plan.steps, self._actions, strict=True):
            self._at = None if isinstance(step, Host) else step.device
            event = action()
            if self.recording:
                events.append(event)
        return events

    @property
    def busy(self) -> bool:
        """Whether a device still works on a run that was given up."""
        complete = opencl().command_execution_status.COMPLETE
        return any(copy.command_execution_status > complete for copy in self._copies)

    def _wait(self) -> None:
        """Wait until no device reads or writes the arrays of this run any more."""
        for device, queue in self._queues.items():
            self._at = device
            queue.finish()
        self._copies.clear()

    def _write(self, queue: Any, buffer: Any, tensor: str, wait_for: Sequence[Any] | None = None) -> Any:
        array = np.ascontiguousarray(self._host[tensor])
        return self._copy(queue, buffer, array, array.size, False, wait_for)

    def _read(
        self, queue: Any, buffer: Any, tensor: str, kind: Any, staging: Any, blocking: bool,
        wait_for: Sequence[Any] | None = None,
    ) -> Any:  # fmt: skip
        array = self._host[tensor] = np.empty(kind.shape, kind.dtype) if staging is None else staging
        return self._copy(queue, array, buffer, array.size, blocking, wait_for)

    def _copy(
        self, queue: Any, target: Any, source: Any, size: int, blocking: bool, wait_for: Sequence[Any] | None
    ) -> Any:
        if not size:
            return opencl().enqueue_marker(queue, wait_for=wait_for)
        copy = opencl().enqueue_copy(queue, target, source, is_blocking=blocking, wait_for=wait_for)
        self._copies.append(copy)
        return copy

    def _compute(self, operator: HostOperator, sources: Mapping[str, str]) -> tuple[float, float]:
        """Compute a node; when that began and ended, in milliseconds."""
        began = time.perf_counter()
        results = operator.run({name: self._host[source] for name, source in sources.items()})
        for name, array in zip(operator.node.outputs, results, strict=False):
            if name:
                self._host[name] = array
        return began * 1e3, time.perf_counter() * 1e3

    def _timing_ms(self, step: Step, done: Any) -> tuple[float, float]:
        """When a step began and ended; ``done`` is what its action returned."""
        if isinstance(step, Host):
            return done
        begin_ms, end_ms = done.profile.start * 1e-6, done.profile.end * 1e-6
        # The event of a repeated kernel is that of the last time; the others took as long.
        repeats = self._repeats(step) if isinstance(step, Run) else 1
        return end_ms - repeats * (end_ms - begin_ms), end_ms

    def _finish(self) -> None:
        if self._timeout_s is not None:
            markers = {device: opencl().enqueue_marker(queue) for device, queue in self._queues.items()}
            for queue in self._queues.values():
                queue.flush()
            for device, marker in markers.items():
                self._at = device
                self._poll(marker)
        self._wait()

    def _await(self, event: Any, device: str) -> None:
        """Wait for an event of another device in the midst of a run."""
        before, self._at = self._at, device
        if self._timeout_s is None:
            event.wait()
        else:
            self._poll(event)
        self._at = before

    def _poll(self, event: Any) -> None:
        waiting.poll(event, self._started, self._timeout_s)

    def _result(self, tensor: str, taken: set[str]) -> np.ndarray:
        array = self._host[tensor]
        if tensor in self._fresh and tensor not in taken:
            taken.add(tensor)
            return array
        # A fed input, a constant, a host operator's result or a second output of the same tensor.
        return np.array(array, order="C")


def _repeat(enqueue: Callable[..., Any], times: int, wait_for: Sequence[Any] | None = None) -> Any:
    """Enqueue a kernel several times, which pretends that the device is slower: every kernel only writes anew."""
    event = enqueue(wait_for=wait_for)
    for _ in range(times - 1):
        event = enqueue()
    return event
