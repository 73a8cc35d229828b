"""Measuring a device's model: how fast it is at every kind of launch, by size.

What is timed is a synthetic network (:mod:`clnn.runtime.yardstick`), planned and run as any other, never one whose time
is to be predicted: on each device alone and, as devices that work at once slow one another down, on all of them at
once. The first time takes as long as its programs take to build; then some seconds. Models are kept in the cache folder
by device, driver and kernels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from typing import Any

from clnn import schedule
from clnn.devices.info import DeviceInfo
from clnn.devices.model import Curve, DeviceModel, Link, MachineModel
from clnn.kernels import source
from clnn.runtime import cachedir, drivers, handover
from clnn.runtime.course import Runner, run_alone, run_together
from clnn.runtime.discovery import IsolatedDevice, OpenDevice
from clnn.runtime.failures import opencl_errors

_FORMAT = "3"
_KIND = "models"
_HOST = schedule.HOST

Measured = tuple[DeviceModel, tuple[Link, Link]]
"""The model of a device, and its links from and to the host."""


def machine(
    devices: Sequence[OpenDevice | IsolatedDevice],
    measure_missing: bool = False,
    refresh: bool = False,
    cache_dir: str | None = None,
    tell: Callable[[str], Any] = lambda text: None,
) -> MachineModel:
    """The models of these devices and the links between each and the host.

    Args:
        measure_missing: measure those in this process of which no model is kept; with ``refresh`` all. Of the others
            ``MachineModel.model`` takes the figures of ``DeviceInfo``.
        tell: called with a line before something takes a while.

    Raises:
        BuildError, DeviceError: a device fails while it is measured.
    """
    alone: dict[str, Measured] = {}
    for opened in devices:
        info = opened.info
        kept = None if refresh else known(info, cache_dir)
        if kept is None and (measure_missing or refresh) and _is_measurable(opened):
            tell(f"measuring {info.id} ...")
            kept = measure(opened, cache_dir)
        if kept is not None:
            alone[info.id] = kept
    links = {(link.source, link.destination): link for _, own in alone.values() for link in own}
    links |= {
        (a.info.id, b.info.id): Link(a.info.id, b.info.id, float("inf"))
        for a in devices for b in devices if a is not b and a.info.host_memory and b.info.host_memory
    }
    crowd = [opened for opened in devices if opened.info.id in alone and _is_measurable(opened)]
    crowded = None if refresh else known_crowd([opened.info for opened in crowd], cache_dir)
    if crowded is None and (measure_missing or refresh) and len(crowd) > 1:
        tell(f"measuring {' and '.join(opened.info.id for opened in crowd)} at once ...")
        crowded = measure_crowd(crowd, alone, cache_dir)
    infos = {opened.info.id: opened.info for opened in devices}
    models = {device: _as_set_up(model, infos[device]) for device, (model, _) in alone.items()}
    return MachineModel(
        models, links, {device: _as_set_up(model, infos[device]) for device, model in (crowded or {}).items()}
    )


def _is_measurable(opened: OpenDevice | IsolatedDevice) -> bool:
    return isinstance(opened, OpenDevice) and not opened.info.interpreter


def _as_set_up(model: DeviceModel, info: DeviceInfo) -> DeviceModel:
    """A model as it was measured, for a device that is pretended to be slow."""
    return replace(model.slowed(info.slowdown), platform=info.platform)


def known(info: DeviceInfo, cache_dir: str | None = None) -> Measured | None:
    """What an earlier measurement found: the model of a device, and its links from and to the host."""
    kept = cachedir.Store(_KIND, cache_dir).get_json(_key(info))
    return None if kept is None else _decode(kept, info.id)


def known_crowd(infos: Sequence[DeviceInfo], cache_dir: str | None = None) -> dict[str, DeviceModel] | None:
    """What an earlier measurement of these devices at once found: the model of each, by id."""
    kept = cachedir.Store(_KIND, cache_dir).get_json(_key(*infos)) if len(infos) > 1 else None
    return kept and {info.id: _decode(each, info.id)[0] for info, each in zip(infos, kept, strict=True)}


def measure_crowd(
    devices: Sequence[OpenDevice], alone: Mapping[str, Measured], cache_dir: str | None = None
) -> dict[str, DeviceModel]:
    """Measure devices that work at once, each without its ``slowdown``, and keep the result; models by id.

    Args:
        alone: what :func:`measure` found of each.

    Raises:
        BuildError, DeviceError: a device fails meanwhile.
    """
    own = {opened.info.id: alone[opened.info.id] for opened in devices}
    with opencl_errors("measuring devices at once"):
        gap_ms = handover.layer_gap_ms(devices, cache_dir)
        if len({opened.context.int_ptr for opened in devices}) > 1:  # the thread that enqueues then does so in the gap
            gap_ms = max(0.0, gap_ms - sum(model.enqueue_ms for model, _ in own.values()))
        runners = [Runner(_without_slowdown(opened), links, replace(model, sync_ms=gap_ms))
                   for opened, (model, links) in zip(devices, own.values(), strict=True)]
        models = run_together(runners, cache_dir)
    encoded = [_encode(model, runner.links) for model, runner in zip(models, runners, strict=True)]
    cachedir.Store(_KIND, cache_dir).put_json(_key(*(opened.info for opened in devices)), encoded)
    return {opened.info.id: model for opened, model in zip(devices, models, strict=True)}


def measure(opened: OpenDevice, cache_dir: str | None = None) -> Measured:
    """Measure a device, without its ``slowdown``, and keep the result.

    Raises:
        BuildError, DeviceError: the device fails meanwhile.
    """
    opened = _without_slowdown(opened)
    with opencl_errors(f"measuring {opened.info.id}"):
        links = handover.links(opened)
        sync_ms, enqueue_ms = handover.overheads_ms(opened, cache_dir)
        known = DeviceModel({}, Curve(()), sync_ms=sync_ms, enqueue_ms=enqueue_ms)
        model = run_alone(Runner(opened, links, known), cache_dir)
    cachedir.Store(_KIND, cache_dir).put_json(_key(opened.info), _encode(model, links))
    return model, links


def _without_slowdown(opened: OpenDevice) -> OpenDevice:
    return replace(opened, info=replace(opened.info, slowdown=1))


def _key(*infos: DeviceInfo) -> str:
    """The key of a device's measurement, or of that of several at once."""
    texts = [
        source.read(file.name) for file in sorted(resources.files(source.PACKAGE).iterdir(), key=lambda each: each.name)
        if file.name.endswith(".cl")
    ]
    devices = [(info.platform, info.driver, info.name, info.kind, str(info.compute_units)) for info in infos]
    return cachedir.digest(_KIND, _FORMAT, *itertools.chain(*devices), drivers.processor(), *texts)


def _encode(model: DeviceModel, links: Iterable[Link]) -> dict[str, Any]:
    return {
        "rates": {kind: curve.points for kind, curve in model.rates.items()},
        "bandwidth": model.bandwidth.points,
        "launch_ms": model.launch_ms,
        "sync_ms": model.sync_ms,
        "enqueue_ms": model.enqueue_ms,
        "run_ms": model.run_ms,
        "links": [(link.bandwidth_gbs, link.latency_ms) for link in links],
    }


def _decode(kept: dict[str, Any], device_id: str) -> tuple[DeviceModel, tuple[Link, Link]]:
    def curve(points: list[list[float]]) -> Curve:
        return Curve(tuple((size, rate) for size, rate in points))

    rates = {kind: curve(points) for kind, points in kept["rates"].items()}
    overheads = {name: kept[name] for name in ("launch_ms", "sync_ms", "enqueue_ms", "run_ms")}
    model = DeviceModel(rates, curve(kept["bandwidth"]), **overheads)
    write, read = kept["links"]
    return model, (Link(_HOST, device_id, *write), Link(device_id, _HOST, *read))
