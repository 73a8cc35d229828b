"""A folder private to this process, for what drivers insist on reading from or writing to disk.

PoCL keeps compiled work-group functions as shared objects in a folder of its own and loads whatever it finds there
unchecked. Given a fresh folder in each process it finds only what it compiled itself or what came out of a program
binary whose digest :mod:`clnn.runtime.programs` has checked. The folder goes when the process ends; those of processes
that were killed are swept by the next one.
"""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

from clnn.runtime import cachedir

try:
    import fcntl
except ImportError:  # Windows: no PoCL packages exist for it, so there is next to nothing to sweep
    fcntl = None  # type: ignore[assignment]

_MEMORY = Path("/dev/shm")
_LOCK = "lock"
_ROOM_BYTES = 64 << 20  # PoCL keeps some 0.1 MB per program there, and fails when it cannot
_MAKING_S = 60.0  # a folder younger than this may not have its lock yet
_current: tuple[Path, int] | None = None
_held: list[int] = []


def folder() -> Path:
    """This process's scratch folder, made on first use."""
    global _current
    if _current is None or _current[1] != os.getpid():
        _current = (_make(), os.getpid())
        atexit.register(_remove, *_current)
    return _current[0]


def adopt(path: Path) -> None:
    """Use ``path``, a folder of a parent process, which removes it."""
    global _current
    _current = (path, os.getpid())


def _make() -> Path:
    path = _in_memory() or _on_disk()
    handle = os.open(path / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    _held.append(handle)  # open, and so locked, for as long as the process lives
    if fcntl is not None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return path


def _in_memory() -> Path | None:
    """A folder in memory, where the system has one that lets libraries be loaded, and nobody else can write there."""
    try:
        if os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC:
            return None
        parent = _MEMORY / f"clnn-{os.geteuid()}"
        parent.mkdir(mode=0o700, exist_ok=True)
        status = parent.lstat()  # not of what a link to elsewhere leads to
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) != 0o700:
            return None
        return _below(parent)
    except (OSError, AttributeError):  # no such folder, no room in it, or not even such functions
        return None


def _on_disk() -> Path:
    """A folder in the cache folder, else in the system's for temporary files."""
    parent = cachedir.root() / "scratch"
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _below(parent)
    except OSError as error:
        cachedir.warn_once(parent.parent, error.strerror or error)
        return Path(tempfile.mkdtemp(prefix="clnn-"))


def _below(parent: Path) -> Path:
    _sweep(parent)
    if shutil.disk_usage(parent).free < _ROOM_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return Path(tempfile.mkdtemp(dir=parent))


def _sweep(parent: Path) -> None:
    """Remove the folders whose owners are gone: their lock, unlike a process id, cannot belong to someone else."""
    if fcntl is None:
        return
    for path in parent.iterdir():
        try:
            if time.time() - path.stat().st_mtime < _MAKING_S:
                continue
            handle = os.open(path / _LOCK, os.O_RDWR)
        except OSError:
            continue  # being made just now, or not ours
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass  # its process is alive
        finally:
            os.close(handle)


def _remove(path: Path, owner: int) -> None:
    # A forked child inherits the exit handler, but the folder is its parent's.
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)
