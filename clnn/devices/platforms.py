"""platforms.yaml: named sets of devices, with how to find each and what to assume of it.

    version: 1
    default: NAME            entry to use when none is picked; without it devices are discovered
    platforms:
      NAME:
        description: TEXT
        devices:
          - {id: cpu0, select: pocl, kind: cpu, threads: 2, hint: {gflops: 220, bandwidth_gbs: 20}}
          - {id: cpu1, select: intel, subdevice: 0, threads: 1, slowdown: 2, memory: separate}

A machine that is not here is described instead, see ``described.py``. The file is data: it names devices, never
libraries or other files; with one exception, the program binary of an FPGA-style device, and that only where the user
named the platforms file. The entries that ship are in profiles.yaml and machines.yaml beside this module; those of the
user's file replace them by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from clnn import env, schema
from clnn.devices import naming
from clnn.devices.described import Description, LinkEntry, check_links
from clnn.devices.info import KINDS
from clnn.devices.units import TRANSPORTS, Units
from clnn.errors import UsageError
from clnn.schema import Strict

FILE_NAME = "platforms.yaml"
_SHIPPED = ("profiles.yaml", "machines.yaml")
_LIMIT_BYTES = 1 << 20
_ID = r"^[a-z][a-z0-9_-]*(:[0-9]+)?$"


class Hint(Strict):
    """Speed to assume: fp32 multiply-adds in 10^9 operations per second, memory in 10^9 bytes per second."""

    gflops: Annotated[float, Field(gt=0)] | None = None
    bandwidth_gbs: Annotated[float, Field(gt=0)] | None = None


class DeviceEntry(Strict):
    """One device: ``id`` names it in plans, ``select`` says which it is, ``threads`` limits a CPU driver.

    ``describe`` stands in place of ``select`` for a device that is not here, and has all else that is known of it.
    ``kind`` makes plans treat it as another kind of device than it is, as to run the kernels for GPUs on a CPU.
    ``subdevice`` takes a part of it: of the equal sub-devices of ``threads`` compute units each (1 when left out) that
    it can be cut into, the one with that number. ``slowdown`` repeats each kernel that often. ``memory``: "separate"
    copies tensors to and from a device that shares the host's memory, as to one that does not.
    ``style: fpga`` makes it an FPGA-style device, whose layers are chains of stages that hand packets to each other
    by ``transport``: "buffer" (when left out), "pipe" or "channel". ``binary`` is a program binary that holds the
    stages, which are else built from source; its path is relative to the file.
    ``isolate`` runs it in a child process, which ``cores`` pins to these cores of the host.
    """

    id: Annotated[str, Field(pattern=_ID)]
    select: str = ""
    describe: Description | None = None
    kind: Literal[KINDS] | None = None
    threads: Annotated[int, Field(ge=1)] | None = None
    subdevice: Annotated[int, Field(ge=0)] | None = None
    slowdown: Annotated[int, Field(ge=1)] = 1
    memory: Literal["shared", "separate"] | None = None
    style: Literal["fpga"] | None = None
    transport: Literal[TRANSPORTS] | None = None
    binary: str | None = None
    isolate: bool = False
    cores: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None
    hint: Hint = Hint()

    @property
    def units(self) -> Units | None:
        """The processing units that the device is taken to have."""
        return Units(self.transport or "buffer", prebuilt=self.binary is not None) if self.style else None

    @property
    def thread_limit(self) -> int | None:
        """Threads that its driver may use in the whole process; ``None`` when the entry says nothing about that."""
        return self.threads if self.subdevice is None else None

    @property
    def subdevice_units(self) -> int:
        """Compute units of each of the sub-devices that the device is cut into."""
        return self.threads or 1

    @field_validator("binary")
    @classmethod
    def _is_in_a_named_file(cls, value: str | None, info: ValidationInfo) -> str | None:
        folder = (info.context or {}).get("folder")
        if value is not None and folder is None:
            raise ValueError("a program is loaded only from a platforms file that is named, with --platforms or "
                             "$CLNN_PLATFORMS, not from one that lies in the working folder")
        return None if value is None else str(Path(folder) / value)

    @field_validator("select")
    @classmethod
    def _is_one_name(cls, value: str) -> str:
        try:
            names = naming.split(value)
        except UsageError as error:
            raise ValueError(str(error)) from error
        if len(names) != 1:
            raise ValueError("names more than one device")
        return names[0]

    @model_validator(mode="after")
    def _is_here_or_described(self) -> DeviceEntry:
        given = self.model_fields_set - {"id"}
        if self.describe is None and "select" not in given:
            raise ValueError("give 'select', or 'describe' for a device that is not here")
        if self.describe is not None and given != {"describe"}:
            raise ValueError(f"a device that is described takes no '{min(given - {'describe'})}'")
        return self

    @model_validator(mode="after")
    def _has_stages(self) -> DeviceEntry:
        for name in ("transport", "binary"):
            if getattr(self, name) and not self.style:
                raise ValueError(f"{name}: only a device with stages has one; add 'style: fpga'")
        if self.binary and self.isolate:
            raise ValueError("binary: a device in a process of its own builds its programs; leave out one of the two")
        if self.style and self.slowdown != 1:
            raise ValueError("slowdown: stages cannot be repeated, as they take their input away; leave it out")
        return self

    @model_validator(mode="after")
    def _is_pinned_or_cut(self) -> DeviceEntry:
        if self.cores and not self.isolate:
            raise ValueError("cores: only a device with 'isolate: true' can be pinned to cores")
        if self.isolate and self.subdevice is not None:
            raise ValueError("a device in a process of its own is not cut; leave out 'subdevice' or 'isolate'")
        return self


class Entry(Strict):
    """A platform: its devices in order, none for what discovery finds, and the links between them where known."""

    description: str = ""
    devices: list[DeviceEntry] = []
    links: list[LinkEntry] = []

    @field_validator("devices")
    @classmethod
    def _has_each_id_once(cls, value: list[DeviceEntry]) -> list[DeviceEntry]:
        ids = [device.id for device in value]
        twice = next((device_id for device_id in ids if ids.count(device_id) > 1), None)
        if twice:
            raise ValueError(f"two devices have the id '{twice}'")
        selected = [device for device in value if not device.describe]
        told = clash(selected, [device.select for device in selected])
        if told:
            raise ValueError(told)
        return value

    @model_validator(mode="after")
    def _is_one_machine(self) -> Entry:
        if self.described and not all(device.describe for device in self.devices):
            raise ValueError("devices that are here and described ones cannot be mixed in one platform")
        check_links({device.id: device.describe for device in self.devices}, self.links)
        return self

    @property
    def described(self) -> bool:
        """Whether the devices are described rather than here."""
        return any(device.describe for device in self.devices)

    def pick(self, names: Sequence[str]) -> list[DeviceEntry] | None:
        """The entries that ``names`` means by their ids, all of them for none; ``None`` when it means others."""
        if not names:
            return self.devices
        by_id = {device.id: device for device in self.devices}
        return [by_id[name] for name in names] if all(name in by_id for name in names) else None


def clash(entries: Sequence[DeviceEntry], devices: Sequence[str]) -> str:
    """Why two of ``entries`` cannot be open at once, ``""`` when all can; ``devices`` names the device of each."""
    for index, (entry, device) in enumerate(zip(entries, devices, strict=True)):
        for other in (entries[twin] for twin in range(index) if devices[twin] == device):
            if entry.isolate or other.isolate:
                continue  # each process has a driver of its own
            pair = f"'{other.id}' and '{entry.id}' are both {device}"
            if entry.subdevice is None or other.subdevice is None:
                return f"{pair}, which only its sub-devices can be at once: give each a 'subdevice'"
            if entry.subdevice == other.subdevice:
                return f"{pair}, sub-device {entry.subdevice}: give each a number of its own"
            if entry.subdevice_units != other.subdevice_units:
                return f"{pair}, which is cut into equal sub-devices: give them the same number of threads"
    return ""


class PlatformsFile(Strict):
    """The whole file."""

    version: Literal[1]
    default: str | None = None
    platforms: dict[str, Entry] = {}


def find(path: str | Path | None = None) -> Path | None:
    """The user's file: ``path``, else $CLNN_PLATFORMS, else platforms.yaml in the working folder, else none.

    Raises :class:`UsageError` when a file that was named is not there.
    """
    named = path or env.PLATFORMS.get()
    if not named:
        here = Path(FILE_NAME)
        return here if here.is_file() else None
    if not Path(named).is_file():
        raise UsageError(f"there is no platforms file '{named}'")
    return Path(named)


def load(path: str | Path | None = None) -> PlatformsFile:
    """The shipped entries, overlaid by those of the user's file, which :func:`find` looks for."""
    found = find(path)
    if found is None:
        return _shipped()
    try:
        if found.stat().st_size > _LIMIT_BYTES:
            raise UsageError(f"{found} is larger than {_LIMIT_BYTES} bytes: that is no platforms file")
        text = found.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"platforms file {found} cannot be read: {error}") from error
    named = path or env.PLATFORMS.get()
    return _overlaid(text, str(found), found.resolve().parent if named else None)


