"""Decoders against independent encoders, and the recognition of heads."""

from __future__ import annotations

import numpy as np
import pytest

from clnn.errors import ModelError, UsageError
from clnn.vision import heads
from clnn.vision.heads import HEADS
from clnn.vision.postprocess import Limits, detections
from clnn.vision.preprocess import Placement, prepare
from tests.encoders import ENCODERS, Truth

SIZE = (160, 224)
FACES = ("yunet", "ultraface")
# Boxes far enough apart that suppression keeps all, no two centres in one cell of any stride, every side of a box
# within the seven strides that NanoDet's bins reach, whichever level an encoder puts it on.
TRUTHS = (
    Truth(2, 0.9, (20.5, 30.25, 60.5, 70.75)),
    Truth(0, 0.75, (90.0, 81.5, 151.0, 140.5)),
    Truth(1, 0.5, (133.25, 17.5, 213.5, 65.0)),
)


def truths_for(head: str) -> tuple[Truth, ...]:
    return tuple(Truth(0, each.score, each.box) for each in TRUTHS) if head in FACES else TRUTHS


def encode(head: str, truths: tuple[Truth, ...] | None = None, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    outputs = ENCODERS[head](truths_for(head) if truths is None else truths, size, 3)
    return [output.astype(np.float32) for output in outputs]


def decode(head: str, outputs: list[np.ndarray], size: tuple[int, int] = SIZE, **limits: float) -> tuple:
    whole = Placement(size[1], size[0], (1.0, 1.0), (0, 0))
    return detections(HEADS[head], outputs, size, whole, Limits(**{"conf": 0.3, **limits}), ["a", "b", "c"])


def test_every_head_has_an_encoder():
    assert set(ENCODERS) == set(HEADS)


@pytest.mark.parametrize("head", HEADS)
def test_decoder_inverts_encoder(head: str):
    found = decode(head, encode(head))
    assert len(found) == len(TRUTHS)
    for detection, truth in zip(found, truths_for(head), strict=True):
        assert detection.class_id == truth.class_id
        assert detection.label == "abc"[truth.class_id]
        assert detection.score == pytest.approx(truth.score, abs=1e-4)
        # float32 through exp, tanh and the softmax, times the largest stride
        assert detection.box == pytest.approx(truth.box, abs=2e-2)
        if head == "yunet":
            np.testing.assert_allclose(detection.landmarks, truth.landmarks, atol=1e-2)
        else:
            assert detection.landmarks is None


@pytest.mark.parametrize("head", HEADS)
def test_order_of_outputs_does_not_matter(head: str):
    outputs = encode(head)
    assert decode(head, outputs[::-1]) == decode(head, outputs)


@pytest.mark.parametrize("head", HEADS)
def test_a_batch_dimension_of_one_may_be_missing(head: str):
    outputs = encode(head)
    assert decode(head, [output.reshape(output.shape[-3:]) for output in outputs]) == decode(head, outputs)
    if head != "fastestdet":
        assert decode(head, [output.reshape(output.shape[-2:]) for output in outputs]) == decode(head, outputs)


@pytest.mark.parametrize("head", HEADS)
def test_nothing_found(head: str):
    assert decode(head, encode(head, ())) == ()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.filterwarnings("error")
def test_garbage_costs_its_row_only(head: str, garbage: float):
    outputs = encode(head)
    clean = decode(head, outputs)
    flat = outputs[0].reshape(-1, outputs[0].shape[-1])
    position = np.flatnonzero(flat.reshape(-1) == 0)[-1]
    outputs[0].reshape(-1)[position] = garbage
    found = decode(head, outputs)
    assert all(np.isfinite([*each.box, each.score]).all() for each in found)
    assert len([each for each in clean if each in found]) >= len(clean) - 1
    everything = [np.full_like(output, garbage) for output in encode(head)]
    assert all(np.isfinite([*each.box, each.score]).all() for each in decode(head, everything))


PICTURES = ((1, 1), (101, 333), (500, 500))
THIN_PICTURES = ((3, 640), (777, 2), (33, 1025))


@pytest.mark.parametrize(
    ("head", "picture", "resize"),
    [
        (head, picture, resize)
        for head in HEADS
        for picture in PICTURES + THIN_PICTURES
        for resize in ("stretch", "letterbox", "letterbox_top_left")
        # NanoDet measures from a cell's centre, which lies outside of a box that is a few pixels wide.
        if not (head == "nanodet" and picture in THIN_PICTURES and resize != "stretch")
    ],
)
def test_boxes_return_to_the_picture(head: str, picture: tuple[int, int], resize: str):
    """A box in the middle of a picture of odd size, written into the input, comes back."""
    how = HEADS[head].family
    how = type(how)(resize, how.channels, how.mean, how.std, how.pad)
    tensor, placement = prepare(np.zeros((*picture, 3), np.uint8), how, SIZE)
    assert tensor.shape == (3, *SIZE)
    height, width = picture
    (scale_x, scale_y), (left, top) = placement.scale, placement.offset
    # 25 input pixels are within the reach of the eight bins of NanoDet's finest grid.
    half = min(width / 4, 25 / scale_x), min(height / 4, 25 / scale_y)
    middle = (width / 2 - half[0], height / 2 - half[1], width / 2 + half[0], height / 2 + half[1])
    box = (middle[0] * scale_x + left, middle[1] * scale_y + top, middle[2] * scale_x + left, middle[3] * scale_y + top)
    outputs = encode(head, (Truth(0, 0.8, box),))
    (found,) = detections(HEADS[head], outputs, SIZE, placement, Limits(), ["a", "b", "c"])
    # In the picture an error counts by the inverse of the scale.
    assert found.box == pytest.approx(middle, abs=2e-2 * max(1 / scale_x, 1 / scale_y))


def test_boxes_are_clipped_to_the_picture():
    outside = (Truth(0, 0.9, (-40.0, -30.0, 50.0, 60.0)), Truth(1, 0.8, (230.0, 10.0, 300.0, 90.0)))
    (found,) = decode("centernet", encode("centernet", outside))
    assert found.box == (0.0, 0.0, 50.0, 60.0)


def test_limits():
    outputs = encode("yolox")
    assert [each.class_id for each in decode("yolox", outputs, conf=0.6)] == [2, 0]
    assert [each.class_id for each in decode("yolox", outputs, max_det=1)] == [2]
    assert [each.class_id for each in decode("yolox", outputs, classes=[1, 2])] == [2, 1]
    for wrong in ({"conf": 1.5}, {"conf": float("nan")}, {"iou": -0.1}, {"max_det": 0}):
        with pytest.raises(UsageError):
            Limits(**wrong)


def test_overlapping_boxes_of_one_class_become_one():
    twice = (Truth(0, 0.6, (20, 20, 60, 60)), Truth(0, 0.9, (22, 20, 62, 60)), Truth(1, 0.7, (21, 20, 61, 60)))
    assert [each.score for each in decode("yolov8", encode("yolov8", twice))] == pytest.approx([0.9, 0.7])
    # This network has picked its boxes itself.
    assert len(decode("centernet", encode("centernet", twice))) == 3


def test_class_without_a_name():
    (found,) = decode("centernet", encode("centernet", (Truth(7, 0.9, (20, 20, 60, 60)),)))
    assert (found.label, found.class_id) == ("class 7", 7)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("size", [(160, 224), (416, 416), (640, 640)])
@pytest.mark.parametrize("classes", [1, 3, 80])
def test_heads_are_recognised_by_their_shapes(head: str, size: tuple[int, int], classes: int):
    shapes = [output.shape for output in ENCODERS[head]((), size, classes)]
    assert heads.recognise(shapes, size) is HEADS[head]
    expected = {"centernet": None, "yunet": 1, "ultraface": 1}.get(head, classes)
    assert HEADS[head].classes(shapes) == expected


@pytest.mark.parametrize(
    ("shapes", "size", "head"),
    [
        ([(1, 84, 8400)], (640, 640), "yolov8"),
        ([("batch", 84, "anchors")], None, "yolov8"),
        ([(1, 25200, 85)], (640, 640), "yolov5"),
        ([(1, 102000, 85)], (1280, 1280), "yolov5"),
        ([(1, 300, 6)], (640, 640), "centernet"),
        ([(1, 3549, 6)], (416, 416), "yolox"),
    ],
)
def test_recognised(shapes: list, size: tuple[int, int] | None, head: str):
    assert heads.recognise(shapes, size).name == head


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(1, 1000)], "are not those of a detector"),
        ([(1, 84, 8400), (1, 32, 160, 160)], "are not those of a detector"),
        ([()], "are not those of a detector"),
        ([("batch", "boxes", 85)], "--head yolov5 or yolox"),
    ],
)
def test_not_recognised(shapes: list, message: str):
    with pytest.raises(ModelError, match=message):
        heads.recognise(shapes, None)


def test_unknown_head():
    with pytest.raises(UsageError, match="centernet, "):
        heads.get("ssd")
