"""Operators that move elements, on every device and in both layouts, against onnx's reference evaluator."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from tests.device.layouts import check_layouts
from tests.support import check_node

RNG = np.random.default_rng(11)


def array(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    "perm", list(permutations(range(3))) + [(0, 2, 3, 1), (0, 3, 1, 2), (3, 2, 1, 0), (1, 0, 3, 2)]
)
def test_transpose(clnn_device, perm):
    check_layouts(clnn_device, "Transpose", [array(*(2, 19, 33, 5)[: len(perm)])], perm=list(perm))


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (0, 3), (40, 50), (17, 64), (2, 1, 33)])
def test_transpose_reverses_by_default(clnn_device, shape):
    check_node(clnn_device, "Transpose", [array(*shape)])


@pytest.mark.parametrize("dtype", ["int8", "bool", "float16", "int32", "int64", "float64"])
def test_transpose_of_every_element_size(clnn_device, dtype):
    check_node(clnn_device, "Transpose", [(array(2, 33, 17, 20) * 3).astype(dtype)], perm=[0, 2, 3, 1])


def test_transpose_of_more_dimensions_than_the_kernel_has(clnn_device):
    check_node(clnn_device, "Transpose", [array(2, 3, 2, 3, 2, 3, 2, 2)], perm=[7, 2, 1, 0, 4, 3, 6, 5])


@pytest.mark.parametrize("perm", [(0, 2, 3, 1), (2, 0, 1, 3)])
def test_transpose_on_gpus(clnn_device, as_gpu, perm):
    check_layouts(clnn_device, "Transpose", [array(2, 19, 33, 5)], perm=list(perm))


@pytest.mark.parametrize(
    "shape",
    [(2, 12, 24), (2, -1), (0, 0, -1), (24, 4, 6), (2, 3, 4, 4, 6), (2, 12, 2, 2, 6), (1, 2, 12, 4, 6), (576,)],
)
def test_reshape(clnn_device, shape):
    check_layouts(clnn_device, "Reshape", [array(2, 12, 4, 6), ints(*shape)], constants=(1,))


def test_reshape_to_an_empty_shape(clnn_device):
    empty = np.zeros((0, 5), np.float32)
    check_node(clnn_device, "Reshape", [array(2, 0, 3), ints(0, 5)], constants=(1,), allowzero=1, expected=[empty])


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_flatten(clnn_device, axis):
    x = array(2, 12, 4, 6)
    expected = x.reshape(int(np.prod(x.shape[:axis])), -1)
    check_layouts(clnn_device, "Flatten", [x], axis=axis, expected=[expected])


def test_squeeze_and_unsqueeze(clnn_device):
    check_layouts(clnn_device, "Squeeze", [array(2, 1, 3, 1), ints(1, -1)], constants=(1,))
    check_layouts(clnn_device, "Squeeze", [array(2, 1, 3, 1)])
    check_layouts(clnn_device, "Squeeze", [array(1, 5, 1, 1)], axes=[2, 3], opset=11)
    check_layouts(clnn_device, "Unsqueeze", [array(2, 3, 4), ints(0, -1)], constants=(1,))
    check_layouts(clnn_device, "Unsqueeze", [array(2, 3, 4)], axes=[1, 3], opset=11)


def test_dropout_with_its_mask(clnn_device):
    check_layouts(clnn_device, "Dropout", [array(2, 18, 5)], outputs=2)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_concat(clnn_device, axis):
    shapes = [[length if i == axis % 4 else size for i, size in enumerate((2, 18, 5, 7))] for length in (3, 1, 40, 0)]
    check_layouts(clnn_device, "Concat", [array(*shape) for shape in shapes], axis=axis)


def test_concat_of_both_layouts(clnn_device):
    """The operand of two dimensions more comes from an Unsqueeze-like shape, the other from a pooling window."""
    x, constant = array(2, 18, 5, 7), array(2, 3, 5, 7)
    check_layouts(clnn_device, "Concat", [x, constant], constants=(1,), axis=1)


@pytest.mark.parametrize("axis", [0, 1, 3, -2])
def test_split(clnn_device, axis):
    x = array(*(10 if i == axis % 4 else size for i, size in enumerate((2, 18, 5, 7))))
    check_layouts(clnn_device, "Split", [x, ints(3, 0, 7)], axis=axis, outputs=3, constants=(1,))
    check_layouts(clnn_device, "Split", [x], axis=axis, outputs=3, num_outputs=3)
    check_layouts(clnn_device, "Split", [x], axis=axis, outputs=2, split=[4, 6], opset=12)
    check_layouts(clnn_device, "Split", [x], axis=axis, outputs=2, opset=12)


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ([1], [5], [3], None),
        ([0, 1], [2, -1], None, None),
        ([-1], [-(2**40)], [2], [-1]),
        ([0], [2**62], [3], [2]),
        ([10, 2], [0, 9], [2, 1], [-3, 2]),
        ([5], [3], [1], None),
        ([-100, 3], [100, 4], [-1, -2], [1, 1]),
        ([0, 1], [11, 13], [2, 3], [2, 2]),
    ],
)
def test_slice(clnn_device, starts, ends, axes, steps):
    settings = [None if setting is None else ints(*setting) for setting in (starts, ends, axes, steps)]
    while settings[-1] is None:
        settings.pop()
    check_layouts(clnn_device, "Slice", [array(2, 9, 11, 13), *settings], constants=(1, 2, 3, 4))


def test_slice_by_attributes(clnn_device):
    check_layouts(clnn_device, "Slice", [array(2, 9, 11)], starts=[1, 0], ends=[9, 2], axes=[1, 2], opset=9)


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((3, 1), (2, 1, 6)),
        ((), (2, 3)),
        ((2, 3, 1, 5), (2, 3, 4, 5)),
        ((2, 1, 4, 5), (1, 17, 1, 1)),
        ((3, 4), (1,)),
        ((1, 3, 1, 1), (2, 1, 33, 20)),
        ((2, 0), (1, 1)),
    ],
)
def test_expand(clnn_device, shape, wanted):
    check_layouts(clnn_device, "Expand", [array(*shape), ints(*wanted)], constants=(1,))


@pytest.mark.parametrize(
    ("shape", "repeats"),
    [((2, 3), (2, 2)), ((2, 3, 4, 5), (2, 2, 2, 2)), ((2, 3, 2, 2, 3), (2, 1, 2, 3, 2)), ((2, 3), (0, 1)), ((), ())],
)
def test_tile(clnn_device, shape, repeats):
    check_layouts(clnn_device, "Tile", [array(*shape), ints(*repeats)], constants=(1,))


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(clnn_device, mode):
    check_layouts(clnn_device, "DepthToSpace", [array(2, 36, 3, 5)], blocksize=3, mode=mode)


def test_space_to_depth(clnn_device):
    x = array(2, 3, 6, 4)
    expected = x.reshape(2, 3, 3, 2, 2, 2).transpose(0, 3, 5, 1, 2, 4).reshape(2, 12, 3, 2)
    check_layouts(clnn_device, "SpaceToDepth", [x], blocksize=2, expected=[expected])


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("pads", [(0, 0, 1, 2, 0, 0, 3, 1), (1, 2, 0, 0, 0, 1, 0, 0), (0, 0, 9, 11, 0, 0, 12, 0)])
def test_pad(clnn_device, mode, pads):
    value = [np.array(1.5, np.float32)] if mode == "constant" else []
    check_layouts(clnn_device, "Pad", [array(2, 18, 5, 7), ints(*pads), *value], mode=mode, constants=(1,))


def test_pad_that_crops(clnn_device):
    x = array(2, 18, 5, 7)
    cropped = np.pad(x[:, :15, 1:, :5], ((0, 0), (0, 0), (0, 1), (2, 0)))
    check_layouts(clnn_device, "Pad", [x, ints(0, 0, -1, 2, 0, -3, 1, -2)], constants=(1,), expected=[cropped])


def test_pad_by_axes_and_by_attributes(clnn_device):
    x = array(2, 3, 20)
    check_layouts(clnn_device, "Pad", [x, ints(1, 2), None, ints(-1)], constants=(1, 3))
    wider = np.pad(x, ((0, 0), (0, 0), (1, 1)), constant_values=2.5)
    check_layouts(clnn_device, "Pad", [x], pads=[0, 0, 1, 0, 0, 1], value=2.5, opset=9, expected=[wider])


def test_pad_of_an_empty_tensor(clnn_device):
    check_node(clnn_device, "Pad", [array(0, 4), ints(2, 0, 1, 0)], constants=(1,))


def test_pad_on_gpus(clnn_device, as_gpu):
    check_layouts(clnn_device, "Pad", [array(2, 18, 5, 7), ints(1, 0, 2, 1, 0, 0, 1, 1)], constants=(1,))
