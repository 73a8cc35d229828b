"""Operators that move elements, as data: shapes, layouts, aliases, launches; no OpenCL."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clnn.devices.info import DeviceInfo
from clnn.errors import ModelFormatError, UnsupportedError
from clnn.graph import CHANNELS_LAST, PLAIN, Node, TensorType
from clnn.ops import InferContext, LowerContext, find
from clnn.ops.reshape import free_layout, reshaped_strides
from clnn.ops.strided import View, copy

CPU = DeviceInfo("cpu0", compute_units=2)
GPU = DeviceInfo("gpu0", kind="gpu", compute_units=20)


def make(op: str, *inputs, outputs: int = 1, version: int = 22, **attrs) -> InferContext:
    """A node; a tuple is the shape of a float32 input, a list the value of a constant int64 input."""
    names = tuple("" if value is None else f"x{i}" for i, value in enumerate(inputs))
    types, constants = {}, {}
    for name, value in zip(names, inputs, strict=True):
        if isinstance(value, list):
            constants[name] = np.array(value, np.int64)
            types[name] = TensorType((len(value),), "int64")
        elif value is not None:
            types[name] = TensorType(value, "float32")
    node = Node("n", op, names, tuple(f"y{i}" for i in range(outputs)), attrs, version)
    return InferContext(node, types, constants)


def shapes(op: str, *inputs, **settings) -> list[tuple]:
    ctx = make(op, *inputs, **settings)
    return [kind.shape for kind in find(op).infer(ctx)]


def lowered(op: str, *inputs, layout: str = PLAIN, device: DeviceInfo = CPU, **settings):
    """The context with layouts assigned to a node whose first input comes in ``layout``, and the lowered node."""
    ctx = make(op, *inputs, **settings)
    types = dict(ctx.types)
    types.update(zip(ctx.node.outputs, find(op).infer(ctx), strict=True))
    types["x0"] = types["x0"].with_layout(layout)
    context = LowerContext(ctx.node, types, ctx.constants, device)
    wanted = find(op).layouts(context)
    names, choices = ctx.node.inputs + ctx.node.outputs, wanted.inputs + wanted.outputs
    for name, choice in zip(names, choices, strict=True):
        if name and choice:
            types[name] = types[name].with_layout(choice)
    assert find(op).obstacle(context) is None
    return context, find(op).lower(context)


@pytest.mark.parametrize(
    ("shape", "wanted", "expected"),
    [
        ((2, 12, 4), [0, -1], (2, 48)),
        ((2, 12, 4), [-1], (96,)),
        (("N", 3549, 85), [-1, 3549, 85], ("N", 3549, 85)),
        (("N", 4, "H"), [0, 4, -1], ("N", 4, "H")),
        (("N", 4, "H"), [0, 2, -1], ("N", 2, "?")),
        (("N", 4, "H", "W"), [0, 4, -1], ("N", 4, "?")),
    ],
)
def test_reshape_shapes(shape, wanted, expected):
    assert shapes("Reshape", shape, wanted) == [expected]


def test_reshape_allowing_zeros():
    assert shapes("Reshape", (2, 0, 3), [0, 5], allowzero=1) == [(0, 5)]


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "expected"),
    [
        ("Flatten", (("N", 3, 4),), {}, [("N", 12)]),
        ("Flatten", ((2, "C", "H"),), {}, [(2, "?")]),
        ("Flatten", ((2, 3, 4),), {"axis": 0}, [(1, 24)]),
        ("Squeeze", ((1, "N", 1), [0]), {}, [("N", 1)]),
        ("Squeeze", ((1, 3, 1),), {}, [(3,)]),
        ("Squeeze", ((1, "N", 1),), {}, [None]),
        ("Unsqueeze", (("N", 3), [0, -1]), {}, [(1, "N", 3, 1)]),
        ("Transpose", (("N", 3, 4),), {"perm": (0, 2, 1)}, [("N", 4, 3)]),
        ("Transpose", ((2, 3, 4),), {}, [(4, 3, 2)]),
        ("DepthToSpace", (("N", 12, "H", 5),), {"blocksize": 2}, [("N", 3, "?", 10)]),
        ("SpaceToDepth", (("N", 3, 4, 6),), {"blocksize": 2}, [("N", 12, 2, 3)]),
        ("Concat", (("N", 3, 4), ("N", 5, 4)), {"axis": 1}, [("N", 8, 4)]),
        ("Concat", (("N", "A", 4), (2, 5, 4)), {"axis": -2}, [(2, "?", 4)]),
        ("Slice", (("N", 10, 7), [1, -3], [5, 2**62], [1, 2]), {}, [("N", 4, 3)]),
        ("Slice", (("N", 10, "W"), [0], [2**62], [2]), {}, [("N", 10, "W")]),
        ("Slice", (("N", 10, "W"), [1], [2**62], [2]), {}, [("N", 10, "?")]),
        ("Slice", ((9,), [-1], [-(2**62)], [0], [-2]), {}, [(5,)]),
        ("Expand", (("N", 1, 3), [2, 1, 4, 1]), {}, [(2, "N", 4, 3)]),
        ("Tile", (("N", 2, 3), [1, 2, 0]), {}, [("N", 4, 0)]),
        ("Pad", (("N", 3, "W"), [0, 1, 0, 0, -2, 0]), {}, [("N", 2, "W")]),
        ("Pad", ((4, 3), [2, 1], None, [-1]), {"mode": "edge"}, [(4, 6)]),
        ("Gather", (("N", 5, 6), (2, 3)), {"axis": 1}, [("N", 2, 3, 6)]),
        ("GatherElements", ((4, 5), (4, 2)), {"axis": 1}, [(4, 2)]),
        ("GatherND", ((2, 5, 6, 7), (2, 3, 2)), {"batch_dims": 1}, [(2, 3, 7)]),
        ("ScatterND", ((4, 5), (3, 1), (3, 5)), {}, [(4, 5)]),
        ("Shape", (("N", 3, 4),), {"start": 1}, [(2,)]),
        ("Size", (("N", 3, 4),), {}, [()]),
    ],
)
def test_shapes(op, inputs, attrs, expected):
    assert shapes(op, *inputs, **attrs) == expected


@pytest.mark.parametrize(
    ("length", "settings", "expected"),
    [
        (10, {"outputs": 3, "num_outputs": 3}, (4, 4, 2)),
        (10, {"outputs": 2}, (5, 5)),
        (10, {"outputs": 2, "split": (3, 7)}, (3, 7)),
        ("L", {"outputs": 2}, ("?", "?")),
        ("L", {"outputs": 2, "split": (3, 7)}, (3, 7)),
    ],
)
def test_split_shapes(length, settings, expected):
    assert shapes("Split", (2, length), axis=1, **settings) == [(2, piece) for piece in expected]


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "reason"),
    [
        ("Reshape", ((2, 3), [4, -1]), {}, "cannot be divided"),
        ("Reshape", ((2, 3), [-1, -1]), {}, "is not a shape"),
        ("Reshape", ((2, 3), [1, 1, 0]), {}, "keeps dimension 2 of 2"),
        ("Reshape", ((2, 3), [5]), {}, "cannot take the shape"),
        ("Flatten", ((2, 3),), {"axis": 3}, "axis 3 is outside"),
        ("Squeeze", ((2, 3), [0]), {}, "dimension 0 of \\[2, 3\\] is not 1"),
        ("Unsqueeze", ((2, 3), [0, 0]), {}, "twice"),
        ("Transpose", ((2, 3),), {"perm": (0, 0)}, "no order of 2 dimensions"),
        ("DepthToSpace", ((1, 6, 2, 2),), {"blocksize": 2}, "cannot be divided by 4"),
        ("DepthToSpace", ((1, 8, 2, 2),), {"blocksize": 0}, "not positive"),
        ("Concat", ((2, 3), (3, 3)), {"axis": 1}, "differ in dimension 0"),
        ("Concat", ((2, 3), (2, 3)), {"axis": 2}, "axis 2 lies outside"),
        ("Split", ((2, 9), [4, 4]), {"axis": 1, "outputs": 2}, "does not cut 9"),
        ("Slice", ((2, 9), [0], [1], [0], [0]), {}, "a step is 0"),
        ("Slice", ((2, 9), [0, 0], [1]), {}, "differ"),
        ("Expand", ((2, 3), [2, 4]), {}, "does not broadcast"),
        ("Tile", ((2, 3), [2]), {}, "do not fit"),
        ("Pad", ((2, 3), [0, -2, 0, -2]), {}, "less than nothing"),
        ("Pad", ((2, 3), [0, 1]), {}, "not two for each"),
        ("Pad", ((2, 3), [0] * 4), {"mode": "mirror"}, "'mirror' is none of"),
        ("Gather", ((), (2,)), {}, "from a scalar"),
        ("GatherND", ((2, 3), (4, 3)), {}, "indices of 3 numbers"),
        ("GatherND", ((2, 3), (4, 1)), {"batch_dims": 1}, "differ in the first 1 dimensions"),
    ],
)
def test_broken_models_are_named(op, inputs, attrs, reason):
    with pytest.raises(ModelFormatError, match=f"{op} 'n': .*{reason}"):
        shapes(op, *inputs, **attrs)


def test_settings_computed_at_run_time_are_left_to_the_host():
    with pytest.raises(UnsupportedError, match="computed at run time"):
        shapes("Slice", (2, 9), (1,), [1])


def test_shapes_are_folded_as_far_as_they_are_known():
    ctx = make("Shape", (2, "H", 4), start=-1)
    np.testing.assert_array_equal(find("Shape").fold(ctx)[0], [4])
    assert find("Shape").fold(make("Shape", (2, "H", 4))) is None
    assert find("Size").fold(make("Size", (2, 3, 4)))[0] == 24


@pytest.mark.parametrize(
    ("shape", "layout", "wanted", "expected"),
    [
        ((2, 12, 4, 6), CHANNELS_LAST, [2, 12, 24], CHANNELS_LAST),
        ((2, 12, 24), CHANNELS_LAST, [2, 12, 4, 6], CHANNELS_LAST),
        ((2, 12, 1, 1), CHANNELS_LAST, [2, 12], PLAIN),
        ((2, 12, 4, 6), PLAIN, [2, 3, 4, 24], PLAIN),
        ((2, 12, 4, 6), CHANNELS_LAST, [2, 288], None),
        ((2, 12, 4, 6), CHANNELS_LAST, [2, 3, 4, 4, 6], None),
        ((1, 12, 4, 6), CHANNELS_LAST, [12, 24], None),
    ],
)
def test_layouts_in_which_a_reshape_is_free(shape, layout, wanted, expected):
    source = TensorType(shape, "float32", layout)
    assert free_layout(source, TensorType(tuple(wanted), "float32")) == expected
    _, result = lowered("Reshape", shape, wanted, layout=layout)
    assert result.alias == {"y0": "x0"}
    assert not result.launches


@st.composite
def reshapes(draw) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """A shape, an order of its axes in memory, and another shape for the same elements."""
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=5)))
    order = tuple(draw(st.permutations(range(len(shape)))))
    rest, target = math.prod(shape), []
    while rest > 1:
        target.append(draw(st.sampled_from([size for size in range(2, rest + 1) if rest % size == 0])))
        rest //= target[-1]
    return shape, order, tuple(draw(st.permutations([*target, 1])))


@given(reshapes())
def test_strides_of_a_reshape_agree_with_numpy(case):
    shape, order, target = case
    memory = np.arange(math.prod(shape), dtype=np.int64).reshape([shape[axis] for axis in order])
    array = memory.transpose(np.argsort(order))
    strides = reshaped_strides(shape, [stride // 8 for stride in array.strides], target)
    view = array.reshape(target)
    assert (strides is not None) == np.shares_memory(view, memory)
    if strides is not None:
        own = [stride // 8 for stride in view.strides]
        assert all(a == b for a, b, size in zip(strides, own, target, strict=True) if size != 1)


@pytest.mark.parametrize(
    ("shape", "layout", "perm", "expected"),
    [
        ((2, 12, 4, 6), CHANNELS_LAST, (0, 2, 3, 1), PLAIN),
        ((2, 4, 6, 12), PLAIN, (0, 3, 1, 2), CHANNELS_LAST),
        ((1, 4, 1, 6), PLAIN, (1, 0, 2, 3), PLAIN),
    ],
)
def test_transposes_that_need_no_copy(shape, layout, perm, expected):
    ctx, result = lowered("Transpose", shape, layout=layout, perm=perm)
    assert ctx.output().layout == expected
    assert result.alias == {"y0": "x0"}


@pytest.mark.parametrize(
    ("op", "inputs", "attrs"),
    [
        ("Slice", ((2, 18, 5, 7), [1], [4], [2]), {}),
        ("Concat", ((2, 18, 5, 7), (2, 18, 5, 7)), {"axis": 2}),
        ("Pad", ((2, 18, 5, 7), [0, 0, 1, 1, 0, 0, 1, 1]), {}),
        ("Expand", ((2, 18, 1, 7), [2, 18, 5, 7]), {}),
        ("Identity", ((2, 18, 5, 7),), {}),
    ],
)
def test_channels_last_flows_through(op, inputs, attrs):
    ctx, _ = lowered(op, *inputs, layout=CHANNELS_LAST, **attrs)
    assert ctx.output().layout == CHANNELS_LAST


def test_a_slice_of_everything_shares_memory():
    _, result = lowered("Slice", (4, 5), [0], [9], [1])
    assert result.alias == {"y0": "x0"}


@pytest.mark.parametrize(
    ("sizes", "source", "target", "mode"),
    [
        ((2, 3, 40), (120, 40, 1), (240, 40, 1), "UNIT"),
        ((64, 100), (1, 64), (100, 1), "TRANSPOSE"),
        ((5, 40), (1, 0), (40, 1), "FILL"),
        ((5, 40), (80, 2), (40, 1), "STRIDED"),
    ],
)
def test_inner_loops_of_a_copy(sizes, source, target, mode):
    (launch,) = copy(CPU, "float32", sizes, View("a", source), View("b", target))
    assert dict(launch.params) == {"TYPE": "uint", "MODE": mode}
    (launch,) = copy(GPU, "bool", sizes, View("a", source), View("b", target))
    assert dict(launch.params) == {"TYPE": "uchar", "MODE": "STRIDED"}
    assert math.prod(launch.global_size) == math.prod(sizes)


def test_contiguous_dimensions_are_copied_as_one():
    (launch,) = copy(CPU, "float32", (4, 5, 6), View("a", (30, 6, 1), 7), View("b", (30, 6, 1)))
    assert launch.args[2:7] == (7, 0, 1, 1, 120)  # offsets, planes, rows, columns


def test_work_is_dealt_out_in_pieces():
    (launch,) = copy(CPU, "float32", (1 << 22,), View("a", (1,)), View("b", (1,)))
    assert math.prod(launch.global_size) >= 4 * CPU.compute_units


def test_more_dimensions_than_the_kernel_has_take_a_launch_per_index():
    sizes = (2, 3, 2, 3, 2, 3, 5)
    target = tuple(math.prod(sizes[i + 1 :]) for i in range(len(sizes)))
    launches = copy(CPU, "float32", sizes, View("a", target[::-1]), View("b", target))
    assert len(launches) == 2


def test_empty_tensors_take_no_launch():
    for op, inputs, attrs in (
        ("Transpose", ((0, 3),), {"perm": (1, 0)}),
        ("Concat", ((0, 3), (0, 2)), {"axis": 1}),
        ("Pad", ((0, 3), [0, 1, 0, 1]), {}),
        ("Gather", ((4, 3), (0,)), {}),
    ):
        ctx = make(op, *inputs, **attrs)
        types = {**ctx.types, "y0": find(op).infer(ctx)[0]}
        if op == "Gather":
            types["x1"] = TensorType((0,), "int64")
        assert find(op).lower(LowerContext(ctx.node, types, ctx.constants, CPU)).launches == ()


@pytest.mark.parametrize(
    ("dtype", "shape", "reason"),
    [
        ("string", (2, 3), "dtype string has no kernel"),
        ("complex128", (2, 3), "dtype complex128 has no kernel"),
        ("int8", (1 << 16, 1 << 16), "more than"),
    ],
)
def test_obstacles(dtype, shape, reason):
    kind = TensorType(shape, dtype)
    node = Node("n", "Transpose", ("x",), ("y",), {"perm": (1, 0)}, 22)
    ctx = LowerContext(node, {"x": kind, "y": TensorType(shape[::-1], dtype)}, {}, CPU)
    assert reason in find("Transpose").obstacle(ctx)