@lru_cache(maxsize=8)  # every session asks, and YAML takes some ten milliseconds
def _overlaid(text: str, origin: str, folder: Path | None) -> PlatformsFile:
    shipped, own = _shipped(), parse(text, origin, folder)
    merged = PlatformsFile(version=1, default=own.default, platforms={**shipped.platforms, **own.platforms})
    if own.default is not None and own.default not in merged.platforms:
        raise UsageError(f"{origin}: default: there is no platform '{own.default}'; {_choices(merged)}")
    return merged


@cache
def _shipped() -> PlatformsFile:
    folder = resources.files("clnn.devices")
    files = [parse(folder.joinpath(name).read_text("utf-8"), name) for name in _SHIPPED]
    return PlatformsFile(version=1, platforms={name: entry for file in files for name, entry in file.platforms.items()})


def pick(name: str | None = None, path: str | Path | None = None) -> Entry | None:
    """The entry called ``name``, else the file's default; ``None`` when devices are to be discovered."""
    if name is None and find(path) is None:
        return None
    file = load(path)
    chosen = name or file.default
    if chosen is None:
        return None
    if chosen not in file.platforms:
        raise UsageError(f"there is no platform '{chosen}'; {_choices(file)}")
    return file.platforms[chosen]


def parse(text: str, origin: str, folder: Path | None = None) -> PlatformsFile:
    """Check ``text`` against the schema; :class:`UsageError` names ``origin`` and the line of the first mistake.

    ``folder`` is that of a file that was named, which may name a program binary.
    """
    return schema.parse(text, origin, PlatformsFile, {"folder": folder})


def _choices(file: PlatformsFile) -> str:
    return f"there are {', '.join(sorted(file.platforms))}"
