"""Gathering and scattering on every device, against onnx's reference evaluator or NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from tests.device.layouts import check_layouts
from tests.support import check_node

RNG = np.random.default_rng(14)
SHAPE = (3, 5, 7, 18)


def array(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_gather(clnn_device, axis, dtype):
    size = SHAPE[axis]
    check_layouts(clnn_device, "Gather", [array(*SHAPE), np.array(size - 1, dtype)], axis=axis)
    for shape in ((4,), (2, 3), (0,)):
        indices = RNG.integers(-size, size, shape).astype(dtype)
        check_layouts(clnn_device, "Gather", [array(*SHAPE), indices], axis=axis)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_elements(clnn_device, axis):
    x, size = array(*SHAPE), SHAPE[axis]
    shape = [4 if i == axis % 4 else n for i, n in enumerate(SHAPE)]
    indices = RNG.integers(-size, size, shape)
    expected = np.take_along_axis(x, indices, axis)
    check_layouts(clnn_device, "GatherElements", [x, indices], axis=axis, expected=[expected])


@pytest.mark.parametrize(("batch", "depth"), [(0, 1), (0, 4), (1, 1), (1, 2), (2, 2)])
def test_gather_nd(clnn_device, batch, depth):
    sizes = SHAPE[batch : batch + depth]
    indices = np.stack([RNG.integers(-n, n, (*SHAPE[:batch], 6)) for n in sizes], -1)
    check_layouts(clnn_device, "GatherND", [array(*SHAPE), indices], batch_dims=batch)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float16", "int64"])
def test_gather_of_every_element_size(clnn_device, dtype):
    x = (array(2, 4, 40) * 3).astype(dtype)
    check_node(clnn_device, "Gather", [x, np.array([1, 0, 3])], axis=1)


def test_indices_out_of_range_stay_inside(clnn_device):
    """ONNX leaves the result open; a kernel must not read beyond the tensor, and takes the nearest element."""
    x = array(*SHAPE)
    check_node(clnn_device, "Gather", [x, np.array([99, -99])], axis=1, expected=[x[:, [4, 0]]])


def test_scatter_nd(clnn_device):
    indices = np.array([[0, 1], [2, 4], [1, -1]])
    check_layouts(clnn_device, "ScatterND", [array(*SHAPE), indices, array(3, 7, 18)])


def test_scatter_elements(clnn_device):
    x, updates = array(*SHAPE), array(3, 4, 7, 18)
    indices = np.argsort(RNG.random(SHAPE), axis=1)[:, :4]
    expected = x.copy()
    np.put_along_axis(expected, indices, updates, 1)
    check_layouts(clnn_device, "ScatterElements", [x, indices, updates], axis=1, expected=[expected])


def test_scattering_out_of_range_writes_nothing(clnn_device):
    x, updates = array(*SHAPE), array(3, 7, 18)
    expected = x.copy()
    expected[0, 0] = updates[2]
    indices = np.array([[9, 1], [0, 99], [0, 0]])
    check_node(clnn_device, "ScatterND", [x, indices, updates], expected=[expected])


def test_reductions_run_on_the_host(clnn_device):
    inputs = [array(4), np.array([[1], [1]]), array(2)]
    check_node(clnn_device, "ScatterND", inputs, reduction="add", on_device=False)


def test_gather_on_gpus(clnn_device, as_gpu):
    check_node(clnn_device, "Gather", [array(*SHAPE), np.array([[1, 0], [3, -1]])], axis=1)
