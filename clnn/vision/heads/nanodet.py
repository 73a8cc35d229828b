"""NanoDet (RangiLyu/nanodet; boxes after "Generalized Focal Loss", Li et al., 2020).

Outputs, for each stride 8, 16 and 32 (in any order, told apart by their shapes): class scores [n, classes] float, the
sigmoid applied, and distances [n, 4 × 8] float: for left, top, right and bottom the logits of eight bins. A distance
is the expectation of the bin's index, in strides, from the cell's centre x · s + (s - 1) / 2.
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
    counts_boxes,
    grid,
    is_rows,
    register,
    rows_of,
)
from clnn.vision.preprocess import Preprocess

STRIDES = (8, 16, 32)
BINS = 8


def decode(outputs: Sequence[np.ndarray], size: Size) -> Candidates:
    """Softmax over the bins, expectation, distances to corners."""
    # The largest grid first, as the strides; names are not to be trusted, exporters permute them.
    levels = sorted(map(rows_of, outputs), key=len, reverse=True)
    logits = np.concatenate([rows for rows in levels if rows.shape[1] == 4 * BINS]).reshape(-1, 4, BINS)
    scores = np.concatenate([rows for rows in levels if rows.shape[1] != 4 * BINS])
    weights = np.exp(logits - logits.max(axis=2, keepdims=True))
    distances = weights @ np.arange(BINS, dtype=np.float32) / weights.sum(axis=2)
    points, strides = grid(size, STRIDES)
    centres = points * strides + (strides - 1) / 2
    distances *= strides
    return best_class(np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1), scores)


def matches(shapes: Sequence[Shape], size: Size | None) -> bool:
    if len(shapes) != 2 * len(STRIDES) or not all(is_rows(shape, 1) for shape in shapes):
        return False
    widths = sorted(shape[-1] for shape in shapes if shape[-1] != 4 * BINS)
    if len(widths) != len(STRIDES) or widths[0] != widths[-1]:
        return False
    return all(counts_boxes(shape[-2], size, *((stride,) for stride in STRIDES)) for shape in shapes)


register(
    Head(
        "nanodet",
        decode,
        matches,
        classes=lambda shapes: next(shape[-1] for shape in shapes if shape[-1] != 4 * BINS),
        family=Preprocess(
            resize="stretch", channels="bgr", mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395)
        ),
        layout="three outputs n×classes and three n×32",
    )
)
