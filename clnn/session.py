"""The public API: load a network, run it."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clnn import frontend, passes, planning, schedule
from clnn.devices.info import DeviceInfo
from clnn.devices.model import MachineModel
from clnn.errors import DeadlineError, DeviceError, UsageError
from clnn.feeds import NodeArg, check_feeds
from clnn.graph import Graph
from clnn.options import Options
from clnn.plan import Plan
from clnn.runtime import memory, modelling, programs, selection
from clnn.runtime.culprit import culprit
from clnn.runtime.discovery import OpenDevice
from clnn.runtime.isolated import IsolatedWorker
from clnn.runtime.pool import MAX_EXECUTORS
from clnn.runtime.verify import VerifiedWorker
from clnn.runtime.worker import LocalWorker, Worker
from clnn.schedule import StreamPlan
from clnn.streaming import Streams

log = logging.getLogger("clnn")

MAX_PLANS = 8
"""Plans kept per session, one per combination of input shapes; the least recently used one goes first."""


@dataclass(frozen=True)
class MemoryReport:
    """Memory of a plan in bytes: weights, arenas, and the least that arenas could take in this order of steps."""

    weights_bytes: int
    arena_bytes: int
    lower_bound_bytes: int


class InferenceSession:
    """A network loaded on OpenCL devices; several threads may run it at once.

    Args:
        model: path of an ONNX file, its bytes, or an ``onnx.ModelProto``.
        devices: "cpu", "gpu:0", "pocl", ..., a comma-separated string or a list of them; ``None``: ``$CLNN_DEVICES``
            or the best device of this machine.
        policy: how work is assigned to devices, one of ``clnn.schedule.policies()``; ``None``: "auto".
        options: ``Options``, or a dict with the same keys.
        platforms: a platforms.yaml, one of its entries, or both: FILE, #NAME, FILE#NAME.

    Raises:
        ModelError: the model is damaged or uses something that clnn does not run.
        NoDeviceError: no usable device matches.
        UsageError: an option, a policy or a device's name means nothing.
        OutOfMemoryError: it does not fit into the device's memory.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Any,
        devices: str | Sequence[str] | None = None,
        policy: str | None = None,
        options: Options | Mapping[str, Any] | None = None,
        platforms: str | os.PathLike[str] | None = None,
    ) -> None:
        self._options = Options.of(options)
        schedule.find_policy(policy)  # a wrong name is told before anything is loaded
        self._policy = policy
        self._source = frontend.load(model)
        self._opened = selection.select(devices, platforms, self._options.threads)
        self._devices = self._opened  # those that have not been dropped
        self._programs = programs.shared(self._options.cache_dir)
        self._plans: OrderedDict[tuple[tuple[int, ...], ...], Worker] = OrderedDict()
        self._latest: Plan | None = None
        self._lost: dict[str, str] = {}
        # A device that hangs may still write to their memory.
        self._given_up: list[Worker] = []
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._closed = False
        self._streams: Streams | None = None
        if len(self._devices) > 1 and policy != "single":
            exact = self._options.precision == "exact"
            self._streams = Streams(self._source, self._devices, policy, exact, self._make_worker, self._machine,
                                    self._unrecorded, self._options.chain)
        if self._source.is_static:
            self._source = _with_output_shapes(self._source)
            self._worker({name: self._source.types[name].shape for name in self._source.inputs})

    def run(self, output_names: Sequence[str] | None, feeds: Mapping[str, Any]) -> list[np.ndarray]:
        """Run the network once.

        Args:
            output_names: the outputs wanted, in that order; ``None``: all.
            feeds: an array for each input.

        Returns:
            New arrays, one per output.

        Raises:
            InputError: an array is missing, or of the wrong dtype or shape.
            UsageError: an output does not exist, or the session is closed.
            DeviceError: the device failed, or computes wrongly (see ``Options.verify``).
            DeadlineError: ``Options.timeout_s`` passed.

        Of several devices, one that fails or hangs is dropped with a warning, and the others do the run again; the
        error is raised when none is left.
        """
        self._check_open()
        return self._run(output_names, feeds)

    def _run(self, output_names: Sequence[str] | None, feeds: Mapping[str, Any]) -> list[np.ndarray]:
        """Run the network, even while the session closes: a run that was accepted is carried out."""
        names = self._check_outputs(output_names)
        arrays = check_feeds(self._source, feeds)
        if self._streams is not None and self._policy == "batch":
            return self._streams.run(names, arrays)
        shapes = {name: array.shape for name, array in arrays.items()}
        while True:
            devices = self._devices
            try:
                return self._worker(shapes).run(arrays, names)
            except (DeviceError, DeadlineError) as error:
                self._go_on_without(culprit(error, devices), error)

    def _go_on_without(self, failed: str | None, error: DeviceError | DeadlineError) -> None:
        """Drop the device that failed; raise ``error`` where that is unknown, or no other device is left."""
        with self._lock:
            if failed in self._lost:
                return  # another thread has met it before
            left = [device for device in self._devices if device.info.id != failed]
            if failed is None or not left:
                if not self._lost:
                    raise error
                earlier = "; ".join(f"{device} was dropped before: {reason}" for device, reason in self._lost.items())
                raise type(error)(f"no device is left: {error}; {earlier}") from error
            names = ", ".join(device.info.id for device in left)
            log.warning("%s is dropped: %s; its work goes to %s", failed, error, names)
            self._lost[failed] = str(error)
            self._devices = left
            if isinstance(error, DeadlineError):
                self._given_up.extend(self._plans.values())
            self._plans.clear()

    def run_many(
        self, output_names: Sequence[str] | None, feeds: Iterable[Mapping[str, Any]]
    ) -> Iterator[list[np.ndarray]]:
        """Run the network for each of many feeds, and yield the results in their order.

        With several devices each run goes whole to one of them, or, with policy "pipeline", through a stage on each;
        with policy "single" and with one device the runs follow one another. A device that fails is dropped with a
        warning, and the others do its work.

        Args:
            output_names: as for ``run``.
            feeds: taken as needed, with several devices in a thread of its own and a few ahead. For a pipeline all must
                have the same shapes.

        Raises:
            InputError, UsageError, DeviceError, DeadlineError: as ``run`` does, in place of a result; it ends there.
        """
        self._check_open()
        names = self._check_outputs(output_names)
        if self._streams is None:
            return (self._run(names, each) for each in feeds)
        return self._streams.run_many(names, feeds)

    @property
    def streams(self) -> bool:
        """Whether ``run_many`` works on several devices at once."""
        return self._streams is not None

    def stream_plan(self) -> StreamPlan | None:
        """How the latest ``run_many`` was shared out to devices; ``None`` before it, and with one device."""
        return self._streams.plan if self._streams is not None else None

    def stream_images(self) -> dict[str, int]:
        """Runs that each device did in the latest ``run_many`` on several; of a pipeline, those of its stage."""
        return self._streams.images if self._streams is not None else {}

    def run_async(self, output_names: Sequence[str] | None, feeds: Mapping[str, Any]) -> Future[list[np.ndarray]]:
        """Start ``run`` in a thread of the session and return its future."""
        with self._lock:
            self._check_open()
            if self._threads is None:
                self._threads = ThreadPoolExecutor(MAX_EXECUTORS, thread_name_prefix="clnn")
            return self._threads.submit(self._run, output_names, feeds)

    def get_inputs(self) -> list[NodeArg]:
        """The network's inputs: objects with ``name``, ``shape``, ``type``."""
        return [NodeArg.of(name, self._source.types[name]) for name in self._source.inputs]

    def get_outputs(self) -> list[NodeArg]:
        """The network's outputs: objects with ``name``, ``shape``, ``type``."""
        source = _with_output_shapes(self._source)
        return [NodeArg.of(name, source.types[name]) for name in source.outputs]

    def get_devices(self) -> list[DeviceInfo]:
        """The devices that the session may use."""
        return [device.info for device in self._devices]

    def used_devices(self) -> list[str]:
        """Ids of the devices that the latest plan uses, none where the host runs all; before it those it may use."""
        if self._streams is not None and (self._policy in ("batch", "pipeline") or self._streams.images):
            return self._streams.devices
        if self._latest is None:
            return [device.info.id for device in self._devices]
        return list(self._latest.used_devices)

    def plan(self) -> Plan:
        """The plan of the latest new combination of input shapes, with the shares as they are now; prints as a table.

        Raises:
            UsageError: the network's shapes are symbolic and it has not run yet.
        """
        if self._latest is None:
            raise UsageError("the network has symbolic shapes: its plan exists after the first run")
        return self._latest

    def memory_report(self) -> MemoryReport:
        """Memory that ``plan()`` takes per executor."""
        plan = self.plan()
        return MemoryReport(
            plan.weights_bytes,
            sum(arena.nbytes for arena in plan.arenas.values()),
            sum(arena.lower_bound_bytes for arena in plan.arenas.values()),
        )

    def close(self) -> None:
        """Wait for asynchronous runs and free the devices' memory; the session cannot be used afterwards."""
        with self._lock:
            threads, self._threads, self._closed = self._threads, None, True
        if threads is not None:
            threads.shutdown()
        if self._streams is not None:
            self._streams.close()
        for worker in self._plans.values():
            worker.close()
        self._plans.clear()

    def __enter__(self) -> InferenceSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the session is closed; make a new one")

    def _check_outputs(self, names: Sequence[str] | None) -> Sequence[str]:
        if not names:
            return self._source.outputs
        if isinstance(names, str):
            raise UsageError(f"outputs: '{names}' is a text; give a list of names")
        unknown = [name for name in names if name not in self._source.outputs]
        if unknown:
            raise UsageError(f"output '{unknown[0]}' does not exist; there are {', '.join(self._source.outputs)}")
        return names

    def _worker(self, shapes: Mapping[str, tuple[int, ...]]) -> Worker:
        """The worker for these input shapes, planned and loaded when they are new."""
        key = tuple(shapes[name] for name in self._source.inputs)
        with self._lock:
            if key not in self._plans:
                self._latest, self._plans[key] = self._load(shapes)
                while len(self._plans) > MAX_PLANS:
                    self._plans.popitem(last=False)
            self._plans.move_to_end(key)
            return self._plans[key]

    def _load(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Plan, Worker]:
        """Plan for these input shapes, and load what is taken."""
        exact, cache_dir = self._options.precision == "exact", self._options.cache_dir
        choice = planning.plan_choice(
            self._source, shapes, self.get_devices(), self._policy, exact, self._machine(), cache_dir,
            self._options.chain,
        )  # fmt: skip
        if self._source.is_static and len(self._devices) == 1:
            # It is never planned again; from here on its weights are needed as the plans have packed them.
            self._source = self._source.replace(nodes=(), constants={})
        if self._options.verify == "off":
            choice = choice.without_weights()
        memory.return_to_system()
        plan, worker = planning.load(choice, self._make_worker, cache_dir)
        if len(choice.plans) > 1:
            del choice
            memory.return_to_system()
        return plan.without_weights(), worker

    def _shared_anew(self, plan: Plan) -> None:
        """Take note of other shares in a plan, if it is the latest."""
        latest = self._latest
        if latest is not None and latest.lowered.lowered is plan.lowered.lowered:
            self._latest = replace(latest, steps=plan.steps, lowered=replace(latest.lowered, parts=plan.lowered.parts))

    def _unrecorded(self, shapes: tuple[tuple[int, ...], ...]) -> Worker | None:
        """The worker that is loaded for these shapes, for streams, in which runs on other devices hold up its own."""
        worker = self._plans.get(shapes)
        return worker.worker if isinstance(worker, planning.Recorded) else worker

    def _machine(self) -> MachineModel:
        """How fast the devices are; measured once where there is a choice between them."""
        choice = len(self._devices) > 1
        return modelling.machine(self._devices, choice, cache_dir=self._options.cache_dir, tell=log.info)

    def _make_worker(self, plan: Plan) -> Worker:
        """What runs ``plan``, and checks its kernels first where that is wanted."""
        worker = self._work_on(plan.without_weights())
        if self._options.verify == "off":
            return worker
        return VerifiedWorker(worker, plan, self._opened, self._work_on, self._options.cache_dir)

    def _work_on(self, plan: Plan) -> Worker:
        """What runs ``plan``: this process, or the child process of an isolated device."""
        # Streams see for themselves which are dropped.
        devices = {device.info.id: device for device in self._opened}
        here = {name: device for name, device in devices.items() if isinstance(device, OpenDevice)}
        # An isolated device is alone in its plan. What needs no device runs here, unless there is only a child.
        used = plan.used_devices or tuple(here or devices)[:1]
        if used[0] in here:
            return LocalWorker(plan, here, self._programs, self._options.timeout_s, self._shared_anew)
        return IsolatedWorker(plan, devices[used[0]], self._options.cache_dir, self._options.timeout_s)


def _with_output_shapes(source: Graph) -> Graph:
    """``source`` with the shapes of outputs that the file does not declare, in which symbolic dimensions are kept."""
    if all(source.types[name].shape is not None for name in source.outputs):
        return source
    inferred = passes.run(source, "infer_and_fold").types
    return source.replace(types={**source.types, **{name: inferred[name] for name in source.outputs}})
