"""``clnn detect``, ``clnn eval`` and ``clnn models``, through processes of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clnn.cli import main
from tests.unit.test_vision_image import png_header

SAMPLES = Path(str(resources.files("clnn.models"))) / "samples"


def clnn(*arguments: str | Path, cwd: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run a command in ``cwd``; its output as text, with the line ends of this system as "\\n"."""
    command = [sys.executable, "-m", "clnn", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, timeout=300, check=False)
    out, err = (stream.decode("utf-8").replace("\r\n", "\n") for stream in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(command, done.returncode, out, err)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with dog.jpg, and the same in sub/."""
    (tmp_path / "sub").mkdir()
    for place in ("dog.jpg", "sub/dog.jpg"):
        shutil.copy(SAMPLES / "dog.jpg", tmp_path / place)
    return tmp_path


def test_people_read_a_table(folder: Path):
    done = clnn("detect", "dog.jpg", cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("dog.jpg, 768×576: ")
    assert lines[1].split() == ["label", "score", "x1", "y1", "x2", "y2"]
    assert {"dog", "bicycle"} <= {line.split()[0] for line in lines[2:-1]}
    for part in (" on ", "load ", "decode ", "preprocess ", "inference ", "postprocess "):
        assert part in lines[-1]
    assert "saved in detections" in done.stderr
    with Image.open(folder / "detections" / "dog.jpg") as drawn, Image.open(folder / "dog.jpg") as photo:
        assert drawn.size == photo.size
        assert np.abs(np.asarray(drawn).astype(int) - np.asarray(photo)).max() > 100


def test_programs_read_json(folder: Path):
    done = clnn("detect", "dog.jpg", "sub", "--json", "--quiet", "--save-txt", "--out", "out", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert set(result) == {"model", "device", "images"}
    assert result["model"] == "centernet_mbv3_coco"
    first, second = result["images"]
    assert set(first) == {"image", "width", "height", "detections", "timing_ms"}
    assert set(first["timing_ms"]) == {"decode", "preprocess", "inference", "postprocess"}
    assert (first["image"], first["width"], first["height"]) == ("dog.jpg", 768, 576)
    assert first["detections"] == second["detections"]
    for found in first["detections"]:
        assert set(found) == {"label", "class_id", "score", "box"}
        x1, y1, x2, y2 = found["box"]
        assert 0 <= x1 < x2 <= 768
        assert 0 <= y1 < y2 <= 576
        assert 0.25 <= found["score"] <= 1
    scores = [found["score"] for found in first["detections"]]
    assert scores == sorted(scores, reverse=True)
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["dog.jpg", "dog.txt", "dog_2.jpg", "dog_2.txt"]
    assert len((folder / "out" / "dog.txt").read_text().splitlines()) == len(first["detections"])


def test_options_choose_what_is_found(folder: Path):
    done = clnn("detect", "dog.jpg", "--json", "--no-save", "--classes", "dog,1", "--conf", "0.3", cwd=folder)
    found = json.loads(done.stdout)["images"][0]["detections"]
    assert {each["label"] for each in found} == {"dog", "bicycle"}
    assert not (folder / "detections").exists()
    done = clnn("detect", "dog.jpg", "--json", "--no-save", "--conf", "0.05", "--max-det", "3", cwd=folder)
    assert len(json.loads(done.stdout)["images"][0]["detections"]) == 3


def test_an_input_is_never_overwritten(folder: Path):
    photo = (folder / "dog.jpg").read_bytes()
    assert clnn("detect", "dog.jpg", "--out", ".", cwd=folder).returncode == 0
    assert (folder / "dog.jpg").read_bytes() == photo
    assert (folder / "dog_2.jpg").is_file()


def test_standard_input(folder: Path):
    done = clnn("detect", "-", "--json", cwd=folder, stdin=(folder / "dog.jpg").read_bytes())
    assert json.loads(done.stdout)["images"][0]["image"] == "-"
    assert (folder / "detections" / "stdin.png").is_file()
    done = clnn("detect", "-", "--json", "--no-save", cwd=folder, stdin=b"dog.jpg\nsub/dog.jpg\n")
    assert len(json.loads(done.stdout)["images"]) == 2


def test_batch_says_how_photos_run(folder: Path):
    done = clnn("detect", "dog.jpg", "sub", "--batch", "2", "--no-save", cwd=folder)
    assert done.returncode == 0
    assert "photos run " in done.stderr


def test_bad_photos_among_good_ones(folder: Path):
    (folder / "text.jpg").write_text("this is no photo")
    (folder / "huge.png").write_bytes(png_header(30_000, 30_000))
    (folder / "cut.jpg").write_bytes((folder / "dog.jpg").read_bytes()[:9999])
    names = ("text.jpg", "huge.png", "cut.jpg", "gone.jpg", "sub")
    done = clnn("detect", "--json", "--no-save", *names, "dog.jpg", cwd=folder)
    assert done.returncode == 5
    assert [Path(each["image"]).name for each in json.loads(done.stdout)["images"]] == ["dog.jpg", "dog.jpg"]
    errors = done.stderr.splitlines()
    assert len(errors) == 5
    for name in names[:-1]:
        assert sum(f"clnn: error: {name}: " in line for line in errors) == 1
    assert "4 of 6 photos" in errors[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["gone.jpg"], 5, "gone.jpg: no such file"),
        (["text.jpg"], 5, "text.jpg: not a picture"),
        (["huge.png"], 5, "more than 89,478,485 pixels"),
        (["*.tiff"], 5, "no file matches"),
        (["dog.jpg", "--labels", "gone.txt"], 5, "labels 'gone.txt'"),
        ([], 2, "SOURCE"),
        (["dog.jpg", "--model", "yolo99"], 2, "no such entry of the zoo"),
        (["dog.jpg", "--head", "ssd"], 2, "the heads are centernet"),
        (["dog.jpg", "--head", "yolox"], 2, "head 'yolox' takes one output"),
        (["dog.jpg", "--classes", "unicorn"], 2, "class 'unicorn' is not known"),
        (["dog.jpg", "--conf", "7"], 2, "conf 7.0: not between 0 and 1"),
        (["dog.jpg", "--imgsz", "640"], 2, "fixed at 512×512"),
        (["dog.jpg", "--imgsz", "big"], 2, "--imgsz big: not a size"),
        (["dog.jpg", "--no-save", "--out", "x"], 2, "exclude each other"),
        (["dog.jpg", "--model", "yolox_nano"], 3, "put yolox_nano.onnx into the working folder"),
        (["dog.jpg", "--model", "cut.onnx"], 3, "cut.onnx"),
        (["dog.jpg", "--model", "gone.onnx"], 3, "gone.onnx"),
    ],
)
def test_each_mistake_is_one_line_and_a_code(folder, arguments, code, message, monkeypatch, capsys):
    """In this process, for speed; the tests around it show what a process of its own prints and returns."""
    monkeypatch.chdir(folder)
    (folder / "text.jpg").write_text("this is no photo")
    (folder / "huge.png").write_bytes(png_header(30_000, 30_000))
    (folder / "cut.onnx").write_bytes((SAMPLES.parent / "centernet_mbv3_coco.onnx").read_bytes()[:99_999])
    assert main.run(["detect", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1


def test_models(folder: Path):
    listed = json.loads(clnn("models", "--json", cwd=folder).stdout)
    assert [each["name"] for each in listed if each["shipped"]] == ["centernet_mbv3_coco"]
    assert {"yolox_nano", "yolov5", "yolov8", "yunet_n_dynamic"} < {each["name"] for each in listed}
    assert "yunet_n_dynamic" in clnn("models", cwd=folder).stdout
    card = clnn("models", "show", "default", cwd=folder)
    assert "publish no licence file" in card.stdout
    assert clnn("models", "show", "yolo99", cwd=folder).returncode == 2


@pytest.fixture
def dataset(folder: Path) -> Path:
    """A data set of one photo, with VOC's spelling of one category that is not in it."""
    categories = [{"id": 1, "name": "dog"}, {"id": 2, "name": "bicycle"}, {"id": 3, "name": "tvmonitor"}]
    annotations = [
        {"image_id": 1, "category_id": 1, "bbox": [130, 215, 190, 325]},
        {"image_id": 1, "category_id": 2, "bbox": [120, 125, 445, 310]},
    ]
    images = [{"id": 1, "file_name": "dog.jpg"}]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))
    return path


def test_eval(dataset: Path):
    pytest.importorskip("pycocotools", reason="the extra clnn[eval] is not installed")
    done = clnn("eval", "--data", dataset, "--images", dataset.parent, "--json", cwd=dataset.parent)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert set(result) == {"mAP50", "mAP", "per_class", "images", "ms_per_image"}
    assert result["images"] == 1
    assert set(result["per_class"]) == {"dog", "bicycle"}
    assert result["mAP50"] > 0.99
    table = clnn("eval", "--data", dataset, "--images", dataset.parent, cwd=dataset.parent).stdout
    assert table.splitlines()[-1].split()[0] == "mean"


def test_eval_says_what_is_wrong_with_a_data_set(dataset: Path):
    pytest.importorskip("pycocotools", reason="the extra clnn[eval] is not installed")
    for data, images in (("gone.json", "."), ("dog.jpg", "."), ("instances.json", "sub/gone")):
        done = clnn("eval", "--data", data, "--images", images, cwd=dataset.parent)
        assert (done.returncode, done.stdout) == (5, "")
        assert len(done.stderr.splitlines()) == 1
