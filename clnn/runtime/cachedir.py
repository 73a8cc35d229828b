"""The one cache on disk: entries that verify themselves, written to a temporary file and renamed.

    <root>/<kind>/<key>      "clnn-cache 1 <key> <sha256 of payload>\\n" followed by the payload

``root`` is ``Options.cache_dir``, else $CLNN_CACHE_DIR, else the user's cache folder. Everything under it may be
deleted at any time. An entry that is truncated, altered or was copied from another key reads as absent. A folder that
cannot be written, or that others could have written to, costs one warning and then no caching.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from clnn import env

log = logging.getLogger(__name__)

MAGIC = b"clnn-cache 1"
_PRIVATE = 0o700
_WRITABLE_BY_OTHERS = 0o022
_warned: set[Path] = set()


def root(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The cache folder: ``cache_dir`` if given, else $CLNN_CACHE_DIR, else the user's own; it may not exist yet."""
    chosen = cache_dir or env.CACHE_DIR.get()
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("clnn", appauthor=False)


def digest(*parts: str | bytes) -> str:
    """A sha256 over ``parts``, in which where one part ends and the next begins matters."""
    total = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        total.update(len(raw).to_bytes(8, "little"))
        total.update(raw)
    return total.hexdigest()


def warn_once(folder: Path, reason: object) -> None:
    """Say once per folder that caching is off there, and why."""
    if folder not in _warned:
        _warned.add(folder)
        log.warning("cannot cache in %s (%s): later starts will be slower; set CLNN_CACHE_DIR to a folder of "
                    "your own", folder, reason)


class Store:
    """The entries of one ``kind`` under the cache root; ``key`` is a :func:`digest` of all that matters."""

    def __init__(self, kind: str, cache_dir: str | os.PathLike[str] | None = None) -> None:
        self.folder = root(cache_dir) / kind
        self.writable = True
        """Becomes ``False`` when the disk refused an entry."""

    def has(self, key: str) -> bool:
        """Whether there is something under ``key``; only :meth:`get` tells whether it can be trusted."""
        return (self.folder / key).is_file()

    def prepare(self) -> bool:
        """Make the folder; ``False``, after one warning per folder, when entries cannot be put there."""
        try:
            for folder in (self.folder.parent, self.folder):
                folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            if not self._private():
                raise PermissionError("others may write to it")
            if not os.access(self.folder, os.W_OK):
                raise PermissionError("it is read-only")
        except OSError as error:
            return self._refused(error)
        return True

    def get(self, key: str) -> bytes | None:
        """The payload stored under ``key``, or ``None`` when there is none that can be trusted."""
        try:
            if not self._private():
                return None
            raw = (self.folder / key).read_bytes()
        except OSError:
            return None
        header, _, payload = raw.partition(b"\n")
        if header != _header(key, payload):
            log.info("cache entry %s is damaged or foreign: it will be rebuilt", self.folder / key)
            return None
        return payload

    def put(self, key: str, payload: bytes) -> bool:
        """Store ``payload``; ``False``, after one warning per folder, when the disk does not let us."""
        if not self.prepare():
            return False
        temporary = None
        try:
            # mkstemp creates with mode 0600.
            handle, temporary = tempfile.mkstemp(prefix=".", dir=self.folder)
            with os.fdopen(handle, "wb") as file:
                file.write(_header(key, payload) + b"\n" + payload)
            os.replace(temporary, self.folder / key)
        except OSError as error:
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
            return self._refused(error)
        return True

    def drop(self, key: str) -> None:
        """Forget ``key``."""
        try:
            (self.folder / key).unlink(missing_ok=True)
        except OSError as error:
            log.info("cannot remove cache entry %s: %s", key, error)

    def trim(self, most: int) -> None:
        """Forget all but the ``most`` entries that were written last."""
        try:
            entries = [entry for entry in os.scandir(self.folder) if not entry.name.startswith(".")]
            entries.sort(key=lambda entry: entry.stat().st_mtime_ns, reverse=True)
            for entry in entries[most:]:
                os.unlink(entry.path)
        except OSError as error:  # another process may trim at the same time
            log.info("cannot trim %s: %s", self.folder, error)

    def get_json(self, key: str) -> Any | None:
        """As :meth:`get`, decoded from JSON."""
        payload = self.get(key)
        return None if payload is None else json.loads(payload)

    def put_json(self, key: str, value: Any) -> bool:
        """As :meth:`put`, encoded as JSON."""
        return self.put(key, json.dumps(value, indent=1).encode())

    def _refused(self, error: OSError) -> bool:
        warn_once(self.folder.parent, error.strerror or error)
        self.writable = False
        return False

    def _private(self) -> bool:
        """Whether nobody else could have put an entry here: a program binary is code that we would run."""
        status = os.stat(self.folder)
        if not hasattr(os, "geteuid"):  # Windows: the folder inherits the user profile's access list
            return True
        return status.st_uid == os.geteuid() and not status.st_mode & _WRITABLE_BY_OTHERS


def _header(key: str, payload: bytes) -> bytes:
    return b"%s %s %s" % (MAGIC, key.encode(), hashlib.sha256(payload).hexdigest().encode())
