"""UltraFace (Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB).

Outputs: scores [1, n, 2] float, softmax applied, background first; boxes [1, n, 4] float, corners x1 y1 x2 y2 as
fractions of the input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clnn.vision.heads.base import Candidates, Head, Shape, Size, is_rows, register, rows_of
from clnn.vision.preprocess import Preprocess


def decode(outputs: Sequence[np.ndarray], size: Size) -> Candidates:
    """Scale the fractions to pixels; the score is the second column."""
    scores, boxes = sorted(map(rows_of, outputs), key=lambda rows: rows.shape[1])
    height, width = size
    return Candidates(boxes * np.float32([width, height, width, height]), scores[:, 1], np.zeros(len(scores), np.int64))


def matches(shapes: Sequence[Shape], size: Size | None) -> bool:
    return all(is_rows(shape, 1) for shape in shapes) and sorted(shape[-1] for shape in shapes) == [2, 4]


register(
    Head(
        "ultraface",
        decode,
        matches,
        classes=lambda shapes: 1,
        family=Preprocess(resize="stretch", channels="rgb", mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0)),
        layout="two outputs 1×n×2 and 1×n×4",
        labels="face",
    )
)
