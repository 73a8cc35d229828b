"""Whole networks against onnxruntime, and where their nodes run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import pytest

import clnn
from clnn.schedule import HOST
from clnn.tools.inputs import bound_shapes, random_feeds
from tests.conftest import ROOT
from tests.support import relative_error

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra clnn[dev] is not installed")

sys.path.insert(0, str(ROOT / "benchmarks"))
import networks  # noqa: E402  (a script, not a package)

LIGHT = Path(onnx.backend.test.__file__).parent / "data" / "light"
TRAINED = {
    # fp32: another order of summing through some hundred layers. fp16: 11 bits of mantissa in onnxruntime's tensors.
    "centernet_mbv3_coco": 1e-3,
    "fastestdet_352": 1e-3,
    "nanodet_m_320": 1e-3,
    "ultraface_rfb_320": 1e-3,
    "yolox_nano": 1e-3,
    "yolox_nano_fp16": 2e-2,
    "yunet_n_dynamic": 1e-3,
}
PIXELS = frozenset({"centernet_mbv3_coco", "yolox_nano", "yolox_nano_fp16", "yunet_n_dynamic"})
"""Networks that take values from 0 to 255."""
DIMS = {"batch": 2, "height": 96, "width": 160}
HEAVY = frozenset({"Conv", "Gemm", "MatMul"})
LEAST_ON_DEVICE = 0.95


def against_onnxruntime(path: Path, device: str, tolerance: float) -> None:
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    # Its own fusions are checked by its own tests; the plain graph is the reference.
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    peer = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    with clnn.InferenceSession(path, devices=device) as session:
        args = session.get_inputs()
        dims = DIMS if any(dim in DIMS for arg in args for dim in arg.shape) else {}
        feeds = random_feeds(args, bound_shapes(args, dims), np.random.default_rng(1))
        if path.stem in PIXELS:
            feeds = {name: (255 * array).astype(array.dtype) for name, array in feeds.items()}
        expected = peer.run(None, feeds)
        for arg, a, b in zip(session.get_outputs(), session.run(None, feeds), expected, strict=True):
            assert a.shape == b.shape, arg
            assert a.dtype == b.dtype, arg
            assert relative_error(a, b) < tolerance, arg
        on_device(session)


def on_device(session: clnn.InferenceSession) -> None:
    """All products and nearly all other nodes run in kernels."""
    plan = session.plan()
    on_host = [node for node in plan.graph.nodes if plan.schedule.place(node.name) == HOST]
    assert not [str(node) for node in on_host if node.op in HEAVY]
    share = 1 - len(on_host) / len(plan.graph.nodes)
    assert share >= LEAST_ON_DEVICE, [str(node) for node in on_host]


@pytest.mark.parametrize("name", TRAINED)
def test_trained(test_data: Path, clnn_device: str, name: str):
    against_onnxruntime(test_data / "models" / f"{name}.onnx", clnn_device, TRAINED[name])


@pytest.mark.parametrize("name", sorted(path.stem for path in LIGHT.glob("*.onnx")))
def test_light(clnn_device: str, name: str):
    against_onnxruntime(LIGHT / f"{name}.onnx", clnn_device, 1e-3)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_benchmark_networks(clnn_device: str, name: str, tmp_path: Path):
    path = tmp_path / f"{name}.onnx"
    size = {} if name != "yolov8n" else {"size": 320}
    onnx.save(networks.NETWORKS[name](**size), path)
    against_onnxruntime(path, clnn_device, 1e-3)


@pytest.mark.parametrize("name", sorted(TRAINED))
def test_trained_networks_in_bands(clnn_device, test_data, name):
    """The same bits with all the chains that save memory."""
    path, results, chains = test_data / "models" / f"{name}.onnx", [], 0
    for chain in ("off", "on"):
        with clnn.InferenceSession(path, devices=clnn_device, options={"chain": chain}) as session:
            args = session.get_inputs()
            dims = {"batch": 1, "height": 416, "width": 352}
            dims = dims if any(dim in dims for arg in args for dim in arg.shape) else {}
            results.append(session.run(None, random_feeds(args, bound_shapes(args, dims), np.random.default_rng(1))))
            chains = sum(each.taken for each in session.plan().lowered.chains)
    assert chains
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
