"""Kernel sources: includes become text, and nothing else can be read."""

from __future__ import annotations

import re

import pytest

from clnn.kernels import source


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.h").write_text('A\n#include "lib/b.h"\n')
    (tmp_path / "lib" / "b.h").write_text("B\n")
    (tmp_path / "k.cl").write_text('#include "lib/b.h"  // first\n  # include "lib/a.h"\nK\n')
    monkeypatch.setattr(source.resources, "files", lambda package: tmp_path)
    source.read.cache_clear()
    yield tmp_path
    source.read.cache_clear()


def test_includes_are_resolved_once_each(folder):
    assert source.read("k.cl").split() == ["B", "A", "K"]


@pytest.mark.parametrize("name", ["../k.cl", "/etc/passwd", "lib/../k.cl", "k.txt", "K.cl", "a/k.cl", ""])
def test_only_kernel_sources_can_be_read(folder, name):
    with pytest.raises(FileNotFoundError):
        source.read(name)


def test_a_missing_include_is_an_error(folder):
    (folder / "k.cl").write_text('#include "lib/none.h"\n')
    with pytest.raises(FileNotFoundError):
        source.read("k.cl")


def test_shipped_sources_have_no_includes_left():
    for path in source.resources.files(source.PACKAGE).iterdir():
        if path.name.endswith(".cl"):
            assert not re.search(r"^\s*#\s*include", source.read(path.name), re.MULTILINE), path.name
