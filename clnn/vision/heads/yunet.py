"""YuNet faces with five landmarks ("YuNet: A Tiny Millisecond-level Face Detector", Wu et al., 2023; OpenCV zoo).

Outputs, for each stride 8, 16 and 32 (in any order): class [1, n, 1], objectness [1, n, 1], box [1, n, 4] and
landmarks [1, n, 10] float. Centre = (xy + cell) · stride, size = exp(wh) · stride, landmark = (xy + cell) · stride,
score = sqrt(class × objectness), each clipped to 0..1. Landmarks: right eye, left eye, nose tip, right and left
corner of the mouth, as the person has them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clnn.vision.heads.base import (
    Candidates,
    Head,
    Shape,
    Size,
    corners,
    counts_boxes,
    grid,
    is_rows,
    register,
    rows_of,
)
from clnn.vision.preprocess import Preprocess

STRIDES = (8, 16, 32)
COLUMNS = {1: 6, 4: 3, 10: 3}
"""How many of the outputs have how many columns."""


def decode(outputs: Sequence[np.ndarray], size: Size) -> Candidates:
    """Place boxes and landmarks on their grids."""
    # Class and objectness have one shape, and need not be told apart: the score is symmetric in them.
    levels = sorted(map(rows_of, outputs), key=len, reverse=True)
    factors = [np.clip(rows, 0, 1).ravel() for rows in levels if rows.shape[1] == 1]
    scores = np.sqrt(np.concatenate(factors[0::2]) * np.concatenate(factors[1::2]))
    boxes = np.concatenate([rows for rows in levels if rows.shape[1] == 4])
    marks = np.concatenate([rows for rows in levels if rows.shape[1] == 10]).reshape(-1, 5, 2)
    points, strides = grid(size, STRIDES)
    return Candidates(
        corners((boxes[:, :2] + points) * strides, np.exp(boxes[:, 2:]) * strides),
        scores,
        np.zeros(len(scores), np.int64),
        (marks + points[:, None]) * strides[:, None],
    )


def matches(shapes: Sequence[Shape], size: Size | None) -> bool:
    if not all(is_rows(shape, 1) for shape in shapes):
        return False
    widths = [shape[-1] for shape in shapes]
    if {width: widths.count(width) for width in widths} != COLUMNS:
        return False
    return all(counts_boxes(shape[-2], size, *((stride,) for stride in STRIDES)) for shape in shapes)


register(
    Head(
        "yunet",
        decode,
        matches,
        classes=lambda shapes: 1,
        family=Preprocess(resize="letterbox_top_left", channels="bgr", pad=0),
        layout="twelve outputs 1×n×{1, 1, 4, 10}",
        labels="face",
    )
)
