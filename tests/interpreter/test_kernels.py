"""Every kernel under Oclgrind, an interpreter that reports accesses out of bounds and data races.

The cases are small and of odd shapes, since an interpreter is slow and errors live at the edges. They run in one child
process, because Oclgrind reads its settings when it is loaded; see cases.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clnn.errors import ClnnError
from clnn.runtime import discovery
from tests.interpreter.cases import all_kernels


def require_oclgrind() -> None:
    try:
        discovery.named("oclgrind")
    except ClnnError as error:
        reason = f"Oclgrind is not installed ('apt-get install oclgrind'): {error}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def test_no_kernel_leaves_its_buffers_or_races(tmp_path: Path):
    require_oclgrind()
    log = tmp_path / "oclgrind.log"
    environment = {**os.environ, "OCLGRIND_DATA_RACES": "1", "OCLGRIND_LOG": str(log), "OCLGRIND_MAX_ERRORS": "20"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.interpreter.cases"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    report = log.read_text() if log.exists() else ""
    assert done.returncode == 0, f"{done.stderr[-3000:]}\n{report[:2000]}"
    assert report == ""
    assert set(json.loads(done.stdout)) == all_kernels()
