"""Encoders that write known boxes into the raw outputs of a detector: each the inverse of a head, from its paper.

They are written from the layouts that the projects document, not from clnn's decoders, and work in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Truth:
    """A box in input pixels, with five landmarks where the head has them."""

    class_id: int
    score: float
    box: tuple[float, float, float, float]

    @property
    def centre(self) -> tuple[float, float]:
        x1, y1, x2, y2 = self.box
        return (x1 + x2) / 2, (y1 + y2) / 2

    @property
    def size(self) -> tuple[float, float]:
        x1, y1, x2, y2 = self.box
        return x2 - x1, y2 - y1

    @property
    def landmarks(self) -> np.ndarray:
        (x, y), (w, h) = self.centre, self.size
        return np.array(
            [(x - w / 4, y - h / 4), (x + w / 4, y - h / 4), (x, y), (x - w / 5, y + h / 4), (x + w / 5, y + h / 4)]
        )


Outputs = list[np.ndarray]
Encoder = Callable[[Sequence[Truth], tuple[int, int], int], Outputs]


def _cell(truth: Truth, stride: int) -> tuple[int, int]:
    return int(truth.centre[0] // stride), int(truth.centre[1] // stride)


def _grid_rows(
    truths: Sequence[Truth], size: tuple[int, int], strides: Sequence[int]
) -> tuple[int, list[tuple[int, int, int, int]]]:
    """Rows in all, and (row, stride, column, row in its grid) of each truth; strides are used in turn."""
    starts, total = [], 0
    for stride in strides:
        starts.append(total)
        total += (size[0] // stride) * (size[1] // stride)
    places = []
    for index, truth in enumerate(truths):
        level = index % len(strides)
        column, row = _cell(truth, strides[level])
        places.append((starts[level] + row * (size[1] // strides[level]) + column, strides[level], column, row))
    return total, places


def centernet(truths: Sequence[Truth], size: tuple[int, int], classes: int) -> Outputs:
    rows = np.zeros((1, 100, 6))
    for index, truth in enumerate(truths):
        rows[0, 7 * index + 3] = (*truth.box, truth.score, truth.class_id)
    return [rows]


def yolox(truths: Sequence[Truth], size: tuple[int, int], classes: int) -> Outputs:
    total, places = _grid_rows(truths, size, (8, 16, 32))
    rows = np.zeros((1, total, 5 + classes))
    for truth, (index, stride, column, row) in zip(truths, places, strict=True):
        rows[0, index, 0] = truth.centre[0] / stride - column
        rows[0, index, 1] = truth.centre[1] / stride - row
        rows[0, index, 2:4] = np.log(np.array(truth.size) / stride)
        rows[0, index, 4] = 0.9
        rows[0, index, 5 + truth.class_id] = truth.score / 0.9
    return [rows]


def yolov5(truths: Sequence[Truth], size: tuple[int, int], classes: int) -> Outputs:
    total, _ = _grid_rows((), size, (8, 16, 32))
    rows = np.zeros((1, 3 * total, 5 + classes))
    for index, truth in enumerate(truths):
        rows[0, 11 * index, :4] = (*truth.centre, *truth.size)
        rows[0, 11 * index, 4] = 0.9
        rows[0, 11 * index, 5 + truth.class_id] = truth.score / 0.9
    return [rows]


def yolov8(truths: Sequence[Truth], size: tuple[int, int], classes: int) -> Outputs:
    total, _ = _grid_rows((), size, (8, 16, 32))
    columns = np.zeros((1, 4 + classes, total))
    for index, truth in enumerate(truths):
        columns[0, :4, 11 * index] = (*truth.centre, *truth.size)
        columns[0, 4 + truth.class_id, 11 * index] = truth.score
    return [columns]


def nanodet(truths: Sequence[Truth], size: tuple[int, int], classes: int) -> Outputs:
    scores, bins = [], []
    for level, stride in enumerate((8, 16, 32)):
        width = size[1] // stride
        scores.append(np.zeros((size[0] // stride * width, classes)))
        bins.append(np.zeros((size[0] // stride * width, 32)))
        for truth in truths[level::3]:
            column, row = _cell(truth, stride)
            x, y = column * stride + (stride - 1) / 2, row * stride + (stride - 1) / 2
            x1, y1, x2, y2 = truth.box
            index = row * width + column
            scores[level][index, truth.class_id] = truth.score
            for side, distance in enumerate((x - x1, y - y1, x2 - x, y2 - y)):
                low = int(distance / stride)
                part = distance / stride - low
                logits = np.full(8, -60.0)
                # Two neighbouring bins share the weight, so that the expectation is the distance.
                logits[low] = np.log(1 - part)
                if part:
                    logits[low + 1] = np.log(part)
                bins[level][index, 8 * side : 8 * side + 8] = logits
    return [scores[0], bins[1], scores[2], bins[0], scores[1], bins[2]]


def fastestdet(truths: Sequence[Truth], size: tuple[int, int], classes: int) -> Outputs:
    height, width = size[0] // 16, size[1] // 16
    maps = np.zeros((1, 5 + classes, height, width))
    for truth in truths:
        column, row = _cell(truth, 16)
        fractions = np.array(truth.size) / (size[1], size[0])
        maps[0, 0, row, column] = truth.score
        maps[0, 1, row, column] = np.arctanh(truth.centre[0] / size[1] * width - column)
        maps[0, 2, row, column] = np.arctanh(truth.centre[1] / size[0] * height - row)
        maps[0, 3:5, row, column] = np.log(fractions / (1 - fractions))
        maps[0, 5 + truth.class_id, row, column] = truth.score
    return [maps]


def yunet(truths: Sequence[Truth], size: tuple[int, int], classes: int) -> Outputs:
    levels: dict[str, Outputs] = {"cls": [], "obj": [], "bbox": [], "kps": []}
    for level, stride in enumerate((8, 16, 32)):
        width = size[1] // stride
        count = size[0] // stride * width
        rows = {"cls": np.zeros((1, count, 1)), "obj": np.zeros((1, count, 1))}
        rows |= {"bbox": np.zeros((1, count, 4)), "kps": np.zeros((1, count, 10))}
        for truth in truths[level::3]:
            column, row = _cell(truth, stride)
            index = row * width + column
            rows["cls"][0, index, 0] = 0.95
            rows["obj"][0, index, 0] = truth.score**2 / 0.95
            rows["bbox"][0, index, :2] = np.array(truth.centre) / stride - (column, row)
            rows["bbox"][0, index, 2:] = np.log(np.array(truth.size) / stride)
            rows["kps"][0, index] = (truth.landmarks / stride - (column, row)).ravel()
        for kind, array in rows.items():
            levels[kind].append(array)
    return [array for arrays in levels.values() for array in arrays]


def ultraface(truths: Sequence[Truth], size: tuple[int, int], classes: int) -> Outputs:
    scores, boxes = np.zeros((1, 4420, 2)), np.zeros((1, 4420, 4))
    scores[..., 0] = 1
    for index, truth in enumerate(truths):
        scores[0, 13 * index] = (1 - truth.score, truth.score)
        boxes[0, 13 * index] = np.array(truth.box) / (size[1], size[0], size[1], size[0])
    return [scores, boxes]


ENCODERS: dict[str, Encoder] = {
    encoder.__name__: encoder for encoder in (centernet, yolox, yolov5, yolov8, nanodet, fastestdet, yunet, ultraface)
}
