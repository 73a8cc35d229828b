"""Which devices there are, and handles to those that work.

    drivers.find ─▶ trial.reports ─▶ devices() ─▶ naming.match ─▶ open_device() ─▶ loader.load

Up to ``open_device`` no driver is loaded into this process: everything comes from child processes or from the cache.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from clnn import env
from clnn.devices import naming
from clnn.devices.info import BROKEN, UNUSED, DeviceInfo
from clnn.errors import DeviceError, NoDeviceError
from clnn.runtime import drivers, loader, probe, trial
from clnn.runtime.trial import Report

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenDevice:
    """A device that can be used: its facts, its OpenCL handle, and its context.

    There is one context per platform, and one per set of sub-devices. ``first_unit`` is where a sub-device begins in
    the device that it is a part of, in compute units. ``binary`` is the path of a program binary that holds its stages,
    "" where they are built from source.
    """

    info: DeviceInfo
    device: Any
    context: Any
    first_unit: int = 0
    binary: str = ""


@dataclass(frozen=True)
class IsolatedDevice:
    """A device that a child process opens: its driver is never loaded into this one.

    ``info`` is what plans know of it, ``found`` what :func:`devices` gave and :func:`open_device` takes in the child.
    ``threads`` limits a CPU driver, ``cores`` are those of the host that the child is pinned to, none for any.
    """

    info: DeviceInfo
    found: DeviceInfo
    threads: int | None = None
    cores: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Found:
    """A device, its driver's report, and its place among the report's devices."""

    info: DeviceInfo
    report: Report
    index: int

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells the device from others once drivers are loaded."""
        facts = self.report.facts[self.index]
        return (facts["platform"], facts["platform_version"], facts["name"], facts["driver"])


_lock = threading.RLock()
_found: list[_Found] | None = None
_handles: dict[tuple[str, ...], list[Any]] = {}
_contexts: dict[int, Any] = {}
_cuts: dict[tuple[int, int], tuple[list[Any], Any]] = {}


def devices(refresh: bool = False) -> list[DeviceInfo]:
    """Every device, best first, broken ones last with the reason; ``refresh`` tries them again."""
    return [found.info for found in _discover(refresh)]


def named(spec: str | Sequence[str] | None = None) -> list[DeviceInfo]:
    """The devices that ``spec`` names; without one those of $CLNN_DEVICES, else the best usable one.

    Raises :class:`NoDeviceError` when one of them is not there or does not work, :class:`DeviceError` without pyopencl.
    """
    spec = spec or env.DEVICES.get()
    infos = devices()
    try:
        return naming.match(spec, infos)
    except NoDeviceError:
        loader.check_installed()
        # Perhaps it was mended since it was tried; one that hangs would cost the time limit on every start.
        assert _found is not None
        if not any(found.report.broken and not found.report.hung for found in _found):
            raise
        return naming.match(spec, devices(refresh=True))


def open_device(info: DeviceInfo) -> OpenDevice:
    """Load its driver, if that has not happened yet, and return handles for ``info``, which :func:`devices` gave.

    Raises :class:`ForkError` in a forked child, :class:`DeviceError` when the driver no longer offers the device.
    """
    with _lock:
        loader.check_process()
        found = _by_id(info.id)
        _load(found)
        device = _handle(found)
        if device is None:
            # The driver was exchanged since it was tried, and tells another version now.
            _discover(refresh=True)
            found = _by_id(info.id)
            device = _handle(found)
        if device is None:
            raise DeviceError(f"device {info.id} ({info.name}) is not offered by its driver in this process; was "
                              "pyopencl used before clnn? Open clnn's devices first, or run 'clnn doctor'")
        limit = loader.thread_limit(naming.driver_of(found.info))
        units = min(info.compute_units, limit) if limit else info.compute_units
        return OpenDevice(replace(info, compute_units=units), device, _context(found))


def open_subdevice(info: DeviceInfo, index: int, units: int) -> OpenDevice:
    """Open the ``index``-th of the equal sub-devices of ``units`` compute units that ``info`` can be cut into.

    They share one context. Raises as :func:`open_device` does, and :class:`NoDeviceError` when there is no such
    sub-device.
    """
    with _lock:
        if not info.subdevices:
            raise NoDeviceError(f"{info.id} ({info.name}) cannot be cut into sub-devices: its driver does not do that, "
                                "or it has one compute unit; use it whole, without 'subdevice'")
        whole = open_device(info)
        count = whole.info.compute_units // units
        if index >= count:
            raise NoDeviceError(f"{info.id} ({info.name}) has no sub-device {index} of {units} compute unit(s): its "
                                f"{whole.info.compute_units} unit(s) make {count}, counted from 0")
        parts, context = _cut(whole, units)
        cut = replace(whole.info, name=f"{info.name}, sub-device {index} of {count}", compute_units=units,
                      subdevices=False)
        return OpenDevice(cut, parts[index], context, index * units)


