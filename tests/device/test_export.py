"""What ``clnn export --target fpga`` writes, run from the folder alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from clnn import InferenceSession
from clnn.errors import InputError, NoDeviceError, UnsupportedError, UsageError
from clnn.plan.exported import KERNELS, PLAN, WEIGHTS
from clnn.runtime.exported import ExportedNetwork
from clnn.tools.exporter import export_fpga
from tests.device.test_regions import Net
from tests.support import node_model, relative_error

SHAPE = (1, 3, 20, 20)
TOLERANCE = 1e-5
"""Of the largest value: both sum up in float32, in another order."""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """Convolutions with a pool, a residual and groups, a global pool, a fully connected layer, and a softmax."""
    net, random = Net(), np.random.default_rng(0)

    def constant(*shape: int) -> str:
        return net.constant(random.standard_normal(shape, np.float32) / np.float32(np.prod(shape[1:]) ** 0.5))

    a = net.node("Relu", net.node("Conv", "x", constant(16, 3, 3, 3), constant(16), pads=[1] * 4))
    b = net.node("MaxPool", a, kernel_shape=[2, 2], strides=[2, 2])
    c = net.node("Conv", b, constant(16, 1, 3, 3), pads=[1] * 4, group=16)
    d = net.node("Relu", net.node("Add", net.node("Conv", c, constant(16, 16, 1, 1)), b))
    e = net.node("Conv", d, constant(80, 16, 3, 3), strides=[2, 2])
    f = net.node("Flatten", net.node("GlobalAveragePool", net.node("LeakyRelu", e, alpha=0.1)))
    y = net.node("Softmax", net.node("Gemm", f, constant(10, 80), transB=1), axis=1)
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    path.write_bytes(net.model(SHAPE, y).SerializeToString())
    return str(path)


@pytest.fixture(scope="module", params=["arria10", "stratix10"])
def folder(model, request, tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp(request.param)
    export_fpga(model, out, request.param, {})
    return str(out)


@pytest.mark.parametrize(
    ("driver", "transport"), [("pocl", "buffer"), ("intel", "buffer"), ("intel", "pipe"), ("intel", "channel")]
)
def test_an_exported_network_computes_the_same(model, folder, driver, transport):
    feeds = {"x": np.random.default_rng(1).standard_normal(SHAPE, np.float32)}
    try:
        with InferenceSession(model, devices=driver) as session:
            (expected,) = session.run(None, feeds)
    except NoDeviceError as error:
        pytest.skip(str(error))
    (got,) = ExportedNetwork(folder, driver, transport).run(feeds)
    assert relative_error(got, expected) < TOLERANCE


def test_the_estimate_fits_the_board_and_the_readme_says_what_to_do(folder):
    plan = json.loads(Path(folder, PLAN).read_text())
    estimate, readme = plan["estimate"], Path(folder, "README.md").read_text()
    assert 0 < estimate["dsps"] <= estimate["dsps_available"]
    assert 0 < estimate["memory_blocks"] <= estimate["memory_blocks_available"]
    assert 0 < estimate["external_gbs"] <= estimate["bandwidth_gbs"]
    assert "Untested on hardware" in readme
    assert f"aoc -board=BOARD -fp-relaxed {' '.join(plan['options'])} kernels/stages.cl" in readme
    assert "-DEXPONENTIALS=0" in plan["options"]


def test_kernels_are_whole_files_of_single_work_items(folder):
    plan = json.loads(Path(folder, PLAN).read_text())
    text = Path(folder, KERNELS, "stages.cl").read_text()
    assert "#include" not in text
    stages = [step for step in plan["steps"] if step.get("source") == "stages.cl"]
    assert {step["kernel"] for step in stages} == {"read", "read_residual", "gemm", "misc", "write"}
    assert all(step["global_size"] == [1] and step["local_size"] == [1] for step in stages)


def damaged(folder, tmp_path, change) -> str:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    change(copy)
    return str(copy)


def edited(**changes):
    def change(copy):
        plan = json.loads((copy / PLAN).read_text())
        (copy / PLAN).write_text(json.dumps({**plan, **changes}))

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda copy: (copy / WEIGHTS).unlink(), "is not a folder that 'clnn export' wrote"),
        (lambda copy: (copy / WEIGHTS).write_bytes(b"damaged"), "is not a folder that 'clnn export' wrote"),
        (lambda copy: (copy / KERNELS / "stages.cl").unlink(), "is not a folder that 'clnn export' wrote"),
        (lambda copy: (copy / PLAN).write_text("{"), "this is not YAML"),
        (edited(format="other"), "format: Input should be 'clnn-fpga-1'"),
        (edited(steps=[{"copy": "read", "tensor": "nothing"}]), "'nothing' is neither a tensor nor in weights.npz"),
        (edited(memory_bytes=1), "lies outside of the memory"),
    ],
)
def test_a_damaged_folder_is_told(folder, tmp_path, change, told):
    with pytest.raises(InputError, match=told):
        ExportedNetwork(damaged(folder, tmp_path, change), "pocl")


def test_what_cannot_be_exported_is_told(model, tmp_path):
    with pytest.raises(UsageError, match="'desktop' is not a platform of one FPGA board"):
        export_fpga(model, tmp_path, "desktop", {})
    on_host = tmp_path / "host.onnx"
    square = np.eye(3, dtype=np.float32)
    on_host.write_bytes(node_model("Det", [square]).SerializeToString())
    with pytest.raises(UnsupportedError, match="Det 'det' cannot be exported: no OpenCL kernel"):
        export_fpga(str(on_host), tmp_path, "arria10", {})


def test_inputs_are_checked(folder):
    network = ExportedNetwork(folder, "pocl")
    with pytest.raises(InputError, match="input 'x' has to be an array of shape"):
        network.run({"x": np.zeros((1, 3, 4, 4), np.float32)})
