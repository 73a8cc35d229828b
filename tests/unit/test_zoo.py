"""The zoo's files, and what ``--model`` finds."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from clnn.errors import InputError, ModelError, UsageError
from clnn.vision import zoo
from clnn.vision.heads import HEADS

OWN = """\
name: mine
title: My detector
task: objects
head: yolov8
input: {resize: letterbox, channels: rgb, std: [255, 255, 255]}
labels: names.txt
weights:
  - file: mine.onnx
licence: none
provenance: trained here
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A zoo file of one's own, with its labels and weights."""
    path = tmp_path / "own" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(OWN)
    (path.parent / "names.txt").write_text("cat\nlong haired dog\n\n")
    (path.parent / "mine.onnx").write_bytes(b"weights")
    return path


@pytest.mark.parametrize("entry", zoo.entries(), ids=lambda entry: entry.name)
def test_entries_are_complete(entry: zoo.Entry):
    assert (zoo.LABELS.parent / "zoo" / f"{entry.name}.yaml").is_file(), "the file has the entry's name"
    head = HEADS[entry.head]
    assert entry.input == head.family, "a bare file of this family is prepared alike"
    assert entry.read_labels() == zoo.read_labels(zoo.LABELS / f"{head.labels}.txt")
    for weights in entry.weights:
        path = entry.path(weights)
        if path is not None and weights.sha256 is not None:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == weights.sha256


def test_the_default_ships():
    default = zoo.entries()[0]
    assert default.name == zoo.DEFAULT
    assert [entry.name for entry in zoo.entries() if entry.shipped] == [zoo.DEFAULT]
    assert zoo.resolve("default").source == zoo.resolve(zoo.DEFAULT).source
    # Both facts about its origin.
    assert "MIT" in default.provenance
    assert "publish no licence file" in default.provenance


def test_coco_has_its_80_names_in_order():
    names = zoo.read_labels(zoo.LABELS / "coco.txt")
    assert len(set(names)) == 80
    assert (names[0], names[15], names[16], names[79]) == ("person", "cat", "dog", "toothbrush")


def test_an_entry_without_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="yolox_nano.onnx into the working folder"):
        zoo.resolve("yolox_nano")
    (tmp_path / "yolox_nano_fp16.onnx").write_bytes(b"weights")
    for name in ("yolox_nano_fp16", "yolox_nano_fp16.onnx"):
        found = zoo.resolve(name)
        assert found.entry.name == "yolox_nano"
        assert Path(found.source).name == "yolox_nano_fp16.onnx"


def test_a_file_is_known_by_its_name_or_its_content(tmp_path: Path):
    by_name = tmp_path / "yolov8s.onnx"
    by_name.write_bytes(b"anything")
    assert zoo.resolve(by_name).entry.name == "yolov8"
    assert not zoo.resolve(by_name).named
    by_content = tmp_path / "renamed.onnx"
    by_content.write_bytes(Path(zoo.resolve("default").source).read_bytes())
    assert zoo.resolve(str(by_content)).entry.name == zoo.DEFAULT
    unknown = tmp_path / "unknown.onnx"
    unknown.write_bytes(b"anything")
    assert zoo.resolve(unknown).entry is None


def test_what_is_not_there():
    with pytest.raises(UsageError, match=f"it has {zoo.DEFAULT}, "):
        zoo.resolve("yolo99")
    # A session says what every command says of a file that is missing.
    assert zoo.resolve("missing.onnx").source == Path("missing.onnx")
    assert zoo.resolve(b"bytes of a model").entry is None


def test_a_zoo_file_of_ones_own(own: Path):
    found = zoo.resolve(own)
    assert found.source == own.parent / "mine.onnx"
    assert found.entry.read_labels() == ["cat", "long haired dog"]
    assert found.entry.imgsz == 640


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("head: yolov8", "head: yolov99", r"mine\.yaml:4: head: .*yolov99"),
        ("licence", "license", r"mine\.yaml:9: license: unknown key|mine\.yaml:1: licence: Field required"),
        ("title: My detector", "title: My detector\ncolour: red", r"mine\.yaml:3: colour: unknown key"),
        ("resize: letterbox", "resize: crop", r"mine\.yaml:5: input\.resize: "),
        ("channels: rgb", "channels: rgb, scale: 2", r"mine\.yaml:5: input\.scale: unknown key"),
        ("  - file: mine.onnx", "  - file: mine.onnx\n    md5: 0", r"mine\.yaml:9: weights\.0\.md5: unknown key"),
        ("std: [255, 255, 255]", "std: [255, 255]", r"mine\.yaml:5: input\.std"),
        ("std: [255, 255, 255]", "std: [255, 0, 255]", r"mine\.yaml:5: input.*: std "),
        ("\n  - file: mine.onnx", " []", r"mine\.yaml:7: weights"),
        ("name: mine", "name: mine\nname: yours", r"mine\.yaml:2: the key 'name' is there twice"),
        ("name: mine", "name: [", r"mine\.yaml:\d+: this is not YAML"),
    ],
)
def test_mistakes_are_named_with_their_line(own: Path, old: str, new: str, message: str):
    own.write_text(OWN.replace(old, new))
    with pytest.raises(UsageError) as raised:
        zoo.resolve(own)
    assert re.search(message, str(raised.value)), str(raised.value)


def test_a_zoo_file_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(UsageError, match="not a readable text file"):
        zoo.resolve(tmp_path / "missing.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(UsageError, match="empty.yaml:1"):
        zoo.resolve(tmp_path / "empty.yaml")


@pytest.mark.parametrize("content", [None, b"", b"\n\n", b"\xff\xfe\x00"])
def test_labels_that_cannot_be_used(tmp_path: Path, content: bytes | None):
    path = tmp_path / "labels.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="labels"):
        zoo.read_labels(path)
