"""Data sets in COCO's format, categories, and mean average precision."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clnn.errors import InputError, UsageError
from clnn.tools import dataset
from clnn.tools.dataset import Category
from clnn.tools.evaluation import CONF, evaluate
from clnn.vision.detector import Detector
from tests.fake_session import FakeSession

LABELS = ["person", "dog", "potted plant", "airplane"]


def instances(**changes: Any) -> dict[str, Any]:
    """Two photos, a person and a dog in the first, a potted plant in the second."""
    return {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "sub/b.png"}],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "pottedplant"}, {"id": 5, "name": "person"}],
        "annotations": [
            {"image_id": 7, "category_id": 5, "bbox": [10, 10, 20, 30]},
            {"image_id": 7, "category_id": 1, "bbox": [40, 5, 15, 15], "iscrowd": 0},
            {"image_id": 9, "category_id": 2, "bbox": [0, 0, 32, 32]},
        ],
        **changes,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """instances.json, and photos whose brightness tells them apart."""
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (64, 64), (10, 10, 10)).save(tmp_path / "a.png")
    Image.new("RGB", (64, 64), (20, 20, 20)).save(tmp_path / "sub" / "b.png")
    (tmp_path / "instances.json").write_text(json.dumps(instances()))
    return tmp_path


def detector(found: dict[int, list[tuple[float, ...]]]) -> Detector:
    """A detector that finds, in a photo of some brightness, rows of x1 y1 x2 y2 score class."""

    def run(tensor: np.ndarray) -> list[np.ndarray]:
        rows = np.zeros((1, 100, 6))
        mine = found.get(int(tensor[0, 0, 0, 0]), [])
        rows[0, : len(mine)] = np.array(mine).reshape(-1, 6)
        return [rows]

    session = FakeSession(run, (1, 3, 64, 64), [(1, 100, 6)])
    return Detector(b"bare", conf=CONF, labels=LABELS, session=session)


def read(folder: Path, **changes: Any) -> dataset.DataSet:
    (folder / "instances.json").write_text(json.dumps(instances(**changes)))
    return dataset.read(folder / "instances.json", folder)


PERFECT = {10: [(10, 10, 30, 40, 0.9, 0), (40, 5, 55, 20, 0.8, 1)], 20: [(0, 0, 32, 32, 0.4, 2)]}


def test_perfect_detections(folder: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("pycocotools", reason="the extra clnn[eval] is not installed")
    done: list[int] = []
    result = evaluate(detector(PERFECT), read(folder), on_image=lambda: done.append(1)).to_dict()
    assert result.pop("ms_per_image") > 0
    whole = {"AP50": 1.0, "AP": 1.0}
    per_class = {"person": whole, "dog": whole, "potted plant": whole}
    assert result == {"mAP50": 1.0, "mAP": 1.0, "per_class": per_class, "images": 2}
    assert len(done) == 2
    assert capsys.readouterr().out == "", "pycocotools' prints are kept away"


def test_what_counts_against_a_class(folder: Path):
    pytest.importorskip("pycocotools", reason="the extra clnn[eval] is not installed")
    found = {
        # A better person elsewhere comes first: precision 1/2. The dog is off by a sixth, IoU 5/7: right up to 0.7.
        10: [(10, 10, 30, 40, 0.5, 0), (40, 40, 60, 60, 0.9, 0), (42.5, 5, 57.5, 20, 0.8, 1), (0, 0, 9, 9, 0.9, 3)],
    }
    result = evaluate(detector(found), read(folder))
    assert result.per_class["person"]["AP50"] == pytest.approx(0.5)
    assert result.per_class["dog"] == {"AP50": pytest.approx(1.0), "AP": pytest.approx(0.5)}
    assert result.per_class["potted plant"]["AP50"] == 0
    # No true airplane: those found do not count.
    assert result.map50 == pytest.approx(0.5)


def test_nothing_detected(folder: Path):
    pytest.importorskip("pycocotools", reason="the extra clnn[eval] is not installed")
    assert evaluate(detector({}), read(folder)).map50 == 0


def test_crowds_are_no_misses(folder: Path):
    pytest.importorskip("pycocotools", reason="the extra clnn[eval] is not installed")
    crowd = {"image_id": 9, "category_id": 5, "bbox": [0, 0, 64, 64], "iscrowd": 1}
    result = evaluate(detector(PERFECT), read(folder, annotations=[*instances()["annotations"], crowd]))
    assert result.map50 == pytest.approx(1)


def test_nothing_to_measure(folder: Path):
    pytest.importorskip("pycocotools", reason="the extra clnn[eval] is not installed")
    with pytest.raises(InputError, match="nothing to measure"):
        evaluate(detector(PERFECT), read(folder, annotations=[]))


def test_unreadable_photo(folder: Path):
    pytest.importorskip("pycocotools", reason="the extra clnn[eval] is not installed")
    (folder / "a.png").write_text("no picture")
    with pytest.raises(InputError, match=r"a\.png"):
        evaluate(detector(PERFECT), read(folder))


def test_without_pycocotools(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(UsageError, match=r"pip install 'clnn\[eval\]'"):
        evaluate(detector(PERFECT), read(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [], "annotations": []}, "no images"),
        ({"images": instances()["images"] * 2}, "one id for two"),
        ({"images": [{"id": 7, "file_name": "a.png"}]}, "image_id 9 is used, but not listed"),
        ({"categories": []}, "category_id 1 is used, but not listed"),
        ({"annotations": [{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3]}]}, r"annotations\.0\.bbox"),
        ({"annotations": None}, "annotations: "),
        (
            {"images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "gone.png"}]},
            "1 of 2 photos are missing",
        ),
    ],
)
def test_data_sets_that_are_wrong(folder: Path, changes: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        read(folder, **changes)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"images": []}', "[" * 100_000])
def test_data_sets_that_are_none(folder: Path, text: str):
    (folder / "instances.json").write_text(text)
    with pytest.raises(InputError, match="give a COCO instances.json"):
        dataset.read(folder / "instances.json", folder)
    with pytest.raises(InputError):
        dataset.read(folder / "gone.json", folder)


def categories(*names: str) -> list[Category]:
    return [Category(id=index, name=name) for index, name in enumerate(names)]


def test_categories_are_matched_by_name_then_by_vocs_spelling():
    found = dataset.match_categories(categories("dog", "aeroplane", "pottedplant"), LABELS, {})
    assert found == {0: 1, 1: 3, 2: 2}


def test_categories_that_the_model_does_not_know(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "clnn"):
        assert dataset.match_categories(categories("dog", "helmet"), LABELS, {}) == {0: 1}
    assert "helmet" in caplog.text
    with pytest.raises(InputError, match="no class in common"):
        dataset.match_categories(categories("helmet"), LABELS, {})


def test_category_map(folder: Path, caplog: pytest.LogCaptureFixture):
    path = folder / "map.yaml"
    path.write_text("hound: dog\npuppy: dog\nplant:\n")
    table = dataset.read_category_map(path)
    assert dataset.match_categories(categories("hound", "puppy", "plant"), LABELS, table) == {0: 1, 1: 1}
    assert not caplog.text, "what the user leaves out is not worth a warning"
    for wrong in ({"cat": "dog"}, {"hound": "cat"}):
        with pytest.raises(UsageError, match="'cat' is no category of the data set, or no class of the model"):
            dataset.match_categories(categories("hound"), LABELS, wrong)


@pytest.mark.parametrize("text", ["- dog", "dog: [1]", "dog: {", ""])
def test_category_maps_that_are_wrong(folder: Path, text: str):
    (folder / "map.yaml").write_text(text)
    with pytest.raises(InputError, match="category map"):
        dataset.read_category_map(folder / "map.yaml")
