"""Pooling, resizing and TopK as data: shapes, choices, tables; no OpenCL."""

from __future__ import annotations

import numpy as np
import pytest

from clnn.devices.info import DeviceInfo
from clnn.errors import ModelFormatError
from clnn.graph import CHANNELS_LAST, PLAIN, Node, TensorType
from clnn.ops import InferContext, LowerContext, find
from clnn.ops.sampling import OUTSIDE, Sampling, sample

CPU = DeviceInfo("cpu0", compute_units=2)


def context(op: str, shape: tuple, *constants, dtype="float32", outputs=1, version=22, **attrs) -> LowerContext:
    """A node on an input of ``shape``, its types with the outputs' as far as they are given by ``infer``."""
    values = {f"x{i + 1}": np.asarray(value) for i, value in enumerate(constants) if value is not None}
    names = ("x0", *(f"x{i + 1}" if value is not None else "" for i, value in enumerate(constants)))
    types = {"x0": TensorType(shape, dtype)}
    types |= {name: TensorType(value.shape, value.dtype.name) for name, value in values.items()}
    node = Node("n", op, names, tuple(f"y{i}" for i in range(outputs)), attrs, version)
    results = find(op).infer(InferContext(node, types, values))
    types |= dict(zip(node.outputs, results, strict=True))
    return LowerContext(node, types, values, CPU)


def shape_of(op: str, shape: tuple, *constants, **settings) -> tuple:
    return context(op, shape, *constants, **settings).output().shape


@pytest.mark.parametrize(
    ("shape", "attrs", "expected"),
    [
        ((1, 64, 112, 112), {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}, (1, 64, 56, 56)),
        ((1, 64, 55, 55), {"kernel_shape": (3, 3), "strides": (2, 2), "ceil_mode": 1}, (1, 64, 27, 27)),
        ((1, 64, 56, 56), {"kernel_shape": (3, 3), "strides": (2, 2), "ceil_mode": 1}, (1, 64, 28, 28)),
        # a last window that would start in the padding is left out
        ((1, 1, 4), {"kernel_shape": (2,), "strides": (3,), "pads": (0, 3), "ceil_mode": 1}, (1, 1, 2)),
        ((1, 4, 9, 11), {"kernel_shape": (3, 3), "strides": (2, 2), "auto_pad": "SAME_LOWER"}, (1, 4, 5, 6)),
        ((1, 4, 9, 11), {"kernel_shape": (3, 4), "dilations": (2, 2)}, (1, 4, 5, 5)),
        (("N", 4, "H", 11), {"kernel_shape": (3, 3), "strides": (2, 2)}, ("N", 4, "?", 5)),
        (("N", 4, "H", 11), {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)}, ("N", 4, "H", 11)),
    ],
)
def test_pool_shapes(shape, attrs, expected):
    assert shape_of("MaxPool", shape, **attrs) == expected


@pytest.mark.parametrize(
    ("shape", "attrs", "reason"),
    [
        ((1, 4, 9, 11), {}, "'kernel_shape' is not a list of integers"),
        ((1, 4, 9, 11), {"kernel_shape": ()}, "empty"),
        ((1, 4, 9), {"kernel_shape": (3, 3)}, "2 axes does not fit"),
        ((1, 4, 2, 9), {"kernel_shape": (3, 3)}, "a window of 3 does not fit 2"),
    ],
)
def test_broken_windows_are_named(shape, attrs, reason):
    with pytest.raises(ModelFormatError, match=f"MaxPool 'n': .*{reason}"):
        shape_of("MaxPool", shape, **attrs)


@pytest.mark.parametrize(("channels", "width"), [(1, 1), (3, 2), (7, 4), (8, 8), (16, 16), (100, 16)])
def test_vectors_are_no_wider_than_the_channels(channels, width):
    ctx = context("MaxPool", (1, channels, 9, 9), kernel_shape=(3, 3))
    (launch,) = find("MaxPool").lower(ctx).launches
    assert dict(launch.params)["WIDTH"] == width


