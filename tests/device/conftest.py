"""Fixtures of the device tests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clnn.runtime import discovery, selection

PAIR = ("pocl:0", "intel:0")


@pytest.fixture
def pair() -> tuple[str, str]:
    """Devices of two drivers."""
    usable = {info.id for info in discovery.devices() if info.usable}
    if not usable.issuperset(PAIR):
        pytest.skip(f"needs {' and '.join(PAIR)}")
    return PAIR


@pytest.fixture
def as_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make sessions take the device for a GPU, so that they launch kernels as they do for those."""
    select = selection.select

    def pretend(*args, **kwargs):
        return [replace(opened, info=replace(opened.info, kind="gpu")) for opened in select(*args, **kwargs)]

    monkeypatch.setattr(selection, "select", pretend)
