"""TopK on every device, against onnx's reference evaluator; values are copied, so they are exact."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support import check_node

RNG = np.random.default_rng(15)


def check_topk(device: str, x: np.ndarray, k: int, **attrs) -> None:
    check_node(device, "TopK", [x, np.array([k])], constants=(1,), outputs=2, rtol=0, atol=0, **attrs)


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize(("shape", "axis"), [((20,), 0), ((3, 17), 1), ((3, 17), 0), ((2, 5, 7, 3), 1), ((1, 1), -1)])
def test_topk(clnn_device, shape, axis, largest):
    length = shape[axis]
    for k in sorted({1, length // 2, length}):
        check_topk(clnn_device, RNG.standard_normal(shape).astype(np.float32), k, axis=axis, largest=largest)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int8, np.uint8])
@pytest.mark.parametrize("largest", [0, 1])
def test_first_of_equals_is_ahead(clnn_device, dtype, largest):
    x = RNG.integers(0, 4, (3, 90)).astype(dtype)
    check_topk(clnn_device, x, 40, largest=largest)


@pytest.mark.parametrize("k", [1, 100, 3000])
def test_long_rows_in_chunks(clnn_device, k):
    check_topk(clnn_device, RNG.standard_normal((1, 100_003)).astype(np.float32), k)


@pytest.mark.parametrize("largest", [0, 1])
def test_special_values(clnn_device, largest):
    x = RNG.standard_normal(50_000).astype(np.float32)
    x[[7, 8, 9, 10]] = np.inf, -np.inf, -0.0, 0.0
    check_topk(clnn_device, x, 10, largest=largest)
    check_topk(clnn_device, np.array([-0.0, 0.0, -0.0, 0.0, 1.0], np.float32), 4, largest=largest)
    check_topk(clnn_device, np.full(40_000, np.inf, np.float32), 20, largest=largest)


def test_not_a_number_counts_as_the_largest(clnn_device):
    x = RNG.standard_normal(9).astype(np.float32)
    x[4] = np.nan
    check_topk(clnn_device, x, 3)


def test_k_as_an_attribute(clnn_device):
    x = RNG.standard_normal((4, 9)).astype(np.float32)
    order = np.argsort(-x, axis=1, kind="stable")[:, :3]
    expected = [np.take_along_axis(x, order, 1), order]
    check_node(clnn_device, "TopK", [x], k=3, axis=1, opset=9, outputs=2, expected=expected)


def test_nothing_wanted(clnn_device):
    check_topk(clnn_device, np.zeros((3, 5), np.float32), 0)


def test_topk_on_gpus(clnn_device, as_gpu):
    check_topk(clnn_device, RNG.standard_normal((2, 9000)).astype(np.float32), 10)