def test_pool_wants_channels_last_and_counts_its_taps():
    ctx = context("AveragePool", (1, 8, 6, 6), kernel_shape=(3, 3))
    assert find("AveragePool").layouts(ctx).inputs == (CHANNELS_LAST,)
    assert find("AveragePool").cost(ctx.node, ctx.types).flops == 8 * 4 * 4 * 9


@pytest.mark.parametrize(
    ("op", "dtype", "shape", "kernel", "reason"),
    [
        ("AveragePool", "int8", (1, 2, 6), (3,), "dtype int8"),
        ("MaxPool", "float64", (1, 2, 6), (3,), "dtype float64"),
        ("MaxPool", "float32", (1, 2, 6, 6, 6, 6), (1,) * 4, "4 spatial axes"),
    ],
)
def test_pool_obstacles(op, dtype, shape, kernel, reason):
    assert reason in find(op).obstacle(context(op, shape, dtype=dtype, kernel_shape=kernel))


F32 = np.float32


@pytest.mark.parametrize(
    ("constants", "attrs", "expected"),
    [
        ((None, F32([1, 1, 2, 1.5])), {}, (1, 4, 10, 10)),
        # 0.7 · 10 is 7 in float32, and a little less with the float32 value of 0.7 in float64
        ((None, F32([1, 1, 2, 0.7])), {"shape": (1, 4, 5, 10)}, (1, 4, 10, 7)),
        ((None, F32([]), np.array([1, 4, 9, 3])), {}, (1, 4, 9, 3)),
        ((None, None, np.array([9, 3])), {"axes": (-1, 2)}, (1, 4, 3, 9)),
        ((None, None, np.array([20, 21])), {"axes": (2, 3), "keep_aspect_ratio_policy": "not_larger"}, (1, 4, 15, 21)),
        ((None, F32([1, 1, 2, 2])), {"shape": ("N", 4, "H", 7)}, ("N", 4, "?", 14)),
    ],
)
def test_resize_shapes(constants, attrs, expected):
    shape = attrs.pop("shape", (1, 4, 5, 7))
    assert shape_of("Resize", shape, *constants, **attrs) == expected


@pytest.mark.parametrize(
    ("constants", "attrs", "reason"),
    [
        ((None, F32([1, 1, 2])), {}, "do not fit 4 axes"),
        ((None, F32([1, 1, 0, 2])), {}, "not positive"),
        ((None, F32([1, 1, np.inf, 2])), {}, "not positive"),
        ((None, None, np.array([1, 4, -1, 2])), {}, "negative"),
        ((), {}, "do not fit"),
        ((None, None, np.array([1, 4, 2, 2])), {"keep_aspect_ratio_policy": "shrink"}, "'shrink' is none of"),
    ],
)
def test_broken_resizes_are_named(constants, attrs, reason):
    with pytest.raises(ModelFormatError, match=f"Resize 'n': .*{reason}"):
        shape_of("Resize", (1, 4, 5, 7), *constants, **attrs)


@pytest.mark.parametrize(("scales", "layout"), [([1, 1, 2, 2], CHANNELS_LAST), ([1, 2, 2, 2], PLAIN)])
def test_resize_wants_vectors_over_the_channels(scales, layout):
    ctx = context("Resize", (1, 4, 5, 7), None, F32(scales))
    assert find("Resize").layouts(ctx).outputs == (layout,)


def test_resize_to_the_same_size_shares_memory():
    ctx = context("Resize", (1, 4, 5, 7), None, None, np.array([1, 4, 5, 7]), mode="cubic")
    assert find("Resize").lower(ctx).alias == {"y0": "x0"}


