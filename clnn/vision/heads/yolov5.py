"""YOLOv5 and its relatives with anchors and objectness (YOLOv3, v4, v7 exported alike; the Ultralytics project).

Output: [1, 3 × cells, 5 + classes] float: centre x, centre y, width, height in input pixels, objectness, class
scores; three anchors per cell; the sigmoid has been applied. 25,200 rows for 640×640.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clnn.vision.heads.base import (
    PYRAMIDS,
    Candidates,
    Head,
    Shape,
    Size,
    best_class,
    corners,
    counts_boxes,
    is_rows,
    register,
    rows_of,
)
from clnn.vision.preprocess import Preprocess

ANCHORS = 3


def decode(outputs: Sequence[np.ndarray], size: Size) -> Candidates:
    """Turn centres into corners; score = objectness × class."""
    rows = rows_of(outputs[0])
    return best_class(corners(rows[:, :2], rows[:, 2:4]), rows[:, 4:5] * rows[:, 5:])


def matches(shapes: Sequence[Shape], size: Size | None) -> bool:
    if len(shapes) != 1 or not is_rows(shapes[0], 6):
        return False
    return counts_boxes(shapes[0][-2], size, *PYRAMIDS, per_cell=ANCHORS)


register(
    Head(
        "yolov5",
        decode,
        matches,
        classes=lambda shapes: shapes[0][-1] - 5,
        family=Preprocess(resize="letterbox", channels="rgb", std=(255.0, 255.0, 255.0)),
        layout="one output 1×(3·cells)×(5 + classes)",
    )
)
