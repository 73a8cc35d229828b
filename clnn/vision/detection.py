"""What a detector returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the original picture."""


@dataclass(frozen=True)
class Detection:
    """One object: its name, its index among the model's classes, a score of 0 to 1 and its box.

    ``landmarks`` are (x, y) points in pixels of the original picture, from the heads that give them.
    """

    label: str
    class_id: int
    score: float
    box: Box
    landmarks: tuple[tuple[float, float], ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The detection as the command line writes it in JSON."""
        values = {
            "label": self.label,
            "class_id": self.class_id,
            "score": round(self.score, 4),
            "box": [round(edge, 2) for edge in self.box],
        }
        if self.landmarks is not None:
            values["landmarks"] = [[round(x, 2), round(y, 2)] for x, y in self.landmarks]
        return values


@dataclass(frozen=True)
class ImageResult:
    """The detections of one picture, best first.

    ``image`` is the source's name, ``width`` and ``height`` its pixels after EXIF rotation, ``pixels`` the picture
    itself (height × width × 3, uint8, RGB). ``timing_ms`` has "decode", "preprocess", "inference" and
    "postprocess"; pictures that ran as one batch share its inference time equally.
    """

    image: str
    width: int
    height: int
    detections: tuple[Detection, ...]
    timing_ms: Mapping[str, float]
    pixels: np.ndarray = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The result as the command line writes it in JSON."""
        return {
            "image": self.image,
            "width": self.width,
            "height": self.height,
            "detections": [detection.to_dict() for detection in self.detections],
            "timing_ms": {part: round(value, 3) for part, value in self.timing_ms.items()},
        }
