"""Every environment variable that clnn reads, declared once.

Nothing else in the package looks at ``os.environ`` for a ``CLNN_*`` name.
"""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class EnvVar:
    """One environment variable: its name and what it means."""

    name: str
    meaning: str

    def get(self) -> str | None:
        """Return the value, or ``None`` when the variable is unset or empty."""
        return os.environ.get(self.name) or None


DEVICES = EnvVar("CLNN_DEVICES", "default devices, as `--device` takes them: cpu, gpu:0, pocl, intel:0, ...")
PLATFORMS = EnvVar("CLNN_PLATFORMS", "path of the platforms.yaml to use")
CACHE_DIR = EnvVar("CLNN_CACHE_DIR", "folder for program binaries, probe verdicts and calibrations")
MODEL_LIMIT_MB = EnvVar("CLNN_MODEL_LIMIT_MB", "largest model with its external data that is loaded, in MB")
TEST_DATA = EnvVar("CLNN_TEST_DATA", "folder with models/ and images/ for the tests")
TEST_DEVICES = EnvVar("CLNN_TEST_DEVICES", "devices that the pytest fixture `clnn_device` covers")

ALL: tuple[EnvVar, ...] = (DEVICES, PLATFORMS, CACHE_DIR, MODEL_LIMIT_MB, TEST_DATA, TEST_DEVICES)
