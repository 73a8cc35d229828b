"""From a loaded network to its plan, and where policy "auto" has a choice of several, to the one that is taken.

    plan_choice   one plan, or those between which predictions cannot decide and no earlier trial did
    load          the worker of that plan; of several, a trial tells which
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from clnn import passes, schedule
from clnn.devices.fitting import undisturbed_ms
from clnn.devices.info import DeviceInfo
from clnn.devices.model import MachineModel
from clnn.errors import ClnnError, DeviceError, ResourceError
from clnn.graph import Graph, TensorType
from clnn.plan import Plan, build, lower
from clnn.plan.times import predict
from clnn.runtime import comparison, history
from clnn.runtime.history import History
from clnn.runtime.worker import Worker
from clnn.schedule import CostModel, Schedule, auto

log = logging.getLogger("clnn")

MakeWorker = Callable[[Plan], Worker]


def plan_graph(
    source: Graph,
    shapes: Mapping[str, tuple[int, ...]],
    devices: Sequence[DeviceInfo],
    policy: str | None = None,
    exact: bool = False,
    machine: MachineModel | None = None,
    chain: str = "off",
) -> Plan:
    """Plan a loaded network for these input shapes; touches no device.

    ``exact`` and ``chain`` are as for ``plan.lower``. ``machine`` is how fast the devices are; without it, the figures
    of ``DeviceInfo`` are all that is known.

    Raises:
        InputError: the shapes do not fit the network.
        UnsupportedError, OutOfMemoryError, UsageError: as for ``InferenceSession``.
    """
    graph = passes.run(passes.bind(source, shapes))
    costs = CostModel(machine or MachineModel())
    if len(devices) > 1 and policy in (None, "auto"):
        return _foreseen(graph, devices, exact, costs, chain)
    return _plan(graph, schedule.find_policy(policy)(graph, devices, costs), devices, exact, costs, chain)


def _foreseen(graph: Graph, devices: Sequence[DeviceInfo], exact: bool, costs: CostModel, chain: str) -> Plan:
    """The plan of "auto" without a trial: of those that may be best, which simulation tells better than costs."""
    close = auto.contenders(auto.candidates(graph, devices, costs))
    if len(close) == 1:
        return _plan(graph, schedule.find_policy("auto")(graph, devices, costs), devices, exact, costs, chain)
    plans = [_plan(graph, each, devices, exact, costs, chain) for each in close]
    schedules = [
        replace(plan.schedule, predicted_ms=times.total_ms) if (times := predict(plan)) else plan.schedule
        for plan in plans
    ]
    chosen = auto.choose(schedules)
    best = plans[[each.policy for each in schedules].index(auto.name(chosen))]
    return replace(best, lowered=replace(best.lowered, schedule=chosen))


def _plan(
    graph: Graph, scheduled: Schedule, devices: Sequence[DeviceInfo], exact: bool, costs: CostModel, chain: str
) -> Plan:
    _warn_of_host(scheduled, graph)
    return build(lower(graph, scheduled, devices, exact, costs.machine, chain), devices)


def _warn_of_host(scheduled: Schedule, graph: Graph) -> None:
    """Say in one line which nodes the host runs."""
    on_host = [node for node in graph.nodes if scheduled.place(node.name) == schedule.HOST]
    if on_host:
        first = on_host[0]
        log.warning(
            "%d of %d nodes run on the host, the first is %s: %s; `clnn plan` lists all",
            len(on_host), len(graph.nodes), first, scheduled.assignments[first.name].reason,
        )


@dataclass(frozen=True)
class Choice:
    """The plans of one network between which a trial has to decide; or one.

    ``workload`` is the key of the trial, ``run_keys`` are those of real runs in the history, by ``auto.name``; none
    where no plan is chosen by what runs take.
    """

    plans: tuple[Plan, ...]
    workload: str = ""
    run_keys: Mapping[str, str] = field(default_factory=dict)

    def without_weights(self) -> Choice:
        """See ``Plan.without_weights``."""
        return replace(self, plans=tuple(plan.without_weights() for plan in self.plans))


def plan_choice(
    source: Graph,
    shapes: Mapping[str, tuple[int, ...]],
    devices: Sequence[DeviceInfo],
    policy: str | None,
    exact: bool,
    machine: MachineModel,
    cache_dir: str | None = None,
    chain: str = "off",
) -> Choice:
    """The plan of a policy; of "auto" with several devices all that may be best, as far as is known.

    That is one where a prediction, or an earlier trial, is clear. Arguments and errors are those of ``plan_graph``.
    """
    if len(devices) == 1 or policy not in (None, "auto"):
        return Choice((plan_graph(source, shapes, devices, policy, exact, machine, chain),))
    graph = passes.run(passes.bind(source, shapes))
    costs = CostModel(machine)
    candidates = auto.candidates(graph, devices, costs)
    how = f"{'exact' if exact else 'fast'} {chain}"
    workload = history.key_of(graph, f"auto {how}", devices)
    run_keys = {each.policy: history.key_of(graph, f"{each.policy} {how}", devices) for each in candidates}
    if any(device.interpreter for device in devices):  # a trial would take minutes
        chosen = [auto.choose(candidates)]
    else:
        earlier_ms = comparison.recall(workload, cache_dir)
        chosen = _contenders(candidates, earlier_ms, run_keys, history.shared(cache_dir))
    return Choice(tuple(_plan(graph, each, devices, exact, costs, chain) for each in chosen), workload, run_keys)


def _contenders(candidates: Sequence[Schedule], earlier_ms: Mapping[str, Sequence[float]],
                run_keys: Mapping[str, str], runs: History) -> list[Schedule]:
    """The schedules that a trial has to decide between, or the one that is taken without."""
    close = auto.contenders(candidates)
    if all(each.policy in earlier_ms for each in close):
        chosen = auto.settle(candidates, earlier_ms, "took in an earlier trial")
        times_ms = {name: undisturbed_ms(samples) for name, samples in earlier_ms.items()}
    elif len(close) == 1:
        chosen = auto.choose(candidates)
        times_ms = {each.policy: each.predicted_ms for each in candidates}
    else:
        return close
    name = auto.name(chosen)
    real_ms = runs.expected_ms(run_keys[name])
    if real_ms is None or not auto.doubtful(real_ms, name, times_ms):
        return [chosen]
    log.info("%s: real runs take %.2f ms, not %.2f; trying anew", name, real_ms, times_ms[name])
    runs.forget(run_keys[name])
    contenders = auto.contenders(candidates, doubted=True)
    return contenders if len(contenders) > 1 else [chosen]


def load(choice: Choice, make_worker: MakeWorker, cache_dir: str | None = None) -> tuple[Plan, Worker]:
    """The one plan, or the one that wins a trial, and its worker, whose runs go into the history.

    Raises:
        BuildError, OutOfMemoryError, DeviceError: as for ``make_worker``, when none can be loaded.
    """
    if not choice.run_keys:
        return choice.plans[0], make_worker(choice.plans[0])
    if len(choice.plans) == 1:
        plan, worker = choice.plans[0], make_worker(choice.plans[0])
    else:
        plan, worker = _try_out(choice, make_worker, cache_dir)
    log.info("policy %s: %s", plan.schedule.policy, plan.schedule.reason)
    return plan, Recorded(worker, history.shared(cache_dir), choice.run_keys[auto.name(plan.schedule)])


def _try_out(choice: Choice, make_worker: MakeWorker, cache_dir: str | None) -> tuple[Plan, Worker]:
    """Load all plans, run them in turn, and close the workers of all but the best."""
    plans = {auto.name(plan.schedule): plan for plan in choice.plans}
    workers: dict[str, Worker] = {}
    chosen = None
    try:
        _load_all(plans, make_worker, workers)
        schedules = [plans[name].schedule for name in workers]
        samples = _samples(choice.plans[0].graph, workers)
        if samples:
            comparison.remember(choice.workload, samples, cache_dir)
        best = auto.settle(schedules, samples, "took in a trial") if samples else auto.choose(schedules)
        chosen = auto.name(best)
        return replace(plans[chosen], lowered=replace(plans[chosen].lowered, schedule=best)), workers[chosen]
    finally:
        for name, worker in workers.items():
            if name != chosen:
                worker.close()


def _load_all(plans: Mapping[str, Plan], make_worker: MakeWorker, workers: dict[str, Worker]) -> None:
    """Fill ``workers``; a plan that a device cannot hold or run is left out, with a warning, unless it is the last."""
    for name, plan in plans.items():
        try:
            workers[name] = make_worker(plan)
        except (DeviceError, ResourceError) as error:
            if not workers and name == list(plans)[-1]:
                raise
            log.warning("%s cannot be used: %s", name, error)


def _samples(graph: Graph, workers: Mapping[str, Worker]) -> comparison.Samples:
    """What the workers take on made-up feeds; empty where the network cannot be run on those."""
    feeds = {name: _made_up(graph.types[name]) for name in graph.inputs}
    try:
        return comparison.compare(workers, feeds, graph.outputs)
    except ClnnError as error:
        log.info("no trial, as the network does not run on made-up feeds: %s", error)
        return {}


def _made_up(kind: TensorType) -> np.ndarray:
    """Harmless values: ones, but zeros where they may count or index something."""
    if kind.dtype == "string":
        return np.full(kind.shape, "", object)
    dtype = np.dtype(kind.dtype)
    return np.ones(kind.shape, dtype) if dtype.kind == "f" else np.zeros(kind.shape, dtype)


class Recorded:
    """A worker whose runs are noted in the history, but for the first, which completes the programs.

    Of runs at once none is noted: they hold each other up. ``worker`` is the one whose runs nobody notes.
    """

    def __init__(self, worker: Worker, runs: History, key: str) -> None:
        self.device = worker.device
        self.worker = worker
        self._runs = runs
        self._key = key
        self._running = 0
        self._alone = True
        self._warm = False
        self._lock = threading.Lock()

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """See :class:`~clnn.runtime.worker.Worker`."""
        with self._lock:
            self._alone = not self._running
            self._running += 1
        started = time.perf_counter()
        try:
            results = self.worker.run(feeds, outputs)
            if self._alone and self._warm:
                self._runs.record(self._key, (time.perf_counter() - started) * 1e3)
            self._warm = True
            return results
        finally:
            with self._lock:
                self._running -= 1

    def close(self) -> None:
        """See :class:`~clnn.runtime.worker.Worker`."""
        self.worker.close()
        self._runs.write()
