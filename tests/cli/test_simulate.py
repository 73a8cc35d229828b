"""``clnn simulate`` as a command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.cli.test_networks import clnn, fails
from tests.support import node_model


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    weights = np.ones((4, 3, 3, 3), np.float32)
    path = tmp_path_factory.mktemp("simulate") / "conv.onnx"
    onnx.save(node_model("Conv", [np.ones((1, 3, 8, 8), np.float32), weights], constants=[1]), path)
    return path


def test_every_policy_is_compared(model: Path, tmp_path: Path):
    trace = tmp_path / "trace.json"
    done = clnn("simulate", model, "--platform", "odroid-xu4", "--images", "8", "--trace", trace, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"single", "batch"} <= {each["policy"] for each in found}
    assert all(each["latency_ms"] > 0 and set(each["utilisation"]) == {"gpu0", "gpu1", "cpu0"} for each in found)
    assert json.loads(trace.read_text())["traceEvents"]
    table = clnn("simulate", model, "--platform", "odroid-xu4").stdout
    assert table.splitlines()[0].split() == ["policy", "latency", "ms", "images/s", "J/image", "GB/s", "utilisation"]


def test_mistakes(model: Path):
    assert "there are gpu0, gpu1, cpu0" in fails(4, "simulate", model, "--platform", "odroid-xu4", "--device", "gpu7")
    assert "no platform 'abacus'" in fails(2, "simulate", model, "--platform", "abacus")
    assert "--images" in fails(2, "simulate", model, "--platform", "desktop", "--policy", "batch")
    assert "clnn simulate" in fails(4, "run", model, "--platform", "odroid-xu4")