def test_three_axes_are_resized_in_two_launches():
    ctx = context("Resize", (1, 4, 3, 5, 6), None, F32([1, 1, 2, 2, 2]), mode="linear")
    lowered = find("Resize").lower(ctx)
    assert len(lowered.launches) == 2
    assert list(lowered.scratch.values()) == [4 * 4 * 6 * 10 * 6]


def test_linear_resizing_of_integers_runs_on_the_host():
    ctx = context("Resize", (1, 4, 5, 7), None, F32([1, 1, 2, 2]), dtype="uint8", mode="linear")
    assert "mode linear of dtype uint8" in find("Resize").obstacle(ctx)


def test_nearest_neighbours_before_opset_11():
    how = Sampling(coordinates="asymmetric", nearest="simple")
    assert sample(how, 4, 2, 0.6).positions.ravel().tolist() == [0, 2]
    assert sample(how, 4, 6, 1.5).positions.ravel().tolist() == [0, 0, 1, 2, 2, 3]


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("scale", [0.3, 0.5, 1.0, 2.5])
@pytest.mark.parametrize("antialias", [False, True])
def test_weights_add_up_to_one(mode, scale, antialias):
    taps = sample(Sampling(mode, antialias=antialias), 20, int(20 * scale), scale)
    np.testing.assert_allclose(taps.weights.sum(1), 1, rtol=1e-12)  # float64 rounding of a few terms
    assert taps.positions.min() >= 0
    assert taps.positions.max() < 20


def test_positions_beyond_a_crop_are_outside():
    how = Sampling("linear", coordinates="tf_crop_and_resize")
    positions = sample(how, 5, 5, 1.0, (0.0, 2.0)).positions
    assert (positions[3:] == OUTSIDE).all()
    assert (positions[:3] >= 0).all()


@pytest.mark.parametrize(
    ("shape", "k", "attrs", "expected"),
    [((2, 9), [3], {}, (2, 3)), (("N", 9), [3], {"axis": 0}, (3, 9)), ((2, 9), [0], {}, (2, 0))],
)
def test_topk_shapes(shape, k, attrs, expected):
    ctx = context("TopK", shape, k, outputs=2, **attrs)
    assert [ctx.output(i) for i in (0, 1)] == [TensorType(expected, "float32"), TensorType(expected, "int64")]


@pytest.mark.parametrize("k", [[10], [-1], [1, 2]])
def test_topk_of_more_than_there_is(k):
    with pytest.raises(ModelFormatError, match="TopK 'n'"):
        shape_of("TopK", (2, 9), k, outputs=2)


@pytest.mark.parametrize(
    ("shape", "k", "chunks"),
    [((1, 1_310_720), 100, 8), ((1, 9000), 100, 2), ((1, 9000), 4000, 1), ((64, 100_000), 10, 1)],
)
def test_long_rows_are_searched_in_chunks(shape, k, chunks):
    ctx = context("TopK", shape, [k], outputs=2)
    lowered = find("TopK").lower(ctx)
    assert lowered.launches[0].global_size == (chunks, shape[0])
    assert lowered.scratch == {"y0/heaps": 8 * shape[0] * chunks * k}


def test_topk_of_long_integers_runs_on_the_host():
    assert "int64" in find("TopK").obstacle(context("TopK", (2, 9), [3], dtype="int64", outputs=2))


@pytest.mark.parametrize(
    ("coordinates", "nearest", "size", "out", "scale", "at", "expected"),
    [
        ("asymmetric", "floor", 20, 34, 1.7, 17, 10),
        ("asymmetric", "ceil", 20, 18, 0.9, 9, 10),
        ("half_pixel", "floor", 20, 12, 0.6, 10, 17),
    ],
)
def test_a_position_that_is_whole_in_float32_is_whole(coordinates, nearest, size, out, scale, at, expected):
    # As onnxruntime and the frameworks have it; in float64 each is off by a little, and becomes its neighbour.
    taps = sample(Sampling("nearest", coordinates, nearest), size, out, float(np.float32(scale)))
    assert taps.positions[at, 0] == expected
