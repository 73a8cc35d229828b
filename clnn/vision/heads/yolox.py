"""YOLOX ("YOLOX: Exceeding YOLO Series in 2021", Ge et al.; ``demo_postprocess`` of the Megvii project).

Output: [1, cells of strides 8, 16 and 32, 5 + classes] float: x y w h, objectness, class scores, one grid after the
other, row by row. The scores have been through the sigmoid, the boxes are raw:
centre = (xy + cell) · stride, size = exp(wh) · stride.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clnn.vision.heads.base import (
    Candidates,
    Head,
    Shape,
    Size,
    best_class,
    corners,
    counts_boxes,
    grid,
    is_rows,
    register,
    rows_of,
)
from clnn.vision.preprocess import Preprocess

STRIDES = (8, 16, 32)


def decode(outputs: Sequence[np.ndarray], size: Size) -> Candidates:
    """Place each cell's box on its grid; score = objectness × class."""
    rows = rows_of(outputs[0])
    points, strides = grid(size, STRIDES)
    boxes = corners((rows[:, :2] + points) * strides, np.exp(rows[:, 2:4]) * strides)
    return best_class(boxes, rows[:, 4:5] * rows[:, 5:])


def matches(shapes: Sequence[Shape], size: Size | None) -> bool:
    return len(shapes) == 1 and is_rows(shapes[0], 6) and counts_boxes(shapes[0][-2], size, STRIDES)


register(
    Head(
        "yolox",
        decode,
        matches,
        classes=lambda shapes: shapes[0][-1] - 5,
        family=Preprocess(resize="letterbox_top_left", channels="bgr"),
        layout="one output 1×cells×(5 + classes)",
    )
)
