"""Results on disk: annotated pictures and text files, which never replace a picture that was read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from clnn.errors import InputError
from clnn.vision.detection import ImageResult
from clnn.vision.draw import draw
from clnn.vision.sources import Source

JPEG_QUALITY = 92


class Saver:
    """Writes results into a folder, which is made when it is missing.

    A picture is called like its source; JPEG stays JPEG, all else becomes PNG. Where two sources have one name, or
    the file is one of the sources, a number is added: photo_2.jpg. Results of an earlier run are replaced.

    Args:
        sources: everything that is or will be read in this run.
        pictures: write annotated pictures.
        text: write a text file per picture, a line per detection: class, x and y of the centre, width and height as
            fractions of the picture, score.
    """

    def __init__(self, folder: Path, sources: Iterable[Source], pictures: bool, text: bool) -> None:
        self._folder = folder
        self._pictures = pictures
        self._text = text
        self._sources = {key for each in sources if isinstance(each.data, Path) and (key := _identity(each.data))}
        self._taken: set[str] = set()

    def save(self, result: ImageResult) -> None:
        """Write one result.

        Raises:
            InputError: the folder or a file cannot be written.
        """
        if not (self._pictures or self._text):
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            target = self._free(result.image)
            if self._pictures:
                draw(result.pixels, result.detections).save(target, quality=JPEG_QUALITY)
            if self._text:
                target.with_suffix(".txt").write_text(_lines(result), encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot write into '{self._folder}' ({error}); give another folder with --out") from error

    def _free(self, source: str) -> Path:
        """A path for the picture of ``source`` that is no source's and not given away yet."""
        name = Path(source)
        stem = "stdin" if source == "-" else name.stem or "image"
        ending = ".jpg" if name.suffix.lower() in (".jpg", ".jpeg", ".jfif") else ".png"
        number = 1
        while True:
            target = self._folder / f"{stem}{'' if number == 1 else f'_{number}'}{ending}"
            # Without its ending, as the text file takes the name too; without case, as some file systems see it.
            if target.stem.casefold() not in self._taken and _identity(target) not in self._sources:
                self._taken.add(target.stem.casefold())
                return target
            number += 1


def _identity(path: Path) -> tuple[int, int] | None:
    """What a file is, whatever names and links lead to it; ``None`` where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _lines(result: ImageResult) -> str:
    lines = []
    for each in result.detections:
        x1, y1, x2, y2 = each.box
        centre = (x1 + x2) / 2 / result.width, (y1 + y2) / 2 / result.height
        size = (x2 - x1) / result.width, (y2 - y1) / result.height
        lines.append(f"{each.class_id} " + " ".join(f"{value:.6f}" for value in (*centre, *size, each.score)) + "\n")
    return "".join(lines)
