"""FastestDet (dog-qiuqiu/FastestDet, ``handle_preds``).

Output: [1, 5 + classes, rows, columns] float on one grid of stride 16: objectness (sigmoid applied), four raw box
values, class scores (softmax applied). Centre = (tanh + cell) / grid, size = sigmoid, both as fractions of the
input; score = objectness^0.6 × class^0.4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clnn.vision.heads.base import Candidates, Head, Shape, Size, best_class, corners, fits, grid, register
from clnn.vision.preprocess import Preprocess

STRIDE = 16


def decode(outputs: Sequence[np.ndarray], size: Size) -> Candidates:
    """Read the grid cell by cell."""
    channels = outputs[0].shape[-3]
    values = outputs[0].reshape(channels, -1).T.astype(np.float32, copy=False)
    points, strides = grid(size, (STRIDE,))
    centres = (np.tanh(values[:, 1:3]) + points) * strides
    sizes = np.float32(size[::-1]) / (1 + np.exp(-values[:, 3:5]))
    return best_class(corners(centres, sizes), values[:, :1] ** 0.6 * values[:, 5:] ** 0.4)


def matches(shapes: Sequence[Shape], size: Size | None) -> bool:
    if len(shapes) != 1 or len(shapes[0]) != 4:
        return False
    channels, rows, columns = shapes[0][1:]
    if not isinstance(channels, int) or channels < 6:
        return False
    return size is None or (fits(rows, -(-size[0] // STRIDE)) and fits(columns, -(-size[1] // STRIDE)))


register(
    Head(
        "fastestdet",
        decode,
        matches,
        classes=lambda shapes: shapes[0][-3] - 5,
        family=Preprocess(resize="stretch", channels="bgr", std=(255.0, 255.0, 255.0)),
        layout="one output 1×(5 + classes)×rows×columns",
    )
)
