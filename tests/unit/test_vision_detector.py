"""The detector around a session: choices it makes of the network, batches, failures, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clnn
from clnn.errors import InputError, ModelError, UsageError
from clnn.vision import zoo
from clnn.vision.detector import Detector
from clnn.vision.sources import Source
from tests.encoders import ENCODERS, Truth
from tests.fake_session import FakeSession

BARE = b"a model that the zoo does not know"


def brightness_boxes(tensor: np.ndarray) -> list[np.ndarray]:
    """A network that finds one box per picture; its score is the picture's red in the middle, of 255."""
    height, width = tensor.shape[2:]
    rows = np.zeros((len(tensor), 100, 6), np.float32)
    rows[:, 0, 2:4] = width, height
    rows[:, 0, 4] = tensor[:, 0, height // 2, width // 2] / 255
    rows[:, 0, 5] = 16
    return [rows]


def centernet(batch: int | str | None = 1, **options: object) -> Detector:
    session = FakeSession(brightness_boxes, (batch, 3, 64, 96), [(batch, 100, 6)])
    return Detector(BARE, session=session, **options)


def grey(level: int, size: tuple[int, int] = (30, 20)) -> Image.Image:
    return Image.new("RGB", size, (level, level, level))


def test_public_names():
    assert clnn.Detector is Detector
    assert clnn.Detection.__name__ == "Detection"


def test_one_picture():
    (found,) = centernet()(grey(204))
    assert found == clnn.Detection("dog", 16, pytest.approx(0.8), (0.0, 0.0, 30.0, 20.0))
    with pytest.raises(AttributeError):
        found.score = 1


class StreamingSession(FakeSession):
    """A session that works on several devices at once: it reads two ahead before it gives the first result."""

    streams = True

    def run_many(self, names, feeds):
        ahead: list[list[np.ndarray]] = []
        for each in feeds:
            ahead.append(self.run(names, each))
            if len(ahead) > 2:
                yield ahead.pop(0)
        yield from ahead


@pytest.mark.parametrize("batch", [1, 2])
def test_pictures_are_a_stream_where_the_session_takes_one(batch: int):
    session = StreamingSession(brightness_boxes, ("n", 3, 64, 96), [("n", 100, 6)])
    failed: list[str] = []
    pictures = [grey(51), b"no picture", grey(102), grey(153), grey(204), grey(255)]
    found = list(Detector(BARE, session=session).detect_many(pictures, batch, lambda name, error: failed.append(name)))
    assert [each.detections[0].score for each in found if each.detections] == pytest.approx([0.4, 0.6, 0.8, 1.0])
    assert len(found) == 5
    assert len(failed) == 1


def test_nothing_found():
    assert centernet()(grey(3)) == []


@pytest.mark.parametrize(
    ("batch", "asked", "runs"), [(1, 4, [1] * 5), (2, 1, [2] * 3), ("n", 4, [4, 1]), (None, 1, [1] * 5)]
)
def test_batches(batch: int | str | None, asked: int, runs: list[int]):
    detector = centernet(batch)
    assert detector.batch_size(asked) == runs[0]
    pictures = [grey(level, (10 * level, 7)) for level in (100, 120, 140, 160, 180)]
    results = list(detector.detect_many(pictures, asked))
    assert [len(fed) for fed in detector.session.fed] == runs
    assert [result.detections[0].score for result in results] == pytest.approx(
        [each / 255 for each in (100, 120, 140, 160, 180)]
    )
    assert [(each.width, each.height) for each in results] == [picture.size for picture in pictures]
    for result in results:
        assert set(result.timing_ms) == {"decode", "preprocess", "inference", "postprocess"}
        assert all(part >= 0 for part in result.timing_ms.values())


def test_outputs_that_are_not_batched():
    session = FakeSession(lambda tensor: brightness_boxes(tensor[:1]), ("n", 3, 64, 64), [("n", 100, 6)])
    with pytest.raises(ModelError, match="use batch 1"):
        list(Detector(BARE, session=session).detect_many([grey(99), grey(99)], 2))


def test_unreadable_pictures_among_others(tmp_path: Path):
    sources = [grey(200), tmp_path / "gone.jpg", Source("named", b"no picture"), grey(210)]
    failures: list[tuple[str, str]] = []
    results = list(centernet().detect_many(sources, 2, lambda name, error: failures.append((name, str(error)))))
    assert len(results) == 2
    assert [name for name, _ in failures] == [str(tmp_path / "gone.jpg"), "named"]
    assert failures[1][1].startswith("named: not a picture")
    with pytest.raises(InputError, match="gone.jpg"):
        list(centernet().detect_many(sources))


def test_result_as_json():
    (result,) = centernet().detect_many([Source("photo", np.asarray(grey(204)))])
    assert result.to_dict()["detections"] == [
        {"label": "dog", "class_id": 16, "score": 0.8, "box": [0.0, 0.0, 30.0, 20.0]}
    ]
    assert result.to_dict()["image"] == "photo"


def test_devices_and_close():
    detector = centernet()
    assert detector.device == "fake:0,fake:1"
    with detector:
        pass
    assert not detector.session.closed, "the session is its owner's"


def test_threads_share_a_detector():
    detector = centernet()
    levels = list(range(80, 240, 5)) * 4
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda level: detector(grey(level))[0].score, levels))
    assert found == pytest.approx([level / 255 for level in levels])


def dense(
    kind: str, size: tuple[int, int], classes: int, shape: tuple[object, ...] | None = None, **options: object
) -> Detector:
    outputs = ENCODERS[kind]((Truth(0, 0.9, (8, 8, 24, 24)),), size, classes)
    shapes = [output.shape for output in outputs]
    session = FakeSession(lambda tensor: outputs, shape or (1, 3, *size), shapes, options.pop("type", "tensor(float)"))
    return Detector(options.pop("model", BARE), session=session, **options)


