"""Where the elements of a resized axis come from: positions and weights, worked out once on the host.

Coordinates, neighbours and coefficients follow onnx's reference implementation of Resize (``_interpolate_1d`` and what
it calls), in float64; but a position is divided by the scale in float32, as the frameworks that export networks do and
onnxruntime does: 17 ÷ 1.7 is 10 then, in float64 it is a little less, and the nearest element another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
)
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "simple")
MODES = ("nearest", "linear", "cubic")

OUTSIDE = -1


@dataclass(frozen=True)
class Sampling:
    """How an axis is resized, in the words of ONNX; ``nearest`` "simple" is the rule before opset 11."""

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic_a: float = -0.75
    antialias: bool = False
    exclude_outside: bool = False


@dataclass(frozen=True)
class Taps:
    """For each output position its source positions and their weights, int64 and float64 [out, taps].

    Positions are inside the axis, or ``OUTSIDE`` throughout where the output is to be a constant instead.
    """

    positions: np.ndarray
    weights: np.ndarray

    @property
    def is_identity(self) -> bool:
        """Whether every position of the result is the same position of the source."""
        own = self.positions == np.arange(len(self.positions))[:, None]
        return bool(((self.weights * own).sum(1) == 1).all() and not (self.weights * ~own).any())


def sample(how: Sampling, size: int, out: int, scale: float, roi: tuple[float, float] = (0.0, 1.0)) -> Taps:
    """Taps of an axis of ``size`` elements, at least one, resized to ``out``.

    ``scale`` is about out ÷ size; ``roi`` is a start and an end as fractions of the axis.
    """
    x = _source_coordinates(how.coordinates, np.arange(out, dtype=np.float64), size, out, scale, roi)
    base = np.floor(x)
    # A coordinate that hits an element counts as the right end of an interval: onnx prefers the left neighbour.
    ratio = np.where(x == base, 1.0, x - base)
    left = np.where(x == base, base - 1, base).astype(np.int64)
    if how.mode == "nearest":
        positions = (left + _takes_right(how.nearest, ratio, scale))[:, None]
        weights = np.ones((out, 1))
    else:
        offsets, weights = _coefficients(how, ratio, scale)
        positions = left[:, None] + offsets
        if how.exclude_outside:
            weights = np.where((positions < 0) | (positions >= size), 0.0, weights)
            total = weights.sum(1, keepdims=True)
            weights = weights / np.where(total == 0, 1.0, total)
    positions = np.clip(positions, 0, size - 1)
    if how.coordinates == "tf_crop_and_resize":
        positions[(x < 0) | (x > size - 1)] = OUTSIDE
    return Taps(positions, weights)


def _source_coordinates(
    rule: str, y: np.ndarray, size: int, out: int, scale: float, roi: tuple[float, float]
) -> np.ndarray:
    """Position in the source, as a fraction, of each position ``y`` in the result."""
    length = scale * size  # onnx counts with the length before it was rounded to ``out``
    if rule == "align_corners":
        return y * 0.0 if length == 1 else y * (size - 1) / (length - 1)
    if rule == "asymmetric":
        return _divided(y, scale)
    if rule == "tf_crop_and_resize":
        start, end = roi
        if length == 1:
            return y * 0.0 + (start + end) * (size - 1) / 2
        return y * (end - start) * (size - 1) / (length - 1) + start * (size - 1)
    if rule == "pytorch_half_pixel" and length == 1:
        return y * 0.0 - 0.5
    shift = size / 2 * (1 - out / length) if rule == "half_pixel_symmetric" else 0.0
    return shift + _divided(y + 0.5, scale) - 0.5


def _divided(y: np.ndarray, scale: float) -> np.ndarray:
    """``y`` ÷ ``scale``, rounded to float32."""
    return (y.astype(np.float32) / np.float32(scale)).astype(np.float64)


def _takes_right(rule: str, ratio: np.ndarray, scale: float) -> np.ndarray:
    """Whether the nearest of two neighbours is the right one, for a coordinate ``ratio`` in (0, 1] between them."""
    takes: dict[str, Callable[[], np.ndarray]] = {
        "round_prefer_floor": lambda: ratio > 0.5,
        "round_prefer_ceil": lambda: ratio >= 0.5,
        "floor": lambda: ratio == 1,
        "ceil": lambda: ratio > 0,
        "simple": lambda: ratio > 0 if scale < 1 else ratio == 1,
    }
    return takes[rule]().astype(np.int64)


def _coefficients(how: Sampling, ratio: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours relative to the left one, and their weights, int64 [taps] and float64 [out, taps]."""
    support = 1 if how.mode == "linear" else 2
    # Antialiasing widens the kernel, but only where elements are dropped.
    shrink = min(scale, 1.0) if how.antialias else 1.0
    first = int(np.floor(-support / shrink)) + 1
    offsets = np.arange(first, 2 - first)
    distance = np.abs(offsets - ratio[:, None]) * shrink
    weights = np.clip(1 - distance, 0, 1) if how.mode == "linear" else _cubic(distance, how.cubic_a)
    if how.antialias:
        weights = weights / weights.sum(1, keepdims=True)
    return offsets, weights


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel (IEEE Trans. Acoustics, Speech, and Signal Processing 29, 1981)."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
