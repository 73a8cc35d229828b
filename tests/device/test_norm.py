"""Normalisations on every device, against onnx's reference evaluator; one launch each."""

from __future__ import annotations

import numpy as np
import pytest

from clnn import InferenceSession
from clnn.plan import Run
from tests.device.layouts import check_layouts
from tests.support import check_node, node_model

RNG = np.random.default_rng(9)

# fp32 sums of some hundred terms around 1
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def f32(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, np.float32)


SHAPES = [(2, 6, 5, 7), (1, 40, 3, 3), (3, 18, 1, 1), (2, 4, 37), (2, 6, 2, 3, 5)]


@pytest.mark.parametrize("shape", SHAPES)
def test_per_channel(clnn_device, shape):
    x, scale, bias = f32(*shape) + 3, f32(shape[1]), f32(shape[1])
    check_layouts(clnn_device, "InstanceNormalization", [x, scale, bias], constants=(1, 2), **CLOSE)
    check_layouts(clnn_device, "GroupNormalization", [x, scale, bias], constants=(1, 2), num_groups=2, **CLOSE)
    per_group = {"opset": 18, "num_groups": 2, **CLOSE}
    check_node(clnn_device, "GroupNormalization", [x, scale[:2], bias[:2]], constants=(1, 2), **per_group)


@pytest.mark.parametrize("axis", [-1, 1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_behind_an_axis(clnn_device, shape, axis):
    x, behind = f32(*shape), shape[axis:]
    check_layouts(clnn_device, "LayerNormalization", [x, f32(*behind), f32(*behind)], axis=axis, **CLOSE)
    check_layouts(clnn_device, "RMSNormalization", [x, f32(*behind)], axis=axis, **CLOSE)


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[-1]])
def test_affine_parts_that_are_missing_or_broadcast(clnn_device, shape):
    for axis in (-1, 1, 2):
        x, behind = f32(*shape), shape[axis:]
        for affine in ([f32(*behind)], [f32(1), f32(*behind[:-1], 1)]):
            check_layouts(clnn_device, "LayerNormalization", [x, *affine], axis=axis, **CLOSE)


def test_as_on_a_gpu(clnn_device, as_gpu):
    for shape in SHAPES[:3]:
        check_layouts(clnn_device, "InstanceNormalization", [f32(*shape), f32(shape[1]), f32(shape[1])], **CLOSE)
        check_layouts(clnn_device, "LayerNormalization", [f32(*shape), f32(shape[-1]), f32(shape[-1])], **CLOSE)


def test_statistics(clnn_device):
    check_node(clnn_device, "LayerNormalization", [f32(3, 5, 21), f32(21), f32(21)], outputs=3, **CLOSE)


def test_a_mean_far_from_zero(clnn_device):
    """The variance is that of the differences to the mean; E[x²] - E[x]² would have no correct digit here."""
    x = f32(4, 768) + np.float32(1000)
    exact = x.astype(np.float64) - x.mean(axis=1, keepdims=True, dtype=np.float64)
    exact /= np.sqrt(np.square(exact).mean(axis=1, keepdims=True) + 1e-5)
    inputs = [x, np.ones(768, np.float32), np.zeros(768, np.float32)]
    # the mean of numbers around 1000 is known to 1e-4 of their deviation
    check_node(clnn_device, "LayerNormalization", inputs, expected=[exact.astype(np.float32)], rtol=0, atol=3e-4)


@pytest.mark.parametrize(
    ("op", "shape", "affine", "attrs"),
    [
        ("LayerNormalization", (2, 50, 64), (64, 64), {}),
        ("RMSNormalization", (2, 50, 64), (64,), {}),
        ("InstanceNormalization", (2, 16, 9, 9), (16, 16), {}),
        ("GroupNormalization", (2, 16, 9, 9), (16, 16), {"num_groups": 4}),
        ("GlobalAveragePool", (2, 16, 9, 9), (), {}),
    ],
)
def test_one_launch(clnn_device, op, shape, affine, attrs):
    inputs = [f32(*shape), *(f32(size) for size in affine)]
    model = node_model(op, inputs, constants=range(1, len(inputs)), **attrs)
    with InferenceSession(model, devices=clnn_device) as session:
        session.run(None, {"x0": inputs[0]})
        launches = [step for step in session.plan().steps if isinstance(step, Run) and step.node == op.lower()]
    assert len(launches) == 1
