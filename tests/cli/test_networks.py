"""``clnn run``, ``bench``, ``plan`` and ``inspect``, and the exit code of every kind of failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from clnn.cli import common
from clnn.runtime import builders
from tests.support import node_model


def clnn(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clnn", *map(str, arguments)]
    environment = {**os.environ, **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def fails(code: int, *arguments: str | Path, **variables: str) -> str:
    """Run a command that must fail with ``code`` and one line on stderr; the line."""
    done = clnn(*arguments, **variables)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("clnn: warning:")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("clnn: error: ")
    return lines[0]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A convolution over N×3×8×8 with symbolic N."""
    weights = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 6, 6])],
        [weights],
    )
    path = tmp_path / "conv.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_run_with_arrays_from_a_file(model: Path, tmp_path: Path):
    np.save(tmp_path / "x.npy", np.ones((2, 3, 8, 8), np.float32))
    done = clnn("run", model, "--input", f"x={tmp_path / 'x.npy'}", "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    (output,) = json.loads(done.stdout)["outputs"]
    assert (output["name"], output["shape"], output["min"], output["max"]) == ("y", [2, 4, 6, 6], 27.0, 27.0)
    assert (np.load(output["file"]) == 27).all()


def test_run_with_random_numbers(model: Path):
    done = clnn("run", model)
    assert done.returncode == 0, done.stderr
    assert "1×4×6×6" in done.stdout


def test_bench_against_onnxruntime(model: Path):
    done = clnn("bench", model, "--duration", "0.2", "--against", "onnxruntime", "--batch", "3", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {"median_ms", "p90_ms", "min_ms", "images_per_s", "device", "policy", "against"} <= set(result)
    assert result["batch"] == 3
    assert result["batched"]
    peer = result["against"]["onnxruntime"]
    assert peer["ratio"] == pytest.approx(result["median_ms"] / peer["median_ms"])


def test_plan_tells_where_and_why(model: Path):
    done = clnn("plan", model, "--json")
    assert done.returncode == 0, done.stderr
    layers = json.loads(done.stdout)["layers"]
    assert any(layer["op"] == "Conv" and layer["reason"] for layer in layers)
    assert "implicit GEMM" in clnn("plan", model).stdout


def test_plan_measures_and_draws(model: Path, tmp_path: Path):
    picture = tmp_path / "plan.svg"
    done = clnn("plan", model, "--measure", "--draw", picture, "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["measured_ms"] > 0
    assert plan["predicted_ms"] > 0
    (conv,) = [layer for layer in plan["layers"] if layer["op"] == "Conv"]
    assert conv["shares"] == {plan["devices"][0]: 1.0}
    assert conv["measured_ms"] > 0
    assert conv["predicted_ms"] > 0
    titles = [title.text for title in ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}title")]
    assert any(conv["layer"] in title for title in titles)
    assert "another file" in fails(5, "plan", model, "--draw", tmp_path / "missing" / "plan.svg")


def test_inspect_shows_layers(model: Path):
    done = clnn("inspect", model)
    assert done.returncode == 0, done.stderr
    assert "Conv" in done.stdout


def test_usage_errors(model: Path):
    assert "--dim" in fails(2, "run", model, "--dim", "n")
    assert "there are: n" in fails(2, "run", model, "--dim", "m=2")
    assert "openvino" in fails(2, "bench", model, "--against", "openvino")
    assert "fastest" in fails(2, "plan", model, "--policy", "fastest")


def test_bad_models(model: Path, tmp_path: Path):
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(model.read_bytes()[:-20])
    fails(3, "run", cut)
    fails(3, "run", tmp_path / "missing.onnx")
    unknown = tmp_path / "unknown.onnx"
    onnx.save(node_model("Frobnicate", [np.ones(2, np.float32)]), unknown)
    assert "Frobnicate" in fails(3, "run", unknown)


def test_external_data_stays_in_its_folder(model: Path, tmp_path: Path):
    folder = tmp_path / "inside"
    folder.mkdir()
    loaded = onnx.load(model)
    onnx.save(loaded, folder / "model.onnx", save_as_external_data=True, location="data.bin", size_threshold=0)
    assert clnn("run", folder / "model.onnx").returncode == 0
    (tmp_path / "data.bin").write_bytes((folder / "data.bin").read_bytes())
    outside = onnx.load(folder / "model.onnx", load_external_data=False)
    for location in ("../data.bin", str(tmp_path / "data.bin")):
        outside.graph.initializer[0].external_data[0].value = location
        (folder / "outside.onnx").write_bytes(outside.SerializeToString())
        assert "outside" in fails(3, "run", folder / "outside.onnx")


def test_no_usable_device(model: Path, tmp_path: Path):
    assert "usable: " in fails(4, "run", model, "--device", "accelerator")
    (tmp_path / "no-drivers").mkdir()
    assert "install" in fails(4, "run", model, OCL_ICD_VENDORS=str(tmp_path / "no-drivers"))


def test_bad_inputs(model: Path, tmp_path: Path):
    np.save(tmp_path / "x.npy", np.ones((2, 3, 8, 9), np.float32))
    assert "'x'" in fails(5, "run", model, "--input", f"x={tmp_path / 'x.npy'}")
    (tmp_path / "text.npy").write_text("not an array")
    fails(5, "run", model, "--input", f"x={tmp_path / 'text.npy'}")


def test_unwritable_cache_costs_a_warning(model: Path, tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("in the way")
    done = clnn("run", model, CLNN_CACHE_DIR=str(file / "cache"))
    assert done.returncode == 0
    assert "cache" in done.stderr


def test_corrupt_cache_gives_right_results(model: Path, tmp_path: Path):
    cache = tmp_path / "cache"
    np.save(tmp_path / "x.npy", np.ones((1, 3, 8, 8), np.float32))
    arguments = ("run", model, "--input", f"x={tmp_path / 'x.npy'}", "--json")
    clean = clnn(*arguments, CLNN_CACHE_DIR=str(cache))
    entries = [path for path in cache.rglob("*") if path.is_file()]
    assert entries
    for index, path in enumerate(entries):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] if index % 2 else data[:-8] + b"garbage!")
    again = clnn(*arguments, CLNN_CACHE_DIR=str(cache))
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["outputs"] == json.loads(clean.stdout)["outputs"]


@pytest.mark.parametrize(("patience_s", "bars"), [(-1.0, [("compiling kernels", 3, [2, 1])]), (60.0, [])])
def test_compiling_is_shown_once_it_takes_long(monkeypatch, patience_s, bars):
    shown: list[tuple[str, int, list[int]]] = []

    @contextmanager
    def progress(label, total):
        shown.append((label, total, []))
        yield shown[-1][2].append

    monkeypatch.setattr(common, "_PATIENCE_S", patience_s)
    monkeypatch.setattr(common, "progress", progress)
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True))
    with common.compiling():
        for done in (2, 3):
            for listener in builders._listeners:
                listener(done, 3)
    assert shown == bars
    assert not builders._listeners
    with common.compiling(quiet=True):
        assert not builders._listeners
