"""Pooling on every device, against onnxruntime or onnx's reference evaluator.

onnxruntime is the reference where onnx's own has faults: it shifts windows in ``ceil_mode``, rounds SAME_LOWER down
and puts its padding at the wrong end.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.support import check_node, node_model

RNG = np.random.default_rng(12)

# channels below, at and above the widths of a vector; one to three spatial axes
SHAPES = [
    ((2, 1, 9), (3,)),
    ((1, 3, 7, 9), (3, 2)),
    ((2, 5, 13, 13), (5, 5)),
    ((1, 40, 7, 9), (3, 3)),
    ((1, 70, 4, 5), (1, 4)),
    ((2, 18, 5, 6, 7), (2, 3, 2)),
]


def array(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def by_onnxruntime(op_type: str, x: np.ndarray, outputs: int = 1, **attrs) -> list[np.ndarray]:
    model = onnx.shape_inference.infer_shapes(node_model(op_type, [x], opset=22, outputs=outputs, **attrs))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x0": x})


def check_pool(device: str, op_type: str, x: np.ndarray, **attrs) -> None:
    """Sums of at most a few dozen normal numbers in float32."""
    expected = by_onnxruntime(op_type, x, **attrs)
    check_node(device, op_type, [x], expected=expected, opset=22, rtol=1e-5, atol=1e-5, **attrs)


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize(("shape", "kernel"), SHAPES)
def test_pool(clnn_device, op_type, shape, kernel, ceil_mode):
    axes = len(kernel)
    strides, pads = [2] * axes, [0] * axes + [1] * axes if min(kernel) > 1 else [0] * 2 * axes
    check_pool(
        clnn_device, op_type, array(*shape), kernel_shape=kernel, strides=strides, pads=pads, ceil_mode=ceil_mode
    )


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize(("shape", "kernel"), [SHAPES[2], SHAPES[3], SHAPES[5]])
def test_dilated(clnn_device, op_type, shape, kernel):
    axes = len(kernel)
    check_pool(clnn_device, op_type, array(*shape), kernel_shape=kernel, dilations=[2] * axes, pads=[1] * axes * 2)


@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 2, 1]])
def test_average_with_the_padding(clnn_device, pads, ceil_mode):
    settings = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": pads, "ceil_mode": ceil_mode}
    check_pool(clnn_device, "AveragePool", array(1, 20, 8, 9), count_include_pad=1, **settings)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_automatic_padding(clnn_device, auto_pad, stride):
    settings = {"kernel_shape": [3, 4], "strides": [stride] * 2, "auto_pad": auto_pad}
    check_pool(clnn_device, "AveragePool", array(1, 4, 9, 11), count_include_pad=1, **settings)
    check_pool(clnn_device, "MaxPool", array(1, 4, 9, 11), **settings)


@pytest.mark.parametrize("storage_order", [0, 1])
@pytest.mark.parametrize(("shape", "kernel"), [SHAPES[0], SHAPES[1], SHAPES[3]])
def test_indices_of_the_maxima(clnn_device, shape, kernel, storage_order):
    x = RNG.integers(-2, 2, shape).astype(np.float32)  # many equal ones, of which the first counts
    settings = {"kernel_shape": kernel, "storage_order": storage_order, "outputs": 2}
    check_pool(clnn_device, "MaxPool", x, **settings)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_maximum_of_bytes(clnn_device, dtype):
    x = RNG.integers(0, 255, (1, 18, 6, 7)).astype(dtype)
    check_pool(clnn_device, "MaxPool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1])


@pytest.mark.parametrize("p", [1, 3])
def test_other_norms(clnn_device, p):
    check_pool(clnn_device, "LpPool", array(1, 20, 6, 7), kernel_shape=[3, 2], p=p)


def test_all_of_many_channels_in_one_window(clnn_device):
    """One output pixel: the channels are dealt out to the compute units."""
    check_pool(clnn_device, "AveragePool", array(1, 700, 7, 7), kernel_shape=[7, 7])


def test_empty_batch(clnn_device):
    x = array(0, 3, 5, 5)
    expected = np.zeros((0, 3, 4, 4), np.float32)
    check_node(clnn_device, "MaxPool", [x], kernel_shape=[2, 2], expected=[expected])


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
def test_pool_on_gpus(clnn_device, as_gpu, op_type):
    check_pool(clnn_device, op_type, array(2, 5, 9, 8), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
