"""The wheel: built, installed into an empty environment, and used from there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = "import clnn.models, os; print(os.path.join(os.path.dirname(clnn.models.__file__), 'samples', 'dog.jpg'))"


def run(*command: object, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=900, check=False,
                          **more)


def pip(*arguments: object) -> None:
    done = run(*arguments)
    if done.returncode:
        # Without the package index nothing can be installed; where tests must run, that is a failure.
        reason = f"pip: {done.stderr.strip()[-500:]}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy: a build leaves files behind, and would take up what an earlier one left.
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__"))
    pip(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, tree)
    (built,) = folder.glob("clnn-*.whl")
    return built


def test_the_wheel_has_sources_models_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("clnn/opencl/probe.cl", "clnn/opencl/__init__.py", "clnn/devices/profiles.yaml", "clnn/py.typed",
                 "clnn/models/centernet_mbv3_coco.onnx", "clnn/models/samples/dog.jpg"):
        assert name in names
    for folder, pattern in (("opencl", "*.cl"), ("opencl/lib", "*.h"), ("models/zoo", "*.yaml"),
                            ("models/labels", "*.txt")):
        for path in (ROOT / folder).glob(pattern):
            assert f"clnn/{folder}/{path.name}" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"clnn"}


def test_an_empty_environment_detects(wheel, tmp_path):
    if not any(Path("/etc/OpenCL/vendors").glob("*.icd")):
        pytest.skip("the system offers no driver, and the new environment has none of its own")
    folder = tmp_path / "env"
    assert run(sys.executable, "-m", "venv", folder).returncode == 0
    binaries = folder / ("Scripts" if os.name == "nt" else "bin")
    pip(binaries / "python", "-m", "pip", "install", "--quiet", wheel)
    sample = run(binaries / "python", "-c", SAMPLE, cwd=tmp_path).stdout.strip()
    assert sample.startswith(str(folder))
    done = run(binaries / "clnn", "detect", sample, "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "dog" in done.stdout
