"""Comparing each kernel variant once with the host: ``Options.verify``.

A variant is a kernel's source with compiler options, on a device. The cheapest node of a plan that uses it is computed
alone, by the launches that the plan has for it, on random input, and compared with onnx's reference operators. Variants
that agree are remembered: in this process, and in the cache folder by a digest of source, options, device and driver.
A device that computes wrongly is put in quarantine, and nothing is remembered of it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.errors import UnsupportedError
from clnn.kernels import source
from clnn.plan import Check, CheckPlan, Plan, check_plans
from clnn.plan.check import Variant
from clnn.runtime import cachedir, drivers, quarantine, reference
from clnn.runtime.discovery import IsolatedDevice, OpenDevice
from clnn.runtime.worker import Worker

log = logging.getLogger(__name__)

_FORMAT = "1"
_right: set[str] = set()
_checking = threading.Lock()


class VerifiedWorker:
    """A worker whose kernel variants are checked before its first run.

    Args:
        worker: runs ``plan``, which has the constants of its graph.
        devices: those of the plan, or more.
        work_on: gives a worker for a plan that checks.
        cache_dir: folder in which is remembered what was right.
    """

    def __init__(self, worker: Worker, plan: Plan,
                 devices: Sequence[OpenDevice | IsolatedDevice], work_on: Callable[[Plan], Worker],
                 cache_dir: str | os.PathLike[str] | None = None) -> None:
        self.device = worker.device
        self._worker = worker
        self._devices = {device.info.id: device for device in devices}
        self._work_on = work_on
        self._store = cachedir.Store("verified", cache_dir)
        infos = [device.info for device in devices]
        self._plans, unchecked = check_plans(plan, infos, self._is_right)
        for each in unchecked:
            log.warning("%s %s on %s is not verified: %s", each.variant[0], " ".join(each.variant[1]), each.device,
                        each.reason)

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """See :class:`~clnn.runtime.worker.Worker`. Raises ``DeviceError`` when a device computes wrongly."""
        with _checking:
            while self._plans:
                self._check(self._plans[0])
                del self._plans[0]
        return self._worker.run(feeds, outputs)

    def close(self) -> None:
        """See :class:`~clnn.runtime.worker.Worker`."""
        self._worker.close()

    def _is_right(self, device: str, variant: Variant) -> bool:
        key = _key(self._devices[device].info, variant)
        if key not in _right and self._store.get_json(key) is not None:
            _right.add(key)
        return key in _right

    def _check(self, checked: CheckPlan) -> None:
        """Compute the nodes of a plan on its device and on the host; remember the variants that agree."""
        memory = {name: image for check in checked.checks
                  for name, image in reference.images(check, checked.plan.graph.types).items()}
        wanted = {check.node.name: _expected(check, memory) for check in checked.checks}
        worker = self._work_on(checked.plan)
        try:
            results = worker.run(memory, checked.plan.graph.outputs)
        finally:
            worker.close()
        memory |= dict(zip(checked.plan.graph.outputs, results, strict=True))
        for check in checked.checks:
            if wanted[check.node.name] is not None:
                self._compare(checked.device, check, wanted[check.node.name], memory)

    def _compare(self, device: str, check: Check, wanted: Mapping[str, np.ndarray],
                 memory: Mapping[str, np.ndarray]) -> None:
        for name, values in wanted.items():
            actual = reference.tensor(check, name, memory)
            error = reference.error(actual[:, -values.shape[1] :] if values.ndim > 1 else actual, values)
            if error > reference.tolerance(check):
                self._condemn(device, check, error)
        info = self._devices[device].info
        for variant in check.variants:
            _right.add(_key(info, variant))
            self._store.put_json(_key(info, variant), {"node": str(check.node)})

    def _condemn(self, device: str, check: Check, error: float) -> None:
        kernels = ", ".join(f"{name} with '{' '.join(options)}'" for name, options in check.variants)
        quarantine.add(
            self._devices[device],
            f"device {device} ({self._devices[device].info.name}) computes wrongly: {check.node} by {kernels} has a "
            f"relative error of {error:.2g} where {reference.tolerance(check):.1g} is allowed; update its driver or "
            "use another device",
        )
        quarantine.check([self._devices[device]])


def _expected(check: Check, memory: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    try:
        return reference.expected(check, memory)
    except UnsupportedError as error:
        log.warning("%s is not verified: %s", ", ".join(name for name, _ in check.variants), error)
        return None


def _key(info: DeviceInfo, variant: Variant) -> str:
    name, options = variant
    return cachedir.digest("verdict", _FORMAT, source.read(name), *options, "", info.id, info.platform, info.name,
                           info.driver, drivers.processor())
