"""Loads OpenCL: gathers the drivers in one folder, sets what they read from the environment, imports pyopencl.

Only the drivers of the devices that are used are loaded: an idle one costs up to 90 MB and 0.2 s. The ICD loader reads
its folder once, at the first OpenCL call of the process; a driver that is wanted later is added by
:mod:`clnn.runtime.latecomer`.

Drivers read their settings from the environment when they are loaded, or when their first context is made. The settings
hold for those two moments and are put back afterwards, so that programs started from here do not inherit another
process's pinning or a folder that is about to go.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from clnn.devices import naming
from clnn.errors import DeviceError, ForkError, UsageError
from clnn.runtime import latecomer, scratch
from clnn.runtime.drivers import Driver

log = logging.getLogger(__name__)

# What limits the threads of a CPU driver, by the name that devices of it carry.
THREAD_VARIABLES = {"pocl": "POCL_MAX_PTHREAD_COUNT", "intel": "CL_CONFIG_CPU_TBB_NUM_WORKERS"}

INSTALL = "run: pip install pyopencl"


@dataclass(frozen=True)
class _Loaded:
    """``limits`` holds the threads of each driver that is loaded; it and the other collections grow with them."""

    module: ModuleType
    pid: int
    libraries: set[str]
    limits: dict[str, int]
    settings: dict[str, str]


_lock = threading.RLock()
_limits: dict[str, int] = {}
_loaded: _Loaded | None = None


def limit_threads(threads: int, driver: str | None = None) -> None:
    """Let ``driver`` (``pocl``, ``intel``; ``None``: all of them) use ``threads`` threads.

    Drivers read this when they are loaded; raises :class:`UsageError` when that has happened with another limit.
    """
    if threads < 1:
        raise UsageError(f"threads: {threads} is not a number of threads; give 1 or more")
    wanted = dict.fromkeys(THREAD_VARIABLES if driver is None else [driver], threads)
    unknown = set(wanted) - set(THREAD_VARIABLES)
    if unknown:
        raise UsageError(f"threads: the driver '{driver}' has no thread limit; "
                         f"{' and '.join(THREAD_VARIABLES)} have one")
    with _lock:
        if _loaded is not None:
            for name, count in wanted.items():
                current = _loaded.limits.get(name, count)
                if current != count:
                    raise UsageError(f"threads: {name} is already running with {current} threads in this process and "
                                     f"cannot change to {count}; set it on the first session, or in a new process")
        _limits.update(wanted)


def thread_limit(driver: str) -> int | None:
    """The limit that holds, or will hold, for ``driver``; ``None`` for as many threads as it likes."""
    return _limits.get(driver)


def loaded() -> bool:
    """Whether OpenCL was initialised in this process or, before a ``fork``, in its parent."""
    return _loaded is not None


def loaded_here() -> bool:
    """Whether OpenCL was initialised in this very process."""
    return _loaded is not None and _loaded.pid == os.getpid()


def pocl_cache() -> Path:
    """Where PoCL keeps what it compiles: the user's choice, else a folder that goes with the process."""
    chosen = os.environ.get("POCL_CACHE_DIR")
    return Path(chosen) if chosen else scratch.folder() / "pocl"


def check_installed() -> None:
    """Raise :class:`DeviceError` when pyopencl is not installed: without it every driver looks broken."""
    if _loaded is None and importlib.util.find_spec("pyopencl") is None:
        raise DeviceError(f"pyopencl is not installed; {INSTALL}")


def opencl() -> ModuleType:
    """The ``pyopencl`` module, once :func:`load` has prepared it.

    Raises :class:`ForkError` in a forked child of the process that loaded it.
    """
    if _loaded is None:
        raise DeviceError("OpenCL is not loaded yet: open a device first")
    check_process()
    return _loaded.module


def check_process() -> None:
    """Raise :class:`ForkError` when this process was forked after OpenCL was initialised."""
    if _loaded is not None and _loaded.pid != os.getpid():
        raise ForkError(f"OpenCL was initialised in process {_loaded.pid}, and this is its forked child: the drivers' "
                        "threads did not come along; create sessions after forking, or start processes with the "
                        "'spawn' method")


