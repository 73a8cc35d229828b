"""Builds kernels, and keeps the binaries on disk so that the next process need not.

An entry of the cache is found by a digest of everything that its content depends on: the source with its includes, the
options, device, driver, processor, pyopencl and the format. pyopencl's own cache is bypassed.

When a binary is complete differs. Intel's compiles a kernel once and can be stored after the build. PoCL compiles one
function per work-group size at the first launch with it (45-120 ms here), into a folder of its own, and a binary holds
those that are there when it is first asked for. So PoCL's binaries are stored by :meth:`ProgramCache.store`, called
after the first run of a plan and at exit, which also renews an entry whose program has since been launched with another
size; :mod:`clnn.runtime.pocl` knows more. Measured with PoCL 3.1 on a two-core machine, for a small kernel: 700-950 ms
for the first build of a process, 110-130 ms for others, 50-100 ms more at the first launch; in a second process 3-5 ms
from the binary and 0.7 ms for the first launch. A network of 34 programs: 21 s cold; storing them takes 40 ms.

PoCL's folder is the process's own (:mod:`clnn.runtime.scratch`): it unpacks there what came from entries whose digest
was right, and nothing else is loaded.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from clnn.devices import naming
from clnn.errors import BuildError
from clnn.kernels import source, stages
from clnn.runtime import cachedir, drivers, loader, pocl, prebuilt
from clnn.runtime.discovery import OpenDevice
from clnn.runtime.probe import first_line

log = logging.getLogger(__name__)

_FORMAT = "1"
_building = threading.RLock()  # one at a time: which of PoCL's folders is new tells which program it belongs to


@dataclass
class _Entry:
    """A program built for a device; ``stored`` counts the functions in the binary on disk, -1 when there is none."""

    key: str
    opened: OpenDevice
    text: str
    options: bytes
    program: Any
    folder: Path | None
    stored: int


class ProgramCache:
    """Programs by what they were built from: each built once per process, from disk when it is there.

    Safe to use from several threads.
    """

    def __init__(self, cache_dir: str | None = None) -> None:
        self._store = cachedir.Store("programs", cache_dir)
        self._entries: dict[tuple[int, str], _Entry] = {}
        self.built = 0
        """How many programs were compiled from source, rather than taken from disk."""
        atexit.register(self._at_exit)

    def build(self, opened: OpenDevice, name: str, options: Sequence[str] = ()) -> Any:
        """A ``pyopencl.Program`` of kernel source ``name`` (``"gemm.cl"``) for a device.

        ``options`` are compiler options: ``("-D", "TILE_M=8")`` or ``("-DTILE_M=8",)``.
        Raises :class:`BuildError` with the first line of the driver's log.
        """
        if opened.binary and name == stages.SOURCE:
            return prebuilt.load(opened)
        return self.build_text(opened, name, source.read(name), options)

    def build_text(self, opened: OpenDevice, name: str, text: str, options: Sequence[str] = ()) -> Any:
        """The same of source ``text``, which errors call ``name``."""
        cl = loader.opencl()
        key = _key(opened, text, options)
        with _building:
            entry = self._entries.get((opened.device.int_ptr, key))
            if entry is None:
                entry = self._recall(opened, key, text, options) or self._compile(opened, key, name, text, options)
                if any(other.key == key for other in self._entries.values()):
                    # Equal devices, as the sub-devices of one, share binary and folder: the first sees to them.
                    entry.folder, entry.stored = None, 0
                self._entries[opened.device.int_ptr, key] = entry
        return cl.Program(entry.program)

    @property
    def folder(self) -> str:
        """The cache folder, of which this uses a part."""
        return str(self._store.folder.parent)

    def can_store(self) -> bool:
        """Whether binaries can be kept on disk; tells once when not."""
        return self._store.prepare()

    def is_missing(self, opened: OpenDevice, name: str, options: Sequence[str] = ()) -> bool:
        """Whether :meth:`build` would have to compile: the program is neither in this process nor on disk."""
        if opened.binary and name == stages.SOURCE:
            return False
        key = _key(opened, source.read(name), options)
        return (opened.device.int_ptr, key) not in self._entries and not self._store.has(key)

    def store(self, programs: Iterable[Any] | None = None) -> int:
        """Write binaries that are missing or out of date on disk; how many. Call it after a plan's first run.

        ``programs`` are those that were launched since, where that is known; without it each is looked after.
        """
        written = 0
        with _building:
            entries = list(self._entries.values())
            if programs is not None:
                launched = {program.int_ptr for program in programs}
                keys = {entry.key for entry in entries if entry.program.int_ptr in launched}
                entries = [entry for entry in entries if entry.key in keys]
            for entry in entries:
                count = pocl.functions(entry.folder)
                if not self._store.writable or (entry.stored >= 0 and count <= entry.stored):
                    continue
                pocl.fill_generic(entry.folder)
                binary = _binary(entry.program if entry.stored < 0 else _source_program(entry))
                # Asking for the binary may have made PoCL compile more.
                entry.stored = pocl.functions(entry.folder)
                written += self._store.put(entry.key, binary)
        return written

    def _recall(self, opened: OpenDevice, key: str, text: str, options: Sequence[str]) -> _Entry | None:
        binary = self._store.get(key)
        if binary is None:
            return None
        cl = loader.opencl()
        before = pocl.program_folders()
        try:
            program = cl._Program(opened.context, [opened.device], [binary])
            program.build(_joined(options), [opened.device])
        except cl.Error as error:
            log.info("%s refuses a cached binary, which is rebuilt: %s", opened.info.id, error)
            self._store.drop(key)
            return None
        folder = pocl.new_folder(before)
        return _Entry(key, opened, text, _joined(options), program, folder, pocl.functions(folder))

    def _compile(self, opened: OpenDevice, key: str, name: str, text: str, options: Sequence[str]) -> _Entry:
        cl = loader.opencl()
        before = pocl.program_folders()
        # cl.Program would add include folders, options from the environment and a cache of its own.
        program = cl._Program(opened.context, text)
        try:
            program.build(_joined(options), [opened.device])
        except cl.Error as error:
            failure = BuildError(f"{name} does not build on {opened.info.id} ({opened.info.name}) with options "
                                 f"'{' '.join(options)}': {first_line(program, opened.device, error)}; update the "
                                 "driver or use another device")
            failure.device = opened.info.id
            raise failure from error
        self.built += 1
        entry = _Entry(key, opened, text, _joined(options), program, pocl.new_folder(before), -1)
        if not compiles_at_launch(opened):
            self._store.put(key, _binary(program))
            entry.stored = 0
        return entry

    def _at_exit(self) -> None:
        if loader.loaded_here():
            self.store()


@cache
def shared(cache_dir: str | None = None) -> ProgramCache:
    """The process's program cache for a cache folder: sessions that use the same folder share programs."""
    return ProgramCache(cache_dir)


def _key(opened: OpenDevice, text: str, options: Sequence[str]) -> str:
    device = opened.device
    return cachedir.digest("program", _FORMAT, text, *options, "", device.platform.name, device.platform.version,
                           device.name, device.driver_version, drivers.processor(), loader.opencl().VERSION_TEXT,
                           os.environ.get(pocl.SPECIALIZATION, ""))


def _joined(options: Sequence[str]) -> bytes:
    return " ".join(options).encode()


def _source_program(entry: _Entry) -> Any:
    """The program once more: PoCL packs a program's binary once, and finds what it compiled since by the source."""
    program = loader.opencl()._Program(entry.opened.context, entry.text)
    program.build(entry.options, [entry.opened.device])
    return program


def _binary(program: Any) -> bytes:
    """The binary of a program that was built for one device, whatever others its context has.

    Which one that is need not be looked up: PoCL names the whole device where it was built for a sub-device.
    """
    return next(binary for binary in program.get_info(loader.opencl().program_info.BINARIES) if binary)


def compiles_at_launch(opened: OpenDevice) -> bool:
    """Whether the driver compiles kernels when they are first launched, with each new work-group size."""
    return naming.alias(opened.info.platform) == "pocl"
