"""The model zoo: what each YAML file says about a detector, and which entry belongs to a file.

An entry is a YAML file with the keys of ``Entry``; paths in it are relative to it. The entries that ship are in the
package ``clnn.models``; a file of one's own is given by its path (``--model my.yaml``).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt

from clnn import schema
from clnn.errors import InputError, ModelError, UsageError
from clnn.vision import heads
from clnn.vision.preprocess import Preprocess

DEFAULT = "centernet_mbv3_coco"
"""The entry that "default" stands for."""
IMGSZ = 640
"""Side of the input of a network without a fixed size, where its entry says nothing else."""
_PACKAGE = Path(str(resources.files("clnn.models")))
_ZOO = _PACKAGE / "zoo"
LABELS = _PACKAGE / "labels"
"""The folder of the class names that ship."""


class Weights(BaseModel):
    """An ONNX file of an entry: its path, and its digest where there is only one such file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    sha256: str | None = None


def _known_head(name: str) -> str:
    if name not in heads.HEADS:
        raise ValueError(f"'{name}' is none of {', '.join(heads.HEADS)}")
    return name


class Entry(BaseModel):
    """A detector: how its pictures are prepared, its boxes read and its classes called, and whose it is.

    ``imgsz`` is the side of the square input of networks whose input has no fixed size.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    task: Literal["objects", "faces"]
    head: Annotated[str, AfterValidator(_known_head)]
    input: Preprocess
    imgsz: PositiveInt = IMGSZ
    labels: str
    weights: Annotated[tuple[Weights, ...], Field(min_length=1)]
    licence: str
    provenance: str
    _folder: Path

    def model_post_init(self, context: Any) -> None:
        self._folder = context

    def path(self, weights: Weights) -> Path | None:
        """Where a weights file is: beside the YAML file as it says, else in the working folder, else nowhere."""
        places = (Path(os.path.normpath(self._folder / weights.file)), Path.cwd() / Path(weights.file).name)
        return next((place for place in places if place.is_file()), None)

    @property
    def shipped(self) -> bool:
        """Whether the weights came with the YAML file."""
        return (self._folder / self.weights[0].file).is_file()

    def read_labels(self) -> list[str]:
        return read_labels(self._folder / self.labels)


@dataclass(frozen=True)
class Model:
    """What ``--model`` means: something a session loads, and its entry, unless the zoo does not know it.

    ``named`` tells that the user asked for the entry, rather than for a file that looks like its.
    """

    name: str
    source: Any
    entry: Entry | None
    named: bool = False


def load(path: Path) -> Entry:
    """Read and check one YAML file.

    Raises:
        UsageError: it cannot be read, a key is unknown or missing, or a value is wrong; the message has the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"zoo file '{path}': not a readable text file ({error}); check the path") from error
    return schema.parse(text, str(path), Entry, context=path.parent)


def entries() -> list[Entry]:
    """The entries that ship, the default detector first."""
    found = [load(path) for path in sorted(_ZOO.glob("*.yaml"))]
    return sorted(found, key=lambda entry: entry.name != DEFAULT)


def find(name: str) -> tuple[Entry, Weights] | None:
    """The entry with this name, or whose weights file has it (without the ending), and that file."""
    # An entry's file has its name: the others need not be read.
    own = _ZOO / f"{DEFAULT if name == 'default' else name}.yaml"
    if own.is_file():
        entry = load(own)
        return entry, entry.weights[0]
    matching = ((entry, weights) for entry in entries() for weights in entry.weights if name == Path(weights.file).stem)
    return next(matching, None)


def resolve(model: str | os.PathLike[str] | Any) -> Model:
    """Find out what ``--model`` means.

    Args:
        model: the name of an entry or of one of its files, the path of an ONNX file or of a zoo YAML file, or what
            else ``clnn.InferenceSession`` takes (bytes, ``onnx.ModelProto``).

    Raises:
        UsageError: no such entry, and no such file; or the YAML file is wrong.
        ModelError: the entry's weights do not ship and are not in the working folder.
    """
    if not isinstance(model, (str, os.PathLike)):
        return Model("model", model, None)
    path = Path(model)
    if path.suffix in (".yaml", ".yml"):
        entry = load(path)
        return _of_entry(entry, entry.weights[0])
    if path.is_file():
        found = find(path.stem) or _find_digest(path)
        return Model(str(model), path, found[0] if found else None)
    if path.suffix == ".onnx":
        # Loading it gives the error that every command gives for a model that is not there.
        return Model(str(model), path, None)
    found = find(str(model))
    if found is None:
        names = ", ".join(entry.name for entry in entries())
        raise UsageError(f"model '{model}': no such file, and no such entry of the zoo; it has {names}")
    return _of_entry(*found)


def _of_entry(entry: Entry, weights: Weights) -> Model:
    path = entry.path(weights)
    if path is None:
        raise ModelError(
            f"model '{entry.name}': its weights do not ship with clnn; put {weights.file} into the working folder, "
            f"or give its path with --model"
        )
    return Model(path.stem, path, entry, named=True)


def _find_digest(path: Path) -> tuple[Entry, Weights] | None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    matching = ((entry, weights) for entry in entries() for weights in entry.weights if weights.sha256 == digest)
    return next(matching, None)


def read_labels(path: str | os.PathLike[str]) -> list[str]:
    """Class names from a text file, one per line, the first for class 0.

    Raises:
        InputError: the file cannot be read or is empty.
    """
    try:
        names = [line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"labels '{path}': not a readable text file ({error}); give a name per line") from error
    while names and not names[-1]:
        names.pop()
    if not names:
        raise InputError(f"labels '{path}': the file is empty; give one class name per line")
    return names
