"""Networks that pick their boxes themselves: rows of x1 y1 x2 y2 score class.

CenterNet ("Objects as Points", Zhou et al., 2019) finds the peaks of its heat map inside the network, so that each
object comes once. Later detectors without suppression (YOLOv10 and its like) write the same six columns.

Output: [1, n, 6] float, n boxes in input pixels, the class as a number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clnn.vision.heads.base import PYRAMIDS, Candidates, Head, Shape, Size, cells, is_rows, register, rows_of
from clnn.vision.preprocess import Preprocess

MOST_BOXES = 1000
"""More rows than this, or one per cell, are those of a dense head with one class, which has six columns too."""


def decode(outputs: Sequence[np.ndarray], size: Size) -> Candidates:
    """Read the six columns."""
    rows = rows_of(outputs[0])
    # A class that is no index makes the row void: its score becomes NaN, which no threshold passes.
    valid = (rows[:, 5] >= 0) & (rows[:, 5] < np.iinfo(np.int32).max)
    class_ids = np.where(valid, rows[:, 5], 0).astype(np.int64)
    return Candidates(rows[:, :4], np.where(valid, rows[:, 4], np.nan), class_ids)


def matches(shapes: Sequence[Shape], size: Size | None) -> bool:
    if len(shapes) != 1 or not is_rows(shapes[0], 6):
        return False
    count, columns = shapes[0][-2:]
    if columns != 6 or not isinstance(count, int):
        return columns == 6
    dense = size is not None and any(count in (cells(size, each), 3 * cells(size, each)) for each in PYRAMIDS)
    return count <= MOST_BOXES and not dense


register(
    Head(
        "centernet",
        decode,
        matches,
        classes=lambda shapes: None,
        family=Preprocess(resize="stretch", channels="rgb"),
        layout="one output 1×n×6, n ≤ 1000",
        suppress=False,
    )
)
