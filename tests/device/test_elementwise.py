"""Elementwise operators on every device, against onnx's reference evaluator."""

from __future__ import annotations

import numpy as np
import pytest

from clnn.runtime import discovery
from tests.device.layouts import check_layouts
from tests.support import check_node

RNG = np.random.default_rng(3)

# Values at which definitions part: zeros of both signs, what is no number, what overflows, halves, subnormals.
SPECIAL = np.array(
    [0, -0.0, np.nan, np.inf, -np.inf, 1, -1, 0.5, -0.5, 2.5, -2.5, 1e30, -1e30, 88.9, -104, 1e-40, 3.5, 1e-6],
    np.float32,
)

# The built-in functions are within 4 ulp of float32 (measured), and up to three of them follow one another.
TIGHT = {"rtol": 2e-6, "atol": 2e-7}

UNARY = {
    "Abs": {},
    "Atan": {},
    "Asinh": {},
    "Ceil": {},
    "Celu": {"alpha": 0.7},
    "Cos": {},
    "Elu": {"alpha": 1.5},
    "Erf": {},
    "Exp": {},
    "Floor": {},
    "Gelu": {},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
    "HardSwish": {},
    "IsInf": {"detect_negative": 0},
    "IsNaN": {},
    "LeakyRelu": {"alpha": 0.1},
    "Mish": {},
    "Neg": {},
    "Reciprocal": {},
    "Relu": {},
    "Round": {},
    "Selu": {},
    "Shrink": {"lambd": 0.4, "bias": 0.2},
    "Sigmoid": {},
    "Sign": {},
    "Sin": {},
    "Softplus": {},
    "Softsign": {},
    "Swish": {"alpha": 0.6},
    "Tan": {},
    "Tanh": {},
    "ThresholdedRelu": {"alpha": 0.3},
}
ON_A_PART = {  # with a domain that is not all numbers
    "Acos": (-1, 1),
    "Acosh": (1, 9),
    "Asin": (-1, 1),
    "Atanh": (-0.9, 0.9),
    "Log": (1e-3, 50),
    "Sqrt": (0, 50),
}


def f32(*shape: int) -> np.ndarray:
    return np.asarray(RNG.standard_normal(shape), np.float32)


@pytest.mark.parametrize("op", UNARY)
def test_unary(clnn_device, op):
    check_node(clnn_device, op, [f32(2, 3, 5, 7)], **TIGHT, **UNARY[op])
    check_node(clnn_device, op, [f32(17)], **TIGHT, **UNARY[op])


@pytest.mark.parametrize("op", [op for op in UNARY if op not in ("Sin", "Cos", "Tan")])
def test_unary_at_special_values(clnn_device, op):
    with np.errstate(all="ignore"):
        check_node(clnn_device, op, [SPECIAL], **TIGHT, **UNARY[op])


@pytest.mark.parametrize("op", ON_A_PART)
def test_unary_on_its_domain(clnn_device, op):
    check_node(clnn_device, op, [RNG.uniform(*ON_A_PART[op], (3, 21)).astype(np.float32)], rtol=5e-6, atol=5e-7)


@pytest.mark.parametrize("op", ["Sin", "Cos", "Tan"])
def test_small_angles_beside_huge_ones(clnn_device, op):
    angles = np.array([1e-6, 1e-3, 0.1, 1e30, 3e4, 5e4, 1e6, 3, 2, 1], np.float32)
    exact = getattr(np, op.lower())(angles.astype(np.float64)).astype(np.float32)
    check_node(clnn_device, op, [angles], expected=[exact], rtol=5e-6)


@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (16,), (1, 1, 1), (5, 2, 1, 3, 2, 2, 7), (100003,)])
def test_shapes(clnn_device, shape):
    check_node(clnn_device, "Relu", [f32(*shape)])
    check_node(clnn_device, "Add", [f32(*shape), f32(*shape)])


def test_other_attributes(clnn_device):
    check_node(clnn_device, "Gelu", [f32(3, 11)], approximate="tanh", **TIGHT)
    check_node(clnn_device, "IsInf", [SPECIAL], detect_positive=0)
    check_node(clnn_device, "IsInf", [SPECIAL], detect_positive=0, detect_negative=0)


BROADCASTS = [
    ((), (5,)),
    ((17,), (17,)),
    ((3,), (1, 1)),
    ((2, 3, 4, 5), (5,)),
    ((2, 3, 4, 5), (3, 1, 1)),
    ((4, 5), (2, 3, 4, 5)),
    ((1, 4, 5), (2, 3, 1, 1)),
    ((2, 1, 5, 1, 3), (1, 4, 1, 6, 1)),
    ((2, 40, 5, 7), (2, 40, 1, 1)),
    ((2, 40, 5, 7), (1, 1, 5, 7)),
    ((2, 40, 5, 7), (2, 40, 5, 7)),
    ((2, 3, 40), (3, 1)),
    ((0, 3), (1, 3)),
    ((1000, 3), (3,)),
    ((64, 33), (64, 1)),
]


@pytest.mark.parametrize(("a", "b"), BROADCASTS)
def test_broadcasting_in_both_layouts(clnn_device, a, b):
    check_layouts(clnn_device, "Sub", [f32(*a), f32(*b)])
    check_layouts(clnn_device, "Where", [f32(*a) > 0, f32(*b), f32(*a)])


