"""From a picture to a network's input, and boxes back to the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from clnn.errors import UsageError


@dataclass(frozen=True)
class Preprocess:
    """How a network wants its picture.

    ``resize``: "stretch" fills the input and distorts; "letterbox" keeps the aspect, centred, and
    "letterbox_top_left" keeps it in the top left corner; the rest is ``pad`` (0 to 255).
    ``mean`` and ``std`` are in units of 0 to 255 and in the order of ``channels``: input = (pixel - mean) / std.

    Raises:
        UsageError: ``std`` is not positive, or ``pad`` no value of a pixel.
    """

    # Read by the zoo's schema: a key that is none of these fields is an error there.
    __pydantic_config__ = {"extra": "forbid"}

    resize: Literal["stretch", "letterbox", "letterbox_top_left"]
    channels: Literal["rgb", "bgr"]
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    pad: int = 114

    def __post_init__(self) -> None:
        if min(self.std) <= 0 or not 0 <= self.pad <= 255:
            raise UsageError(f"std {self.std}, pad {self.pad}: give positive numbers, and 0 to 255")


@dataclass(frozen=True)
class Placement:
    """Where a picture of ``width`` × ``height`` lies in the input: input = picture · scale + offset, per axis."""

    width: int
    height: int
    scale: tuple[float, float]
    offset: tuple[int, int]

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Map (x, y) pairs [..., 2] from input pixels to pixels of the picture, clipped to its edges."""
        mapped = (points - np.array(self.offset)) / np.array(self.scale)
        return np.clip(mapped, 0, (self.width, self.height))


def prepare(pixels: np.ndarray, how: Preprocess, size: tuple[int, int]) -> tuple[np.ndarray, Placement]:
    """Fit a picture into a network's input.

    Args:
        pixels: [height, width, 3] uint8, RGB.
        size: (height, width) of the input.

    Returns:
        The input [3, height, width], float32, and the placement that leads boxes back.
    """
    height, width = pixels.shape[:2]
    fitted, offset = _fit((width, height), how.resize, (size[1], size[0]))
    resized = resize_bilinear(pixels, fitted)
    canvas = np.full((*size, 3), how.pad, np.uint8)
    canvas[offset[1] : offset[1] + fitted[1], offset[0] : offset[0] + fitted[0]] = resized
    if how.channels == "bgr":
        canvas = canvas[:, :, ::-1]
    tensor = np.empty((3, *size), np.float32)
    for channel, (mean, std) in enumerate(zip(how.mean, how.std, strict=True)):
        np.subtract(canvas[:, :, channel], np.float32(mean), out=tensor[channel])
        tensor[channel] /= np.float32(std)
    return tensor, Placement(width, height, (fitted[0] / width, fitted[1] / height), offset)


def _fit(picture: tuple[int, int], resize: str, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size of the resized picture and its top left corner in the input; all (x, y)."""
    if resize == "stretch":
        return size, (0, 0)
    scale = min(size[0] / picture[0], size[1] / picture[1])
    fitted = tuple(max(1, round(length * scale)) for length in picture)
    if resize == "letterbox_top_left":
        return fitted, (0, 0)
    return fitted, ((size[0] - fitted[0]) // 2, (size[1] - fitted[1]) // 2)


def resize_bilinear(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize [h, w, 3] uint8 to ``size`` (width, height) as the detectors were trained: four neighbours, no antialias.

    OpenCV's INTER_LINEAR, which the projects behind the heads use, samples at pixel centres and does not blur when
    it shrinks. Pillow's ``resize`` does blur; its affine transform samples like OpenCV.
    """
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    scale_x, scale_y = pixels.shape[1] / size[0], pixels.shape[0] / size[1]
    picture = Image.fromarray(pixels)
    affine = (scale_x, 0, 0, 0, scale_y, 0)
    return np.asarray(picture.transform(size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR))
