"""The pytest plugin that clnn ships: which devices its fixture covers, and what happens without any."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from clnn import env

TEST = "def test_device(clnn_device):\n    assert clnn_device.count(':') == 1\n"


@pytest.fixture
def run(tmp_path):
    """Runs a project's pytest in an environment of its own; returns its exit code and output."""
    (tmp_path / "test_it.py").write_text(TEST)
    empty = tmp_path / "vendors"
    empty.mkdir()

    def run(drivers: bool, **variables: str) -> tuple[int, str]:
        inherited = {name: value for name, value in os.environ.items()
                     if name not in ("CI", env.DEVICES.name, env.TEST_DEVICES.name)}
        hidden = {} if drivers else {"OCL_ICD_VENDORS": str(empty)}
        done = subprocess.run([sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-rs", str(tmp_path)],
                              capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path,
                              env={**inherited, **hidden, **variables})
        return done.returncode, done.stdout

    return run


def test_it_covers_every_usable_device(run, clnn_device):
    code, output = run(True)
    assert code == 0
    assert f"test_device[{clnn_device}] PASSED" in output
    assert "oclgrind" not in output


def test_the_variable_selects(run, clnn_device):
    code, output = run(True, **{env.TEST_DEVICES.name: clnn_device})
    assert code == 0
    assert f"test_device[{clnn_device}] PASSED" in output
    assert "1 passed" in output


def test_a_selected_device_that_is_missing_fails(run):
    code, output = run(True, **{env.TEST_DEVICES.name: "gpu:7"})
    assert code == 1
    assert "gpu:7" in output


def test_without_a_device_it_skips_but_fails_in_ci(run):
    code, output = run(False)
    assert code == 0
    assert "1 skipped" in output
    assert "install a driver" in output
    assert run(False, CI="true")[0] == 1
