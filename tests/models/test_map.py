"""Mean average precision through clnn, against the same decoder on onnxruntime's outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from clnn.tools import dataset, evaluation
from clnn.vision.detector import Detector
from tests.models.test_heads import LEAST_MAP50, map50

# Rounding moves a score past another here and there; quantised networks round to steps of 1/256 in every layer.
MOST_APART = {"yolox_nano_int8_qdq": 0.02}
REQUIRED_MAP50 = {"centernet_mbv3_coco": 0.63, "yolox_nano": 0.72}


@pytest.mark.parametrize("name", LEAST_MAP50)
def test_map_is_that_of_onnxruntime(test_data: Path, clnn_device: str, name: str):
    pytest.importorskip("pycocotools", reason="the extra clnn[eval] is not installed")
    folder = test_data / "images" / "voc50"
    photos = dataset.read(folder / "instances.json", folder)
    expected = map50(test_data, name)
    limits = {"conf": evaluation.CONF, "max_det": evaluation.MAX_DET}
    with Detector(test_data / "models" / f"{name}.onnx", devices=clnn_device, **limits) as detector:
        found = evaluation.evaluate(detector, photos).map50
    assert found == pytest.approx(expected, abs=MOST_APART.get(name, 0.002))
    assert found >= REQUIRED_MAP50.get(name, 0)