def test_a_bare_file_gets_its_familys_ways():
    network = dense("yolox", (64, 96), 80).network
    assert (network.head.name, network.how, network.labels[16]) == ("yolox", network.head.family, "dog")
    assert dense("yunet", (64, 96), 1).network.labels == ("face",)


def test_classes_without_names(caplog: pytest.LogCaptureFixture):
    assert dense("yolov8", (64, 96), 3).network.labels == ("class 0", "class 1", "class 2")
    assert "its 3 classes have no names" in caplog.text


def test_labels(tmp_path: Path):
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    for labels in (tmp_path / "names.txt", str(tmp_path / "names.txt"), ["a", "b", "c"]):
        assert dense("yolov8", (64, 96), 3, labels=labels).network.labels == ("a", "b", "c")
    with pytest.raises(UsageError, match="2 names for the 3 classes"):
        dense("yolov8", (64, 96), 3, labels=["a", "b"])


@pytest.mark.parametrize(("classes", "ids"), [(["dog", 0], {0, 16}), (["16"], {16}), ([], set())])
def test_wanted_classes(classes: list, ids: set[int]):
    assert [each.class_id for each in centernet(classes=classes)(grey(250))] == [each for each in [16] if each in ids]


def test_unknown_class():
    with pytest.raises(UsageError, match="class 'unicorn' is not known"):
        centernet(classes=["unicorn"])


def test_head_given():
    detector = dense("yolov5", (64, 96), 80, head="yolov5")
    assert detector.network.head.name == "yolov5"
    with pytest.raises(UsageError, match="head 'nanodet' takes three outputs"):
        dense("yolov5", (64, 96), 80, head="nanodet")
    with pytest.raises(UsageError, match="the heads are"):
        dense("yolov5", (64, 96), 80, head="ssd")


def test_a_file_with_a_known_name_but_other_outputs(tmp_path: Path):
    path = tmp_path / "yolox_nano.onnx"
    path.write_bytes(b"a model of one's own")
    assert dense("yolov8", (64, 96), 80, model=path).network.head.name == "yolov8"
    assert dense("yolox", (64, 96), 80, model=path).network.head.name == "yolox"
    with pytest.raises(ModelError, match="not of head centernet"):
        dense("yolov8", (64, 96), 80, model="default")


def test_another_head_than_the_entrys_brings_its_own_ways(tmp_path: Path):
    path = tmp_path / "own.yaml"
    path.write_text(
        "name: own\ntitle: t\ntask: objects\nhead: yolox\ninput: {resize: stretch, channels: rgb}\nlabels: own.txt\n"
        "weights: [{file: own.onnx}]\nlicence: none\nprovenance: none\n"
    )
    (tmp_path / "own.txt").write_text("thing\n" * 80)
    (tmp_path / "own.onnx").write_bytes(b"weights")
    entry = zoo.load(path)
    assert dense("yolox", (64, 96), 80, model=path).network.how == entry.input
    other = dense("yolov5", (64, 96), 80, model=path, head="yolov5").network
    assert (other.how, other.labels[0]) == (other.head.family, "person")


@pytest.mark.parametrize(
    ("imgsz", "size"),
    [(None, (640, 640)), (320, (320, 320)), (300, (320, 320)), ((100, 500), (128, 512)), (1, (32, 32))],
)
def test_size_of_an_input_that_has_none(imgsz: int | tuple[int, int] | None, size: tuple[int, int]):
    session = FakeSession(brightness_boxes, ("n", 3, "height", "width"), [("n", 100, 6)])
    detector = Detector(BARE, session=session, imgsz=imgsz)
    assert detector.network.size == size
    detector(grey(200))
    assert session.fed[0].shape == (1, 3, *size)


def test_size_of_an_input_that_is_fixed():
    assert centernet(imgsz=(64, 96)).network.size == (64, 96)
    with pytest.raises(UsageError, match="fixed at 64×96"):
        centernet(imgsz=640)
    with pytest.raises(UsageError, match="not a size"):
        centernet(imgsz=(1, 2, 3))


@pytest.mark.parametrize(
    ("shape", "type"),
    [((1, 3, 64), "tensor(float)"), ((1, 1, 64, 64), "tensor(float)"), ((1, 3, 64, 64), "tensor(int64)")],
)
def test_a_network_that_takes_no_picture(shape: tuple[int, ...], type: str):
    with pytest.raises(ModelError, match="a detector takes one picture"):
        dense("yolox", (64, 64), 80, shape=shape, type=type)


@pytest.mark.parametrize(("type", "dtype"), [("tensor(float16)", np.float16), ("tensor(uint8)", np.uint8)])
def test_dtype_of_the_input(type: str, dtype: type):
    session = FakeSession(brightness_boxes, (1, 3, 64, 96), [(1, 100, 6)], type)
    Detector(BARE, session=session)(grey(200))
    assert session.fed[0].dtype == dtype


def test_outputs_of_another_shape_than_declared():
    session = FakeSession(lambda tensor: [np.zeros((1, 7, 7))], (1, 3, 64, 96), [(1, "n", 6)])
    detector = Detector(BARE, session=session, head="centernet")
    with pytest.raises(ModelError, match="does not fit its outputs 1×7×7"):
        detector(grey(200))


@pytest.mark.parametrize("wrong", [{"conf": 2}, {"iou": -1}, {"max_det": 0}])
def test_limits_out_of_range(wrong: dict):
    with pytest.raises(UsageError):
        centernet(**wrong)
    with pytest.raises(UsageError, match="batch 0"):
        centernet().batch_size(0)
