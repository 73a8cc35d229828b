"""Data sets in COCO's format, and how their categories relate to a model's classes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from clnn.errors import InputError, UsageError

log = logging.getLogger("clnn")

VOC_NAMES = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
"""Pascal VOC's spellings of COCO's names."""

Id = int | str


class Category(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: Id
    name: str


class Photo(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: Id
    file_name: str


class Annotation(BaseModel):
    """A true box: x, y, width, height in pixels."""

    model_config = ConfigDict(frozen=True)

    image_id: Id
    category_id: Id
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0


class Instances(BaseModel):
    """What is read of a COCO ``instances.json``; other keys are ignored."""

    model_config = ConfigDict(frozen=True)

    images: tuple[Photo, ...]
    categories: tuple[Category, ...]
    annotations: tuple[Annotation, ...]


@dataclass(frozen=True)
class DataSet:
    """Photos with their true boxes; ``paths`` are in the order of ``instances.images``."""

    name: str
    instances: Instances
    paths: tuple[Path, ...]


def read(data: Path, images: Path) -> DataSet:
    """Read and check a data set.

    Args:
        data: COCO's ``instances.json``.
        images: the folder that its file names start from.

    Raises:
        InputError: it cannot be read, lacks something, refers to photos or categories that it does not list, or a
            photo is missing.
    """
    name = f"data set '{data}'"
    try:
        instances = Instances.model_validate(json.loads(data.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"{name}: {place}: {first['msg']}; give a COCO instances.json") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{name}: not a readable JSON file ({error}); give a COCO instances.json") from error
    photos, categories, annotations = instances.images, instances.categories, instances.annotations
    for kind, known, used in (
        ("image_id", {photo.id for photo in photos}, {each.image_id for each in annotations}),
        ("category_id", {each.id for each in categories}, {each.category_id for each in annotations}),
    ):
        if used - known:
            raise InputError(f"{name}: {kind} {min(used - known, key=str)} is used, but not listed; add it")
    if not photos or len({photo.id for photo in photos}) < len(photos):
        raise InputError(f"{name}: no images, or one id for two of them; each image needs an id of its own")
    paths = tuple(images / photo.file_name for photo in photos)
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise InputError(f"{name}: {len(missing)} of {len(paths)} photos are missing, as {missing[0]}; check --images")
    return DataSet(name, instances, paths)


def read_category_map(path: Path) -> dict[str, str | None]:
    """Read a YAML or JSON file of ``category of the data set: class of the model``; null leaves a category out.

    Raises:
        InputError: it cannot be read, or is no such table.
    """
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"category map '{path}': not a readable YAML or JSON file ({error})") from error
    if not isinstance(table, dict) or not all(isinstance(value, (str, type(None))) for value in table.values()):
        raise InputError(f"category map '{path}': give lines 'category of the data set: class of the model'")
    return {str(key): value for key, value in table.items()}


def match_categories(
    categories: Sequence[Category], labels: Sequence[str], table: Mapping[str, str | None]
) -> dict[Id, int]:
    """The model's class for each category of the data set that has one.

    A category is looked up in ``table``, then among ``labels``, then among VOC's spellings. One that the model does
    not know is left out with a warning: nothing can be measured there.

    Raises:
        UsageError: ``table`` names a category or a class that does not exist.
        InputError: no category is left.
    """
    index_of = {label: index for index, label in reversed(list(enumerate(labels)))}
    unknown = sorted(table.keys() - {each.name for each in categories})
    unknown += sorted({name for name in table.values() if name is not None} - index_of.keys())
    if unknown:
        raise UsageError(f"category map: '{unknown[0]}' is no category of the data set, or no class of the model")
    classes: dict[Id, int] = {}
    left_out = []
    for category in categories:
        spelling = category.name if category.name in index_of else VOC_NAMES.get(category.name)
        name = table.get(category.name, spelling)
        if name in index_of:
            classes[category.id] = index_of[name]
        elif category.name not in table:
            left_out.append(category.name)
    if not classes:
        raise InputError("the data set and the model have no class in common; name pairs with --category-map FILE")
    if left_out:
        log.warning("left out, as the model has no such class (see --category-map): %s", ", ".join(left_out))
    return classes
