"""Fixtures of all tests; ``clnn_device`` comes from the plugin that clnn ships."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clnn import env

ROOT = Path(__file__).resolve().parent.parent

# Program binaries of earlier runs are used again, but the user's own cache is left alone. Set for the whole run, and
# for processes that tests start, before a driver is loaded.
os.environ.setdefault(env.CACHE_DIR.name, str(ROOT / ".pytest_cache" / "clnn"))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with models/ and images/ that $CLNN_TEST_DATA names; without it the test is skipped."""
    folder = env.TEST_DATA.get()
    if folder is None:
        if os.environ.get("CI"):
            pytest.fail(f"{env.TEST_DATA.name} is not set, and on CI it must be: {env.TEST_DATA.meaning}")
        pytest.skip(f"{env.TEST_DATA.name} is not set: {env.TEST_DATA.meaning}")
    return Path(folder)