def load(drivers: Iterable[Driver]) -> list[Any]:
    """Load those of ``drivers`` that are not there yet, and nothing else; the platforms that came with them.

    Raises :class:`DeviceError` when a driver cannot be added to those that are there.
    """
    global _loaded
    with _lock:
        check_process()
        wanted = {driver.library for driver in drivers}
        missing = wanted - _loaded.libraries if _loaded else wanted
        if _loaded and not missing:
            return []
        settings = _settings()
        if _loaded is None:
            module = _import()
            with _environment({**settings, **_registered(missing)}):
                platforms = _registered_platforms(module)
                _list_devices(module, platforms)
            _loaded = _Loaded(module, os.getpid(), set(), {}, {})
        else:
            with _environment(settings):
                platforms = [each for library in sorted(missing) for each in latecomer.platforms(library)]
                _list_devices(_loaded.module, platforms)
        _loaded.libraries.update(missing)
        _loaded.settings.update(settings)
        for name in {naming.alias(platform.name) for platform in platforms} & set(THREAD_VARIABLES):
            _loaded.limits[name] = _limits.get(name, os.cpu_count() or 1)
        return platforms


@contextmanager
def settings(driver: str) -> Iterator[None]:
    """What to make a context of ``driver`` in: the environment that drivers were loaded with, and cores of its own.

    Intel's looks at both when it makes its first context, and starts its threads then.
    """
    with _lock, _environment(_loaded.settings if _loaded else {}), _own_cores(driver):
        yield


@contextmanager
def _own_cores(driver: str) -> Iterator[None]:
    """Keep the threads that ``driver`` starts during the block off the cores that a limited PoCL has pinned its own to.

    Only where both are limited and the other cores suffice. Threads inherit the cores of the one that starts them;
    left to the scheduler, Intel's one worker was seen to share PoCL's core for seconds while another core was idle.
    """
    taken, needed = _limits.get("pocl"), _limits.get(driver)
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    others = before - set(range(taken or 0))  # PoCL pins its threads to the first cores, in order
    if driver == "pocl" or not taken or not needed or len(others) < needed or os.environ.get("POCL_AFFINITY") == "0":
        yield
        return
    os.sched_setaffinity(0, others)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _import() -> ModuleType:
    try:
        module = importlib.import_module("pyopencl")
    except ImportError as error:
        raise DeviceError(f"pyopencl cannot be imported ({error}); {INSTALL}") from error
    import warnings

    # Intel's compiler reports every build as non-empty output.
    warnings.filterwarnings("ignore", category=module.CompilerWarning, module=r"clnn\.runtime")
    return module


def _registered_platforms(module: ModuleType) -> list[Any]:
    """The platforms of the ICD loader, which reads its folder now and never again."""
    try:
        return module.get_platforms()
    except module.Error:  # PLATFORM_NOT_FOUND_KHR: the ICD loader's word for none
        return []


def _list_devices(module: ModuleType, platforms: Iterable[Any]) -> None:
    """Ask for all devices: PoCL reads its settings, and starts its threads, when it is first asked."""
    for platform in platforms:
        try:
            platform.get_devices()
        except module.Error as error:
            log.info("%s lists no devices: %s", platform.name, error)


def _registered(libraries: set[str]) -> dict[str, str]:
    """Settings that make the ICD loader open ``libraries`` and no others."""
    if os.name == "nt":
        return {}
    folder = scratch.folder() / "icd"
    folder.mkdir(exist_ok=True)
    for number, library in enumerate(sorted(libraries)):
        (folder / f"{number}.icd").write_text(library + "\n")
    # pyopencl's loader would add what lies beside its own libraries; the good ones of those are in the folder.
    return {"OCL_ICD_VENDORS": str(folder), "PYOPENCL_HOME": str(folder)}


def _settings() -> dict[str, str]:
    """Settings that drivers read."""
    settings = {variable: str(_limits[name]) for name, variable in THREAD_VARIABLES.items() if name in _limits}
    if os.name == "nt":
        return settings
    # Unpinned, PoCL's workers often share one core.
    settings["POCL_AFFINITY"] = os.environ.get("POCL_AFFINITY", "1")
    pocl_cache().mkdir(parents=True, exist_ok=True)
    settings["POCL_CACHE_DIR"] = str(pocl_cache())
    return settings


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the length of a block."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
