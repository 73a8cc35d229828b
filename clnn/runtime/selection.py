"""From what the user asked for to open devices: names, $CLNN_DEVICES, platforms.yaml, threads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clnn import env
from clnn.devices import naming
from clnn.devices.info import DeviceInfo
from clnn.errors import NoDeviceError, UsageError
from clnn.runtime import calibration, discovery, loader
from clnn.runtime.discovery import IsolatedDevice, OpenDevice

if TYPE_CHECKING:
    from clnn.devices.platforms import DeviceEntry


def select(devices: str | Sequence[str] | None = None, platforms: str | os.PathLike[str] | None = None,
           threads: int | None = None) -> list[OpenDevice | IsolatedDevice]:
    """Open the devices that ``devices`` names, in that order; the best one when nothing says otherwise.

    ``platforms`` is a platforms.yaml, one of its entries, or both: ``FILE``, ``#NAME``, ``FILE#NAME``. With an entry,
    or with the file's default, ``devices`` may use the ids of that entry, and without ``devices`` all of it is opened.
    ``threads`` limits CPU drivers and goes before the entry's own limits. Of a device that is isolated only the facts
    are looked up.

    Raises :class:`NoDeviceError`, also for a device that platforms.yaml only describes, :class:`UsageError` for a bad
    name, file or thread limit, :class:`ForkError`.
    """
    loader.check_process()
    entries = _entries(devices, *_split(platforms))
    if entries is None:
        infos = discovery.named(devices)
        _limit(infos, [None] * len(infos), threads)
        return [_with_speed(discovery.open_device(info)) for info in infos]
    infos = [info for entry in entries for info in discovery.named(entry.select)]
    _check(entries, infos)
    here = [(info, entry) for info, entry in zip(infos, entries, strict=True) if not entry.isolate]
    _limit([info for info, _ in here], [entry.thread_limit for _, entry in here], threads)
    return [_isolated(info, entry, threads) if entry.isolate else _open(info, entry)
            for info, entry in zip(infos, entries, strict=True)]


def open_isolated(device: IsolatedDevice) -> OpenDevice:
    """Open a device in this process, which is the child that runs it; raises as :func:`select` does."""
    if device.threads:
        loader.limit_threads(device.threads, naming.driver_of(device.found))
    return replace(discovery.open_device(device.found), info=device.info)


def platform(reference: str | os.PathLike[str] | None = None) -> tuple[str | None, Path | None]:
    """The entry of platforms.yaml that ``select`` would use without named devices, and the user's file, if any.

    Raises :class:`UsageError` for a bad file or an entry that does not exist.
    """
    from clnn.devices import platforms as platforms_file

    file, name = _split(reference)
    platforms_file.pick(name, file)
    found = platforms_file.find(file)
    return name or (platforms_file.load(file).default if found else None), found


def _split(reference: str | os.PathLike[str] | None) -> tuple[str | None, str | None]:
    """File and entry of ``FILE#NAME``; a file whose own name has a ``#`` is still a file."""
    text = os.fspath(reference) if reference is not None else ""
    if os.path.exists(text):
        return text, None
    file, _, name = text.rpartition("#") if "#" in text else (text, "", "")
    return file or None, name or None


def _entries(devices: str | Sequence[str] | None, platforms: str | Path | None,
             platform: str | None) -> list[DeviceEntry] | None:
    """The entries of platforms.yaml that are meant, or ``None`` when devices are named or discovered without it."""
    if platform is None and platforms is None and not env.PLATFORMS.get() and not Path("platforms.yaml").is_file():
        return None  # the usual case, and it need not wait for a YAML parser
    from clnn.devices import platforms as platforms_file

    entry = platforms_file.pick(platform, platforms)
    if entry is None or not entry.devices:
        return None
    if entry.described:
        name = f"platform '{platform}'" if platform else "the default platform"
        raise NoDeviceError(f"{name} only describes its devices, nothing runs on them; use 'clnn simulate', or choose "
                            "another --platform")
    wanted = devices or (None if platform else env.DEVICES.get())
    return entry.pick(naming.split(wanted) if wanted else [])


def _check(entries: Sequence[DeviceEntry], infos: Sequence[DeviceInfo]) -> None:
    """Raise :class:`UsageError` when devices as they were found cannot be what their entries want of them."""
    from clnn.devices import platforms as platforms_file

    told = platforms_file.clash(entries, [info.id for info in infos])
    if told:
        raise UsageError(told)
    for info, entry in zip(infos, entries, strict=True):
        if entry.memory == "shared" and not info.host_memory:
            raise UsageError(f"'{entry.id}' is {info.id} ({info.name}), which has a memory of its own: leave out "
                             "'memory: shared'")
        if entry.transport in ("pipe", "channel") and not info.pipes:
            raise UsageError(f"'{entry.id}' is {info.id} ({info.name}), which has no pipes: use 'transport: buffer'")


def _limit(infos: Sequence[DeviceInfo], limits: Sequence[int | None], threads: int | None) -> None:
    for info, limit in zip(infos, limits, strict=True):
        count = threads or limit
        driver = naming.driver_of(info)
        # A limit for all says nothing about a GPU; one for a device that has none is a mistake, and told.
        if count and (driver in loader.THREAD_VARIABLES or limit):
            loader.limit_threads(count, driver)


def _open(info: DeviceInfo, entry: DeviceEntry) -> OpenDevice:
    if entry.subdevice is None:
        opened = discovery.open_device(info)
    else:
        opened = discovery.open_subdevice(info, entry.subdevice, entry.subdevice_units)
    return replace(opened, info=_described(opened.info, entry), binary=entry.binary or "")


def _with_speed(opened: OpenDevice) -> OpenDevice:
    return replace(opened, info=calibration.known(opened.info))


def _isolated(info: DeviceInfo, entry: DeviceEntry, threads: int | None) -> IsolatedDevice:
    cores = tuple(entry.cores or ())
    count = entry.threads
    if naming.driver_of(info) in loader.THREAD_VARIABLES:
        # More threads than cores would wait for each other.
        count = threads or entry.threads or len(cores) or None
    limited = replace(info, compute_units=min(info.compute_units, count or info.compute_units))
    return IsolatedDevice(replace(_described(limited, entry), isolated=True), info, count, cores)


def _described(info: DeviceInfo, entry: DeviceEntry) -> DeviceInfo:
    """A device as its entry wants it taken."""
    wanted = replace(info, id=entry.id, kind=entry.kind or info.kind, slowdown=entry.slowdown, units=entry.units,
                     host_memory=info.host_memory and entry.memory != "separate")
    hints = {"gflops": entry.hint.gflops, "bandwidth_gbs": entry.hint.bandwidth_gbs}
    given = {name: value / entry.slowdown for name, value in hints.items() if value}
    return replace(calibration.known(wanted), **given)
