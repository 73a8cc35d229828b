"""What the command line calls SOURCE: photos, folders, globs, lists of paths, standard input."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from clnn.errors import InputError

EXTENSIONS = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pnm")
"""Files of a folder that are taken for pictures."""


@dataclass(frozen=True)
class Source:
    """A picture to be read: its name in results, and its path, or its bytes where it has none."""

    name: str
    data: Path | bytes


def expand(sources: Iterable[str], stdin: Callable[[], bytes]) -> list[Source]:
    """List the pictures that sources stand for, in their order.

    - a folder: the pictures in it (by their extension), sorted; not those in folders inside it
    - a pattern with ``*``, ``?`` or ``[``, unless a file has that very name: the files that match, sorted; ``**``
      reaches into folders
    - a ``.txt`` file: a list of paths, one per line; empty lines and those starting with ``#`` are skipped; a
      relative path starts at the list's folder, or else at the working folder
    - ``-``: standard input, an encoded picture, or a list of paths if it is UTF-8 text
    - anything else: a picture, which need not exist yet: reading it gives the error

    Raises:
        InputError: a folder has no pictures, a pattern matches nothing, or a list is empty or cannot be read.
    """
    return [found for source in sources for found in _expand_one(source, stdin)]


def _expand_one(source: str, stdin: Callable[[], bytes]) -> list[Source]:
    if source == "-":
        return _standard_input(stdin())
    path = Path(source)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in EXTENSIONS and file.is_file())
        if not found:
            raise InputError(f"{source}: no pictures in this folder; it needs files ending in .jpg, .png, ...")
    elif path.suffix.lower() == ".txt" and path.is_file():
        return _read_list(path)
    elif any(sign in source for sign in "*?[") and not path.exists():
        found = [file for file in map(Path, sorted(glob.glob(source, recursive=True))) if file.is_file()]
        if not found:
            raise InputError(f"{source}: no file matches this pattern; check it, and quote it for the shell")
    else:
        found = [path]
    return [Source(str(file), file) for file in found]


def _standard_input(data: bytes) -> list[Source]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    # No picture format is free of both bytes that are not UTF-8 and zero bytes, but for the plain-text PNM.
    if "\0" in text or text[:2] in ("P1", "P2", "P3"):
        return [Source("-", data)]
    return _list_of(text, Path(), "standard input")


def _read_list(path: Path) -> list[Source]:
    try:
        return _list_of(path.read_text(encoding="utf-8-sig"), path.parent, str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable list of paths ({error}); give UTF-8 text") from error


def _list_of(text: str, folder: Path, name: str) -> list[Source]:
    lines = [line.strip() for line in text.splitlines()]
    paths = [Path(line) for line in lines if line and not line.startswith("#")]
    if not paths:
        raise InputError(f"{name}: no path in this list; give one per line")
    found = [folder / path if (folder / path).exists() else path for path in paths]
    return [Source(str(path), path) for path in found]
