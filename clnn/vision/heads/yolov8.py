"""YOLOv8 and its relatives without anchors (YOLOv9, v11, v12 exported alike; the Ultralytics project).

Output: [1, 4 + classes, cells] float: centre x, centre y, width, height in input pixels, then the class scores, each
in a row of its own; the sigmoid has been applied. 84×8400 for COCO at 640×640.
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
    register,
    rows_of,
)
from clnn.vision.preprocess import Preprocess


def decode(outputs: Sequence[np.ndarray], size: Size) -> Candidates:
    """Turn centres into corners; the score is that of the best class."""
    columns = rows_of(outputs[0]).T
    return best_class(corners(columns[:, :2], columns[:, 2:4]), columns[:, 4:])


def matches(shapes: Sequence[Shape], size: Size | None) -> bool:
    if len(shapes) != 1 or len(shapes[0]) not in (2, 3):
        return False
    rows, count = shapes[0][-2:]
    return isinstance(rows, int) and rows >= 5 and counts_boxes(count, size, *PYRAMIDS)


register(
    Head(
        "yolov8",
        decode,
        matches,
        classes=lambda shapes: shapes[0][-2] - 4,
        family=Preprocess(resize="letterbox", channels="rgb", std=(255.0, 255.0, 255.0)),
        layout="one output 1×(4 + classes)×cells",
    )
)
