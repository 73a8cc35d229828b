"""Fitting pictures into inputs, suppression, drawing."""

from __future__ import annotations

import numpy as np
import pytest

from clnn.vision.detection import Detection
from clnn.vision.draw import colour_of, draw
from clnn.vision.nms import iou, nms
from clnn.vision.preprocess import Placement, Preprocess, prepare, resize_bilinear

RANDOM = np.random.default_rng(0)


def bilinear_by_definition(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """OpenCV's INTER_LINEAR: pixel centres at +0.5, four neighbours, edges repeated; in float64, not rounded."""

    def axis(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        position = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
        low = np.floor(position).astype(int)
        return low, np.minimum(low + 1, source - 1), position - low

    left, right, x = axis(pixels.shape[1], size[0])
    upper, lower, y = axis(pixels.shape[0], size[1])
    values = pixels.astype(np.float64)
    rows = values[upper] * (1 - y)[:, None, None] + values[lower] * y[:, None, None]
    return rows[:, left] * (1 - x)[:, None] + rows[:, right] * x[:, None]


@pytest.mark.parametrize("source", [(1, 1), (1, 9), (13, 7), (64, 48), (101, 333)])
@pytest.mark.parametrize("size", [(1, 1), (32, 32), (47, 90), (416, 128)])
def test_resize_is_bilinear_without_antialias(source: tuple[int, int], size: tuple[int, int]):
    pixels = RANDOM.integers(0, 256, (*source, 3), np.uint8)
    resized = resize_bilinear(pixels, size)
    assert resized.shape == (size[1], size[0], 3)
    # Pillow cuts the fraction off where OpenCV rounds: one level at most.
    assert np.abs(resized - bilinear_by_definition(pixels, size)).max() <= 1 + 1e-9


def test_resize_to_the_same_size_changes_nothing():
    pixels = RANDOM.integers(0, 256, (9, 11, 3), np.uint8)
    assert resize_bilinear(pixels, (11, 9)) is pixels


def test_normalisation_and_order_of_channels():
    pixels = np.full((4, 4, 3), (10, 20, 30), np.uint8)
    rgb, _ = prepare(pixels, Preprocess("stretch", "rgb", (1, 2, 3), (2, 4, 8)), (4, 4))
    assert rgb[:, 0, 0].tolist() == [4.5, 4.5, 3.375]
    bgr, _ = prepare(pixels, Preprocess("stretch", "bgr", (1, 2, 3), (2, 4, 8)), (4, 4))
    assert bgr[:, 3, 3].tolist() == [14.5, 4.5, 0.875]
    assert bgr.dtype == np.float32


@pytest.mark.parametrize(
    ("resize", "picture", "columns"),
    [
        ("stretch", (10, 20), slice(0, 64)),
        ("letterbox", (20, 10), slice(24, 40)),
        ("letterbox_top_left", (20, 10), slice(0, 16)),
    ],
)
def test_padding(resize: str, picture: tuple[int, int], columns: slice):
    tensor, placement = prepare(np.zeros((*picture, 3), np.uint8), Preprocess(resize, "rgb", pad=77), (32, 64))
    expected = np.full((32, 64), 77.0)
    expected[:, columns] = 0
    for channel in tensor:
        np.testing.assert_array_equal(channel, expected)
    corners = np.array([[columns.start, 0], [columns.stop, 32]], float)
    np.testing.assert_allclose(placement.to_picture(corners), [[0, 0], [picture[1], picture[0]]])


def test_points_outside_are_clipped_to_the_picture():
    placement = Placement(100, 50, (2.0, 4.0), (10, 20))
    points = np.array([[-5.0, 0.0], [30.0, 60.0], [1000.0, 1000.0]])
    np.testing.assert_allclose(placement.to_picture(points), [[0, 0], [10, 10], [100, 50]])


def slow_nms(boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, max_iou: float) -> list[int]:
    kept: list[int] = []
    for each in sorted(range(len(boxes)), key=lambda index: (-scores[index], index)):
        clear = True
        for other in kept:
            if class_ids[other] == class_ids[each]:
                a, b = boxes[each], boxes[other]
                shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
                both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
                clear = clear and shared <= max_iou * both
        if clear:
            kept.append(each)
    return kept


@pytest.mark.parametrize("max_iou", [0.0, 0.3, 0.45, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_nms_is_the_greedy_algorithm(max_iou: float, seed: int):
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 60, (200, 2))
    boxes = np.concatenate([corners, corners + random.uniform(5, 40, (200, 2))], axis=1)
    scores = random.integers(0, 20, 200) / 20  # many are equal
    class_ids = random.integers(0, 3, 200)
    expected = slow_nms(boxes, scores, class_ids, max_iou)
    assert nms(boxes, scores, class_ids, max_iou, 1000).tolist() == expected
    assert nms(boxes, scores, class_ids, max_iou, 7).tolist() == expected[:7]


def test_nms_of_nothing():
    assert nms(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), 0.5, 10).shape == (0,)


def test_iou_of_empty_boxes_is_zero():
    assert iou(np.zeros(4), np.array([[0.0, 0, 0, 0], [0, 0, 1, 1]])).tolist() == [0, 0]


def test_colours_differ_between_neighbours():
    colours = np.array([colour_of(class_id) for class_id in range(80)], int)
    distances = np.abs(colours[:, None] - colours[None]).sum(axis=2)
    np.fill_diagonal(distances, 999)
    assert distances.min() > 0
    assert min(distances[index, index + 1] for index in range(79)) > 150


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (480, 640), (2000, 1500)])
@pytest.mark.parametrize("place", ["whole", "corner", "edge"])
def test_drawing_on_any_size(size: tuple[int, int], place: str):
    height, width = size
    box = {
        "whole": (0.0, 0.0, float(width), float(height)),
        "corner": (width * 0.9, height * 0.9, float(width), float(height)),
        "edge": (0.0, 0.0, width * 0.1, height * 0.1),
    }[place]
    pixels = np.full((*size, 3), 128, np.uint8)
    marks = ((width / 2, height / 2),)
    picture = draw(pixels, [Detection("a long label with ümläut", 3, 0.87, box, marks), Detection("b", 4, 0.2, box)])
    assert picture.size == (width, height)
    assert (np.asarray(picture) != 128).any()
    assert (pixels == 128).all(), "the picture given is not drawn into"


def test_labels_are_legible():
    """The label of a box at the top is inside the picture: letters of one colour on a ground of another."""
    pixels = np.full((480, 640, 3), 128, np.uint8)
    drawn = np.asarray(draw(pixels, [Detection("dog", 0, 0.9, (200.0, 0.0, 400.0, 300.0))])).reshape(-1, 3)
    colours, counts = np.unique(drawn, axis=0, return_counts=True)
    of = {tuple(colour): count for colour, count in zip(colours.tolist(), counts, strict=True)}
    assert of[colour_of(0)] > 1000
    assert max(of.get((0, 0, 0), 0), of.get((255, 255, 255), 0)) > 30
