"""How PoCL keeps what it compiles, and how to get a complete binary out of it at once.

PoCL's folder, as of version 3.1, has a folder per program, and in that one per kernel and work-group size:

    <XX>/<rest of a hash>/program.bc
    <XX>/<rest of a hash>/<kernel>/<size>-<size>-<size>-.../<kernel>.so      compiled at the first launch of that size
    <XX>/<rest of a hash>/<kernel>/0-0-0/<kernel>.so                         for any size

A program's binary packs its folder. The function for any size is compiled for the binary only, and takes longer than
the launch did: half of a cold start. It is never run where program.bc is there, because each new size is then compiled
for itself. So :func:`fill_generic` puts a function that exists in its place. Where the folder looks otherwise, nothing
is done, and PoCL compiles it.
"""

from __future__ import annotations

import glob
import os
import shutil
from pathlib import Path

from clnn.runtime import loader

SPECIALIZATION = "POCL_WORK_GROUP_SPECIALIZATION"  # set to 0, functions for any size are run after all
_GENERIC = "0-0-0"


def program_folders() -> set[str]:
    """The folders of all programs that PoCL knows in this process, inside its own."""
    # By plain text, as every program that is built asks twice, and there may be hundreds.
    return set(glob.glob("??/*", root_dir=loader.pocl_cache()))


def new_folder(before: set[str]) -> Path | None:
    """The folder that came since :func:`program_folders` gave ``before``, when that is clear."""
    made = program_folders() - before
    return loader.pocl_cache() / made.pop() if len(made) == 1 else None


def functions(folder: Path | None) -> int:
    """How many work-group functions are compiled for the program of ``folder``."""
    return 0 if folder is None else sum(1 for _ in folder.glob("*/*/*.so"))


def fill_generic(folder: Path | None) -> None:
    """Spare PoCL the compilation of functions for any size, for each kernel that has run."""
    if folder is None or SPECIALIZATION in os.environ:
        return
    for kernel in folder.iterdir():
        compiled = sorted(kernel.glob(f"*/{kernel.name}.so")) if kernel.is_dir() else []
        generic = kernel / _GENERIC
        if compiled and not generic.exists():
            generic.mkdir()
            shutil.copyfile(compiled[0], generic / compiled[0].name)