def _cut(whole: OpenDevice, units: int) -> tuple[list[Any], Any]:
    """All sub-devices of ``units`` compute units each, and their context."""
    cl = loader.opencl()
    key = whole.device.int_ptr, units
    if key not in _cuts:
        try:
            with loader.settings(naming.driver_of(whole.info)):
                parts = whole.device.create_sub_devices([cl.device_partition_property.EQUALLY, units])
                _cuts[key] = parts, cl.Context(parts)
        except cl.Error as error:
            raise NoDeviceError(f"{whole.info.id} ({whole.info.name}) cannot be cut into sub-devices of {units} "
                                f"compute unit(s): {error}; use it whole, without 'subdevice'") from error
    return _cuts[key]


def _discover(refresh: bool = False) -> list[_Found]:
    global _found
    with _lock:
        if _found is None or refresh:
            _found = _assemble(trial.reports(drivers.find(), refresh))
        return _found


def _assemble(reports: list[Report]) -> list[_Found]:
    entries = []
    used: dict[str, str] = {}
    for report in reports:
        entries += _entries(report, used)
    # Numbering orders the devices and renames them; `marked` finds each one's report again.
    marked = {id(entry.info): entry for entry in entries}
    ordered = naming.order([entry.info for entry in entries])
    infos = naming.number(ordered)
    return [replace(marked[id(before)], info=after) for before, after in zip(ordered, infos, strict=True)]


def _entries(report: Report, used: dict[str, str]) -> list[_Found]:
    driver = report.driver
    if not report.facts:
        info = DeviceInfo(naming.alias(driver.name), platform=driver.library, compute_units=0,
                          interpreter=driver.interpreter, verdict=BROKEN, reason=report.reason,
                          remedy=_remedy(driver, report.reason))
        return [_Found(info, report, 0)]
    entries = []
    for index, (facts, reason) in enumerate(zip(report.facts, report.reasons, strict=True)):
        name = naming.alias(facts["platform"])
        known = {key: value for key, value in facts.items() if key != "platform_version"}
        info = DeviceInfo(name, **known, interpreter=driver.interpreter)
        if reason:
            info = replace(info, verdict=BROKEN, reason=reason, remedy=_remedy(driver, reason))
        elif used.setdefault(name, driver.library) != driver.library:
            info = replace(info, verdict=UNUSED, reason=f"works, but {used[name]} is another {name}, and two in one "
                           "process clash", remedy=f"to use it instead, set OCL_ICD_VENDORS={driver.origin}")
        entries.append(_Found(info, report, index))
    return entries


def _remedy(driver: drivers.Driver, reason: str) -> str:
    if "pocl" in driver.library and ("unknown target CPU" in reason or "LLVM ERROR" in reason):
        return "this PoCL is too old for the processor: 'apt-get install pocl-opencl-icd', and if it is pip's, " \
               "'pip uninstall pocl-binary-distribution'"
    if "cannot open shared object file" in reason and "intel" in driver.library:
        return "run: pip install intel-opencl-rt intel-cmplr-lib-rt"
    if probe.UNTRIED in reason:
        return loader.INSTALL
    if driver.chosen:
        return "unset OCL_ICD_VENDORS, so that the drivers of this machine are found, or name a folder that has one"
    if driver.problem:
        return f"reinstall the driver, or delete {driver.origin}"
    return f"update or remove the driver that {driver.origin} registers, then run 'clnn devices --refresh'"


def _by_id(device_id: str) -> _Found:
    for found in _discover():
        if found.info.id == device_id and found.info.usable:
            return found
    raise NoDeviceError(f"there is no usable device '{device_id}'; run 'clnn devices'")


def _load(found: _Found) -> None:
    """Load the driver of a device, if that has not happened yet, and note what it offers."""
    if found.identity in _handles:
        return
    for platform in loader.load(_together(found)):
        try:
            handles = platform.get_devices()
        except loader.opencl().Error:  # a platform without devices says DEVICE_NOT_FOUND
            continue
        for device in handles:
            identity = (platform.name.strip(), platform.version.strip(), device.name.strip(),
                        device.driver_version.strip())
            _handles.setdefault(identity, []).append(device)


def _together(found: _Found) -> list[drivers.Driver]:
    """The drivers to load for a device: its own; where adding others later is untested, all that work."""
    if sys.platform.startswith("linux"):
        return [found.report.driver]
    return [other.report.driver for other in _discover()
            if other.report is found.report or (other.info.usable and not other.info.interpreter)]


def _handle(found: _Found) -> Any | None:
    """The handle of a device; equal ones (two cards of one make) keep their order."""
    twins = [other for other in _discover() if other.report is found.report and other.identity == found.identity]
    twins.sort(key=lambda other: other.index)
    handles = _handles.get(found.identity, [])
    position = twins.index(found)
    return handles[position] if position < len(handles) else None


def _context(found: _Found) -> Any:
    """The context of a device's platform, with all its usable devices: contexts across platforms crash."""
    cl = loader.opencl()
    device = _handle(found)
    platform = device.platform.int_ptr
    if platform not in _contexts:
        usable = [_handle(other) for other in _discover() if other.info.usable
                  and other.identity[:2] == found.identity[:2]]
        with loader.settings(naming.driver_of(found.info)):
            _contexts[platform] = cl.Context([handle for handle in usable if handle is not None])
    return _contexts[platform]
