"""SOURCE arguments, and names of saved results."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clnn.errors import InputError
from clnn.vision.detection import Detection, ImageResult
from clnn.vision.save import Saver
from clnn.vision.sources import Source, expand


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """b.JPG, a.png, notes.md and sub/c.jpg in the working folder."""
    (tmp_path / "sub").mkdir()
    for name in ("b.JPG", "a.png", "sub/c.jpg"):
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    (tmp_path / "notes.md").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*sources: str, stdin: bytes = b"") -> list[str]:
    return [Path(each.name).as_posix() for each in expand(sources, lambda: stdin)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a.png", ["a.png"]),
        ("missing.jpg", ["missing.jpg"]),
        (".", ["a.png", "b.JPG"]),
        ("*.png", ["a.png"]),
        ("**/*.jpg", ["sub/c.jpg"]),
        ("?.[pJ]*", ["a.png", "b.JPG"]),
    ],
)
def test_files_folders_patterns(folder: Path, source: str, expected: list[str]):
    assert names(source) == expected


def test_a_file_with_a_pattern_for_a_name(folder: Path):
    (folder / "a[1].png").write_bytes((folder / "a.png").read_bytes())
    assert names("a[1].png") == ["a[1].png"]


def test_sources_keep_their_order(folder: Path):
    assert names("sub", "a.png") == ["sub/c.jpg", "a.png"]


def test_list_of_paths(folder: Path):
    (folder / "sub" / "list.txt").write_text(f"# photos\nc.jpg\n\n  a.png\n{folder / 'b.JPG'}\ngone.jpg\n", "utf-8")
    assert names("sub/list.txt") == ["sub/c.jpg", "a.png", (folder / "b.JPG").as_posix(), "gone.jpg"]


def test_standard_input(folder: Path):
    data = (folder / "a.png").read_bytes()
    assert expand(["-"], lambda: data) == [Source("-", data)]
    assert expand(["-"], lambda: b"P3 1 1 255 0 0 0\n") == [Source("-", b"P3 1 1 255 0 0 0\n")]
    assert names("-", stdin=b"a.png\nsub/c.jpg\n") == ["a.png", "sub/c.jpg"]


@pytest.mark.parametrize("source", ["empty", "*.tiff", "empty.txt", "latin1.txt", "-"])
def test_nothing_there(folder: Path, source: str):
    (folder / "empty").mkdir()
    (folder / "empty.txt").write_text("# nothing\n")
    (folder / "latin1.txt").write_bytes("grün.jpg".encode("latin-1"))
    with pytest.raises(InputError, match=r"^(empty|\*\.tiff|empty\.txt|latin1\.txt|standard input): "):
        names(source)


def result(name: str) -> ImageResult:
    found = Detection("dog", 16, 0.5, (1.0, 2.0, 3.0, 6.0))
    return ImageResult(name, 4, 8, (found,), {}, np.zeros((8, 4, 3), np.uint8))


def saved(folder: Path, sources: list[str], pictures: bool = True, text: bool = False) -> list[str]:
    saver = Saver(folder, [Source(each, Path(each)) for each in sources], pictures, text)
    before = listing(folder)
    for each in sources:
        saver.save(result(each))
    return sorted(listing(folder) - before)


def listing(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def test_formats_and_folder(folder: Path):
    assert saved(folder / "out" / "deep", ["a.png", "b.JPG", "x.tiff"]) == ["a.png", "b.jpg", "x.png"]


def test_same_names_from_different_folders(folder: Path):
    assert saved(folder / "out", ["c.jpg", "sub/c.jpg", "C.png"]) == ["C_3.png", "c.jpg", "c_2.jpg"]


def test_results_of_an_earlier_run_are_replaced(folder: Path):
    assert saved(folder / "out", ["a.png"]) == ["a.png"]
    assert saved(folder / "out", ["a.png"]) == []


def test_no_input_is_overwritten(folder: Path):
    kept = (folder / "a.png").read_bytes()
    assert saved(folder, ["a.png"]) == ["a_2.png"]
    assert (folder / "a.png").read_bytes() == kept


@pytest.mark.skipif(os.name == "nt", reason="making links needs a privilege on Windows")
def test_no_input_is_overwritten_through_a_link(folder: Path):
    (folder / "out").mkdir()
    (folder / "out" / "a.png").symlink_to(folder / "a.png")
    os.link(folder / "a.png", folder / "out" / "a_2.png")
    assert saved(folder / "out", ["a.png"]) == ["a_3.png"]


def test_text(folder: Path):
    assert saved(folder / "out", ["a.png"], pictures=False, text=True) == ["a.txt"]
    values = (folder / "out" / "a.txt").read_text().split()
    assert values == ["16", "0.500000", "0.500000", "0.500000", "0.500000", "0.500000"]


def test_nothing_to_save(folder: Path):
    assert saved(folder / "out", ["a.png"], pictures=False) == []


def test_folder_that_cannot_be_made(folder: Path):
    with pytest.raises(InputError, match="--out"):
        saved(folder / "a.png", ["a.png"])
