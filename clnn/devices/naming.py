"""The names of devices, and which devices a name means.

An id is the driver's short name and a number: ``pocl:0``, ``intel:0``, ``nvidia:1``. A name, as users write it, is an
id, a driver (``intel`` is ``intel:0``) or a kind (``cpu`` is ``cpu:0``: the first CPU in the order of preference).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from clnn.devices.info import KINDS, DeviceInfo
from clnn.errors import NoDeviceError, UsageError

INSTALL = ("install a driver: 'apt-get install pocl-opencl-icd' (Debian, Ubuntu), "
           "or 'pip install intel-opencl-rt intel-cmplr-lib-rt' (x86-64 Linux); then run 'clnn doctor'")

# The start of a platform's or a library's name, in lower case, and the short name of its driver.
_ALIASES = (
    ("portable computing language", "pocl"),
    ("pocl", "pocl"),
    ("intel(r) fpga", "intel-fpga"),
    ("intel", "intel"),
    ("nvidia", "nvidia"),
    ("amd", "amd"),
    ("rusticl", "rusticl"),
    ("clover", "clover"),
    ("oclgrind", "oclgrind"),
    ("apple", "apple"),
    ("arm", "arm"),
    ("qualcomm", "qualcomm"),
    ("xilinx", "xilinx"),
)
_KIND_ORDER = ("gpu", "accelerator", "cpu")
# Of CPU drivers, PoCL first: it can pin its threads, which makes times repeatable.
_CPU_ORDER = ("pocl", "intel")
_NAME = re.compile(r"([a-z][a-z0-9_-]*)(?::([0-9]+))?")


def alias(platform: str) -> str:
    """Short name of a driver, from the name of its OpenCL platform or, where that is not known, its file."""
    lowered = platform.lower()
    for start, name in _ALIASES:
        if lowered.startswith(start):
            return name
    return re.sub(r"[^a-z0-9]+", "-", lowered).strip("-") or "unknown"


def driver_of(info: DeviceInfo) -> str:
    """Short name of the driver that offers ``info``."""
    return info.id.partition(":")[0]


def order(infos: Iterable[DeviceInfo]) -> list[DeviceInfo]:
    """Devices by preference: usable ones first, then GPUs, accelerators, CPUs, then by driver."""
    return sorted(infos, key=_preference)


def number(ordered: Iterable[DeviceInfo]) -> list[DeviceInfo]:
    """Give each device its id, in the order given; ``id`` holds the driver's short name on the way in."""
    counts: dict[str, int] = {}
    numbered = []
    for info in ordered:
        driver = driver_of(info)
        numbered.append(replace(info, id=f"{driver}:{counts.get(driver, 0)}"))
        counts[driver] = counts.get(driver, 0) + 1
    return numbered


def _preference(info: DeviceInfo) -> tuple[object, ...]:
    driver = driver_of(info)
    cpu_rank = _CPU_ORDER.index(driver) if driver in _CPU_ORDER else len(_CPU_ORDER)
    return (not info.usable, info.interpreter, _KIND_ORDER.index(info.kind), cpu_rank, driver)


def split(spec: str | Sequence[str]) -> list[str]:
    """The names in a comma-separated string or a list of such, in lower case.

    Raises :class:`UsageError` for what cannot be a name, and for a name given twice.
    """
    if not isinstance(spec, Sequence):
        raise UsageError(f"devices: {type(spec).__name__} is neither a name nor a list of names")
    parts = [spec] if isinstance(spec, str) else list(spec)
    names = [name.strip().lower() for part in parts for name in str(part).split(",")]
    for name in names:
        if not _NAME.fullmatch(name):
            raise UsageError(f"'{name}' is not a device name: write cpu, gpu:0, accelerator, pocl, intel:0, ... "
                             "separated by commas")
    if len(set(names)) != len(names):
        raise UsageError(f"device list '{','.join(names)}' names a device twice")
    return names


def match(spec: str | Sequence[str] | None, infos: Sequence[DeviceInfo]) -> list[DeviceInfo]:
    """The devices among ``infos`` (as :func:`number` orders them) that ``spec`` names; the best one for ``None``.

    Raises :class:`NoDeviceError` when one is not there, or is there and broken, saying what there is.
    """
    if not spec:
        best = [info for info in infos if info.usable and not info.interpreter]
        if not best:
            raise NoDeviceError(_nothing(infos))
        return best[:1]
    chosen: list[DeviceInfo] = []
    for name in split(spec):
        info = _one(name, infos)
        if info in chosen:
            raise UsageError(f"device '{name}' is {info.id}, which the list names already")
        chosen.append(info)
    return chosen


def _one(name: str, infos: Sequence[DeviceInfo]) -> DeviceInfo:
    stem, _, index = name.partition(":")
    if stem in KINDS:
        matching = [info for info in infos if info.kind == stem and not info.interpreter]
    else:
        matching = [info for info in infos if driver_of(info) == stem]
    usable = [info for info in matching if info.usable]
    position = int(index or 0)
    if stem in KINDS and position < len(usable):
        return usable[position]
    if stem not in KINDS and position < len(matching):
        # An id, unlike a kind, means one device, working or not.
        if matching[position].usable:
            return matching[position]
        matching = [matching[position]]
    broken = [info for info in matching if not info.usable]
    if broken:
        first = broken[0]
        raise NoDeviceError(f"device '{name}' is not usable: {first.id} ({first.name or first.platform}) "
                            f"{first.reason}; {first.remedy}")
    there = ", ".join(info.id for info in infos if info.usable)
    if not there:
        raise NoDeviceError(_nothing(infos))
    raise NoDeviceError(f"there is no device '{name}' on this machine; usable: {there}")


def _nothing(infos: Sequence[DeviceInfo]) -> str:
    failed = "; ".join(f"{info.id} {info.reason}" for info in infos if not info.usable)
    found = f" ({failed})" if failed else ""
    return f"no usable OpenCL device{found}; {INSTALL}"