def test_broadcasting_as_on_a_gpu(clnn_device, as_gpu):
    for a, b in BROADCASTS:
        check_layouts(clnn_device, "Sub", [f32(*a), f32(*b)])


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Min", "Max", "Equal", "Less", "LessOrEqual", "Greater"])
def test_binary_at_special_values(clnn_device, op):
    a, b = (np.ascontiguousarray(grid) for grid in np.meshgrid(SPECIAL, SPECIAL))
    with np.errstate(all="ignore"):
        check_node(clnn_device, op, [a, b], rtol=1e-6)


INTEGERS = [np.int8, np.uint8, np.int32, np.int64, np.uint64]


@pytest.mark.parametrize(
    ("op", "dtype"),
    # what wraps and what divides depends on the type; the rest differs by sign and by half of 64 bits at most
    [(op, dtype) for op in ("Sub", "Mul", "Div", "Mod") for dtype in INTEGERS]
    + [(op, dtype) for op in ("Add", "Min", "Less", "BitwiseXor") for dtype in (np.int8, np.uint64)],
)
def test_integers(clnn_device, op, dtype):
    limits = np.iinfo(dtype)
    values = np.array([0, 1, 2, 3, 7, 100, limits.max, limits.max - 1, limits.min, limits.min + 1], dtype)
    a, b = (np.ascontiguousarray(grid) for grid in np.meshgrid(values, values))
    if op in ("Div", "Mod"):
        b[b == 0] = 5
    with np.errstate(all="ignore"):
        check_node(clnn_device, op, [a, b], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8])
def test_integer_division_by_zero_does_no_harm(clnn_device, dtype):
    a = np.arange(20).astype(dtype)
    check_node(clnn_device, "Div", [a, np.zeros_like(a)], expected=[np.zeros_like(a)])
    check_node(clnn_device, "Mod", [a, np.zeros_like(a)], expected=[np.zeros_like(a)])


def test_remainders_take_the_sign_asked_for(clnn_device):
    a, b = np.meshgrid(np.arange(-7, 8), [-3, -2, 2, 3])
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    for dtype in (np.int32, np.int64):
        check_node(clnn_device, "Mod", [a.astype(dtype), b.astype(dtype)])
        check_node(clnn_device, "Mod", [a.astype(dtype), b.astype(dtype)], fmod=1)
    check_node(clnn_device, "Mod", [a.astype(np.float32) + 0.25, b.astype(np.float32)], fmod=1)


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_bit_shift(clnn_device, direction):
    a = np.array([1, 2, 200, 255, 16], np.uint8)
    check_node(clnn_device, "BitShift", [a, np.array([1, 3, 7, 8, 0], np.uint8)], direction=direction)


@pytest.mark.parametrize("op", ["And", "Or", "Xor", "Equal"])
def test_truth_values(clnn_device, op):
    check_node(clnn_device, op, [f32(3, 4, 5) > 0, f32(4, 1) > 0])


def test_not(clnn_device):
    check_node(clnn_device, "Not", [f32(3, 21) > 0])


def test_pow(clnn_device):
    base = np.abs(f32(3, 19)) + 0.01
    check_node(clnn_device, "Pow", [base, f32(19)], rtol=5e-6)
    check_node(clnn_device, "Pow", [base, np.float32(2)], constants=(1,))
    check_node(clnn_device, "Pow", [f32(3, 19), np.array([3], np.int64)], rtol=5e-6)
    integers = np.array([-3, -1, 0, 1, 2, 7], np.int32)
    check_node(clnn_device, "Pow", [integers[:, None], np.array([0, 1, 2, 5], np.int64)])
    # 1 / x, with the fraction cut off
    check_node(clnn_device, "Pow", [integers, np.array([-1], np.int32)], expected=[integers * (abs(integers) == 1)])


def test_prelu(clnn_device):
    x = f32(2, 20, 3, 5)
    for slope in (f32(1), f32(20, 1, 1), f32(1, 20, 1, 1), f32(20, 3, 5)):
        check_layouts(clnn_device, "PRelu", [x, slope], constants=(1,), expected=[np.where(x < 0, x * slope, x)])


@pytest.mark.parametrize("op", ["Sum", "Mean", "Max", "Min"])
def test_many_inputs(clnn_device, op):
    check_layouts(clnn_device, op, [f32(2, 40, 4, 5), f32(40, 1, 1), f32(4, 5), f32()], rtol=1e-6, atol=1e-6)
    check_node(clnn_device, op, [f32(3, 5)])


def test_clip(clnn_device):
    x, low, high = f32(3, 21), np.float32(-0.5), np.float32(0.4)
    for bounds in ([low, high], [None, high], [low], []):
        check_node(clnn_device, "Clip", [x, *bounds])
        check_node(clnn_device, "Clip", [x, *bounds], constants=(1, 2))
    check_node(clnn_device, "Clip", [SPECIAL, low, high])
    check_node(clnn_device, "Clip", [np.arange(-9, 9), np.int64(-3), np.int64(4)])
    check_node(clnn_device, "Clip", [x], opset=10, min=-0.3, max=0.2)
    check_node(clnn_device, "Clip", [x], opset=7, max=0.2)


def test_double_precision(clnn_device):
    if not discovery.named(clnn_device)[0].fp64:
        pytest.skip(f"{clnn_device} has no float64")
    x = RNG.standard_normal((3, 21))
    for op in ("Exp", "Tanh", "Sigmoid"):
        check_node(clnn_device, op, [x], rtol=1e-14, atol=1e-15)
    check_node(clnn_device, "Mul", [x, x[0]], rtol=1e-15)


def test_the_kernel_does_not_take_everything(clnn_device):
    base = np.array([2, 3], np.int32)
    # The host must do what has no kernel: an integer to a broken power.
    check_node(clnn_device, "Pow", [base, np.array([0.5, 2], np.float32)], on_device=False)
