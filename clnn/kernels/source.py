"""Kernel sources as text: ``#include "lib/x.h"`` replaced by the file, so that the text is all there is to a program.

A digest of the text then covers the headers too, and drivers need no include folder, which a wheel may not have.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

PACKAGE = "clnn.opencl"
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"[^\n]*$', re.MULTILINE)
_NAME = re.compile(r"(?:lib/)?[a-z0-9_]+\.(?:cl|h)")


@cache
def read(name: str) -> str:
    """The text of kernel source ``name`` (``"gemm.cl"``) with its includes resolved, each header once.

    Raises :class:`FileNotFoundError` when the package has no such file.
    """
    return _expand(name, set())


def _expand(name: str, seen: set[str]) -> str:
    def replace(match: re.Match[str]) -> str:
        included = match.group(1)
        return "" if included in seen else _expand(included, seen)

    seen.add(name)
    if not _NAME.fullmatch(name):
        raise FileNotFoundError(f"'{name}' is not the name of a kernel source")
    path = resources.files(PACKAGE).joinpath(*name.split("/"))
    return _INCLUDE.sub(replace, path.read_text(encoding="utf-8"))
