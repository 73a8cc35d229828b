"""Fixtures of the device tests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clnn.runtime import selection


@pytest.fixture
def as_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make sessions take the device for a GPU, so that they launch kernels as they do for those."""
    select = selection.select

    def pretend(*args, **kwargs):
        return [replace(opened, info=replace(opened.info, kind="gpu")) for opened in select(*args, **kwargs)]

    monkeypatch.setattr(selection, "select", pretend)
