"""Gemm on every device, against onnx's reference evaluator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clnn.runtime import selection
from tests.support import check_node

RNG = np.random.default_rng(8)

# A, B, C, attributes
CASES = [
    ((5, 7), (7, 9), (9,), {}),
    ((5, 7), (7, 9), None, {}),
    ((7, 5), (7, 9), (5, 9), {"transA": 1, "alpha": 0.5, "beta": 0.25}),
    ((5, 7), (9, 7), (5, 1), {"transB": 1, "beta": 2.0}),
    ((7, 33), (70, 7), (1, 70), {"transA": 1, "transB": 1, "beta": 0.5}),
    ((1, 300), (300, 130), (), {}),
    ((1, 30), (30, 13), (1,), {"beta": 0.5}),
    ((20, 30), (30, 1), (20, 1), {}),
    ((13, 5), (5, 64), (13, 64), {}),
    ((1, 1), (1, 1), (1, 1), {}),
    ((4, 8), (8, 6), (1, 1), {"alpha": 2.0}),
    ((0, 5), (5, 6), (6,), {}),
]


def check_gemm(device, a, b, c, attrs, constants):
    inputs = [None if shape is None else RNG.standard_normal(shape, np.float32) for shape in (a, b, c)]
    constants = [index for index in constants if inputs[index] is not None]
    # sums of up to 300 products: see tolerance() in test_conv.py
    check_node(device, "Gemm", inputs, constants=constants, atol=6e-5, **attrs)


@pytest.mark.parametrize("constants", [(1, 2), (), (0,)], ids=["weights", "nothing", "left"])
@pytest.mark.parametrize(("a", "b", "c", "attrs"), CASES)
def test_gemm(clnn_device, a, b, c, attrs, constants):
    check_gemm(clnn_device, a, b, c, attrs, constants)


@pytest.mark.parametrize(("a", "b", "c", "attrs"), CASES[2:7])
def test_kernel_for_gpus(clnn_device, monkeypatch, a, b, c, attrs):
    select = selection.select

    def as_gpu(*args, **kwargs):
        return [replace(opened, info=replace(opened.info, kind="gpu")) for opened in select(*args, **kwargs)]

    monkeypatch.setattr(selection, "select", as_gpu)
    check_gemm(clnn_device, a, b, c, attrs, (1, 2))


def test_old_opset(clnn_device):
    inputs = [RNG.standard_normal(shape, np.float32) for shape in [(3, 4), (4, 5), (5,)]]
    check_node(clnn_device, "Gemm", inputs, constants=(1, 2), opset=7, atol=1e-6)


def test_integers_run_on_the_host(clnn_device):
    inputs = [RNG.integers(-5, 5, shape, np.int32) for shape in [(3, 4), (4, 5), (5,)]]
    check_node(clnn_device, "Gemm", inputs, on_device=False)
