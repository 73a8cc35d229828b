"""Resize and Upsample on every device, against onnx's reference evaluator, which computes in float64."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support import check_node

RNG = np.random.default_rng(13)
COORDINATES = [
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
]
# start and end of each axis as fractions, reaching over the border
ROI = np.array([0, 0, 0.123, -0.217, 1, 1, 0.871, 1.313], np.float32)
# A weight and a product of two are rounded by 6e-8 each, and the weights of a cubic kernel add up to 1.5 per axis in
# magnitude: 1.8e-7 · 1.5² · |x|, which is up to 4 here, and about as much again for adding up.
TOLERANCE = 4e-6


def array(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def check_resize(device: str, x: np.ndarray, scales=None, sizes=None, roi=None, **attrs) -> None:
    settings = [roi, None if scales is None else np.array(scales, np.float32)]
    if sizes is not None:
        settings.append(np.array(sizes, np.int64))
    check_node(device, "Resize", [x, *settings], constants=(1, 2, 3), atol=TOLERANCE, **attrs)


def by_coordinates(rule: str) -> dict:
    """Settings of a coordinate rule, with what only that one needs."""
    crop = {"roi": ROI, "extrapolation_value": 7.5} if rule == "tf_crop_and_resize" else {}
    return {"coordinate_transformation_mode": rule, **crop}


@pytest.mark.parametrize("scales", [(1, 1, 2, 2), (1, 1, 0.5, 0.6), (1, 1, 1.7, 0.4), (1, 1, 1, 2.5)])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("rule", COORDINATES)
def test_scales(clnn_device, rule, mode, scales):
    check_resize(clnn_device, array(2, 18, 5, 7), scales, mode=mode, **by_coordinates(rule))


@pytest.mark.parametrize("sizes", [(2, 18, 10, 3), (2, 18, 5, 7), (2, 18, 1, 1), (2, 9, 4, 21)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("rule", COORDINATES)
def test_sizes(clnn_device, rule, mode, sizes):
    check_resize(clnn_device, array(2, 18, 5, 7), sizes=sizes, mode=mode, **by_coordinates(rule))


@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("rule", ["half_pixel", "asymmetric", "align_corners"])
def test_nearest(clnn_device, rule, nearest):
    for scales in ((1, 1, 2, 2), (1, 1, 0.5, 2.5)):
        check_resize(
            clnn_device,
            array(1, 3, 6, 7),
            scales,
            mode="nearest",
            nearest_mode=nearest,
            coordinate_transformation_mode=rule,
        )


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("exclude_outside", [0, 1])
def test_antialias(clnn_device, mode, exclude_outside):
    for scales in ((1, 1, 0.5, 0.6), (1, 1, 1.7, 0.4)):
        check_resize(clnn_device, array(2, 18, 5, 7), scales, mode=mode, antialias=1, exclude_outside=exclude_outside)


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_aspect_ratio(clnn_device, policy):
    x = array(2, 3, 5, 7)
    check_resize(clnn_device, x, sizes=(9, 8), axes=[2, 3], keep_aspect_ratio_policy=policy, mode="linear")


@pytest.mark.parametrize(
    ("shape", "scales"),
    [
        ((1, 1, 9, 9), (1, 1, 2, 2)),
        ((1, 70, 4, 4), (1, 1, 2, 2)),
        ((1, 3, 9), (1, 1, 2)),
        ((9, 11), (2, 0.5)),
        ((2, 4, 3, 5), (2, 1, 2, 2)),
        ((1, 4, 3, 5, 6), (1, 1, 2, 2, 2)),
    ],
)
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_other_shapes(clnn_device, mode, shape, scales):
    check_resize(clnn_device, array(*shape), scales, mode=mode)


def test_axes_in_any_order(clnn_device):
    check_resize(clnn_device, array(2, 3, 5, 7), sizes=(9, 8), axes=[3, 2], mode="linear")


def test_nearest_of_bytes(clnn_device):
    x = RNG.integers(0, 255, (1, 3, 5, 6)).astype(np.uint8)
    check_resize(clnn_device, x, (1, 1, 2, 2), mode="nearest")


def test_upsample(clnn_device):
    x = array(1, 3, 4, 5)
    repeated = x.repeat(2, 2).repeat(3, 3)
    scales = np.array([1, 1, 2, 3], np.float32)
    check_node(clnn_device, "Upsample", [x, scales], constants=(1,), opset=9, mode="nearest")
    check_node(clnn_device, "Upsample", [x], scales=[1.0, 1.0, 2.0, 3.0], opset=7, expected=[repeated])


def test_first_version_of_resize(clnn_device):
    """Opset 10 maps coordinates without a shift, and rounds them up where elements are dropped."""
    x = np.arange(1, 9, dtype=np.float32).reshape(1, 1, 2, 4)
    scales = np.array([1, 1, 1, 0.6], np.float32)
    expected = x[..., [0, 2]]
    check_node(clnn_device, "Resize", [x, scales], constants=(1,), opset=10, mode="nearest", expected=[expected])


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_on_gpus(clnn_device, as_gpu, mode):
    check_resize(clnn_device, array(2, 5, 5, 7), (1, 1, 2, 0.6), mode=mode)
