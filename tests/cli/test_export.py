"""``clnn export``."""

from __future__ import annotations

import json

import numpy as np
import pytest

from clnn.cli.main import run
from tests.support import node_model


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("model") / "conv.onnx"
    x, w = np.zeros((1, 16, 12, 12), np.float32), np.ones((16, 16, 3, 3), np.float32)
    path.write_bytes(node_model("Conv", [x, w], constants=[1]).SerializeToString())
    return str(path)


def test_a_folder_is_written(model, tmp_path, capsys):
    assert run(["export", "--target", "fpga", model, "--out", str(tmp_path / "board"), "--board", "stratix10"]) == 0
    told = capsys.readouterr()
    assert "conv.onnx on stratix10" in told.out
    assert told.err == f"written to {tmp_path / 'board'}\n"
    files = {path.name for path in (tmp_path / "board").rglob("*") if path.is_file()}
    assert files >= {"plan.json", "weights.npz", "README.md", "stages.cl"}


def test_json(model, tmp_path, capsys):
    assert run(["export", model, "--out", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["board"] == "arria10"
    assert 0 < told["dsps"] <= told["dsps_available"]


def test_a_board_of_ones_own(model, tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "version: 1\nplatforms:\n  mine:\n    devices:\n      - id: card\n        describe: {kind: accelerator, "
        "compute_units: 1, gflops: 100, bandwidth_gbs: 10, global_mem_gb: 1, board: {dsps: 600, memory_blocks: 1200, "
        "clock_mhz: 150}}\n"
    )
    given = ["export", model, "--out", str(tmp_path / "board"), "--board", "mine", "--platforms", str(file), "--json"]
    assert run(given) == 0
    assert "-DLANES=16" in json.loads(capsys.readouterr().out)["options"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--target", "asic"], "target 'asic' does not exist; there is fpga"),
        (["--board", "odroid-xu4"], "board 'odroid-xu4' is not a platform of one FPGA board"),
        (["--board", "nope"], "there is no platform 'nope'"),
    ],
)
def test_mistakes_are_told(model, tmp_path, capsys, more, told):
    assert run(["export", model, "--out", str(tmp_path), *more]) == 2
    assert told in capsys.readouterr().err
