"""Decoders on trained networks and real photos; onnxruntime runs them, so that only decoding is at stake."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from clnn.tools import dataset, evaluation
from clnn.vision.detector import Detection, Detector
from clnn.vision.nms import iou

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra clnn[dev] is not installed")

# mAP at IoU 0.5 on the 50 photos that the decoders gave when they were written, less what a different build of
# onnxruntime, Pillow or libjpeg may move a threshold by. The int8 network is the one that small changes move.
LEAST_MAP50 = {
    "centernet_mbv3_coco": (0.661, 0.005),
    "yolox_nano": (0.769, 0.005),
    "yolox_nano_fp16": (0.767, 0.005),
    "yolox_nano_int8_qdq": (0.595, 0.03),
    "nanodet_m_320": (0.758, 0.005),
    "fastestdet_352": (0.619, 0.005),
}


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def detector(test_data: Path, name: str, **options: object) -> Detector:
    path = test_data / "models" / f"{name}.onnx"
    return Detector(path, session=session(path), **options)


@cache
def map50(test_data: Path, name: str) -> float:
    """mAP at IoU 0.5 on the 50 photos, of onnxruntime's outputs; evaluated once in a run of the tests."""
    folder = test_data / "images" / "voc50"
    limits = {"conf": evaluation.CONF, "max_det": evaluation.MAX_DET}
    photos = dataset.read(folder / "instances.json", folder)
    return evaluation.evaluate(detector(test_data, name, **limits), photos).map50


@pytest.mark.parametrize("name", LEAST_MAP50)
def test_mean_average_precision(test_data: Path, name: str):
    pytest.importorskip("pycocotools", reason="the extra clnn[eval] is not installed")
    measured, margin = LEAST_MAP50[name]
    assert map50(test_data, name) > measured - margin


@pytest.mark.parametrize("name", ["yolox_nano", "yolox_nano_fp16", "yolox_nano_int8_qdq", "centernet_mbv3_coco"])
def test_the_sample_photo(test_data: Path, name: str):
    found = detector(test_data, name)(test_data / "images" / "dog.jpg")
    # Read off the photo.
    for label, box in (("dog", (131, 218, 312, 540)), ("bicycle", (120, 125, 566, 435)), ("car", (467, 76, 692, 170))):
        best = max(iou(np.array(box), np.array([each.box for each in found if each.label == label]).reshape(-1, 4)))
        assert best > 0.7, label


FACE = "voc50/2007_000272.jpg"


def best_face(test_data: Path, name: str, **options: object) -> Detection:
    found = detector(test_data, name, **options)(test_data / "images" / FACE)
    assert found[0].label == "face"
    assert found[0].score > 0.9
    return found[0]


def test_two_networks_agree_on_a_face(test_data: Path):
    yunet, ultraface = (np.array(best_face(test_data, name).box) for name in ("yunet_n_dynamic", "ultraface_rfb_320"))
    assert iou(yunet, ultraface[None])[0] > 0.8


@pytest.mark.parametrize("imgsz", [320, 640, (448, 800)])
def test_landmarks_are_where_a_face_has_them(test_data: Path, imgsz: int | tuple[int, int]):
    face = best_face(test_data, "yunet_n_dynamic", imgsz=imgsz)
    x1, y1, x2, y2 = face.box
    right_eye, left_eye, nose, right_mouth, left_mouth = face.landmarks
    assert all(x1 < x < x2 and y1 < y < y2 for x, y in face.landmarks)
    assert right_eye[0] < left_eye[0]
    assert right_mouth[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])


def test_a_batch_gives_what_single_photos_give(test_data: Path):
    photos = sorted((test_data / "images" / "voc50").glob("*.jpg"))[:7]
    faces = detector(test_data, "yunet_n_dynamic")
    for single, batched in zip(faces.detect_many(photos), faces.detect_many(photos, batch=3), strict=True):
        assert [each.label for each in single.detections] == [each.label for each in batched.detections]
        for one, other in zip(single.detections, batched.detections, strict=True):
            # The same sums in another order.
            assert one.box == pytest.approx(other.box, abs=1e-2)
