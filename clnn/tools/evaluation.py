"""Mean average precision of a detector on a data set, by pycocotools."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from clnn.errors import InputError, UsageError
from clnn.tools.dataset import DataSet, match_categories
from clnn.vision.detector import Detector

CONF = 0.001
"""Least score that counts. A precision-recall curve needs weak detections too; this is the usual choice."""
MAX_DET = 100
"""Most detections per photo, COCO's own limit."""


@dataclass(frozen=True)
class Evaluation:
    """``map50`` and ``map`` are means over the classes of average precision at IoU 0.5 and at 0.5 to 0.95.

    ``per_class`` has both, as "AP50" and "AP", by the model's class names; ``ms_per_image`` is the mean time
    per photo from reading the files to their detections.
    """

    map50: float
    map: float
    per_class: Mapping[str, Mapping[str, float]]
    images: int
    ms_per_image: float

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as the command line writes it in JSON."""
        return {
            "mAP50": round(self.map50, 5),
            "mAP": round(self.map, 5),
            "per_class": {name: {k: round(v, 5) for k, v in each.items()} for name, each in self.per_class.items()},
            "images": self.images,
            "ms_per_image": round(self.ms_per_image, 3),
        }


def evaluate(
    detector: Detector,
    dataset: DataSet,
    category_map: Mapping[str, str | None] | None = None,
    on_image: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Run a detector over a data set and score it.

    Args:
        detector: made with ``conf=CONF`` and ``max_det=MAX_DET``, or the curve is cut short.
        category_map: see ``dataset.match_categories``.
        on_image: called after each photo.

    Raises:
        InputError: a photo cannot be used, or nothing in the data set can be measured.
        UsageError: pycocotools is not installed, or the map does not fit.
    """
    modules = import_pycocotools()
    labels, instances = detector.network.labels, dataset.instances
    classes = match_categories(instances.categories, labels, category_map or {})
    index_of = {photo.id: index for index, photo in enumerate(instances.images)}
    truth = [
        _annotation(index_of[each.image_id], classes[each.category_id], each.bbox, iscrowd=each.iscrowd)
        for each in instances.annotations
        if each.category_id in classes
    ]
    if not truth:
        raise InputError(f"{dataset.name}: no box of a class that the model knows; there is nothing to measure")
    found: list[dict[str, Any]] = []
    started = time.perf_counter()
    for index, result in enumerate(detector.detect_many(dataset.paths)):
        for each in result.detections:
            x1, y1, x2, y2 = each.box
            found.append(_annotation(index, each.class_id, (x1, y1, x2 - x1, y2 - y1), score=each.score))
        on_image()
    total_ms = (time.perf_counter() - started) * 1e3
    photos = len(dataset.paths)
    per_class = {
        labels[class_id]: {"AP50": ap50, "AP": ap}
        for class_id, ap50, ap in _average_precision(modules, truth, found, photos, sorted(set(classes.values())))
    }
    map50, mean = (float(np.mean([each[key] for each in per_class.values()])) for key in ("AP50", "AP"))
    return Evaluation(map50, mean, per_class, photos, total_ms / photos)


def import_pycocotools() -> tuple[ModuleType, ModuleType]:
    """The modules ``coco`` and ``cocoeval``.

    Raises:
        UsageError: they are not installed.
    """
    try:
        from pycocotools import coco, cocoeval
    except ImportError as error:
        raise UsageError("eval needs pycocotools, which is not installed: pip install 'clnn[eval]'") from error
    return coco, cocoeval


def _annotation(image: int, class_id: int, bbox: Sequence[float], **more: float) -> dict[str, Any]:
    # COCO's area is that of the outline; only the figure for all sizes is used here, which does not ask for it.
    area = bbox[2] * bbox[3]
    return {"image_id": image, "category_id": class_id, "bbox": list(bbox), "area": area, "iscrowd": 0, **more}


def _average_precision(
    modules: tuple[ModuleType, ModuleType],
    truth: Sequence[dict[str, Any]],
    found: Sequence[dict[str, Any]],
    photos: int,
    class_ids: Sequence[int],
) -> list[tuple[int, float, float]]:
    """Class, average precision at IoU 0.5 and at 0.5 to 0.95, of each class that has a true box."""
    coco, cocoeval = modules

    def index(annotations: Sequence[dict[str, Any]]) -> Any:
        api = coco.COCO()
        api.dataset = {
            "images": [{"id": photo} for photo in range(photos)],
            "categories": [{"id": class_id} for class_id in class_ids],
            # From 1: pycocotools takes the id 0 for "no match".
            "annotations": [{**each, "id": number} for number, each in enumerate(annotations, 1)],
        }
        api.createIndex()
        return api

    # pycocotools prints its progress; standard output is for results.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = cocoeval.COCOeval(index(truth), index(found), "bbox")
        evaluation.params.maxDets = [1, 10, MAX_DET]
        evaluation.evaluate()
        evaluation.accumulate()
    # [IoU threshold, recall, class, area (0: all), detections (2: MAX_DET)]; -1 where a class has no true box.
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    return [
        (class_id, float(precision[0, :, position].mean()), float(precision[:, :, position].mean()))
        for position, class_id in enumerate(class_ids)
        if (precision[:, :, position] > -1).any()
    ]
