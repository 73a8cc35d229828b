"""From a network's raw outputs to detections in the picture."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from clnn.errors import UsageError
from clnn.vision.detection import Detection
from clnn.vision.heads import Candidates, Head, Size
from clnn.vision.nms import nms
from clnn.vision.preprocess import Placement


@dataclass(frozen=True)
class Limits:
    """What counts as a detection.

    ``conf``: least score; ``iou``: two boxes of a class that overlap more are one object; ``max_det``: most objects
    per picture; ``classes``: the indices that are wanted, ``None`` for all.

    Raises:
        UsageError: a value is out of its range.
    """

    conf: float = 0.25
    iou: float = 0.45
    max_det: int = 100
    classes: Collection[int] | None = None

    def __post_init__(self) -> None:
        for name, value in (("conf", self.conf), ("iou", self.iou)):
            if not 0 <= value <= 1:
                raise UsageError(f"{name} {value}: not between 0 and 1")
        if self.max_det < 1:
            raise UsageError(f"max_det {self.max_det}: not a number of detections; give 1 or more")


def detections(
    head: Head,
    outputs: Sequence[np.ndarray],
    size: Size,
    placement: Placement,
    limits: Limits,
    labels: Sequence[str],
) -> tuple[Detection, ...]:
    """Decode, filter and suppress the outputs of one picture; best first.

    Args:
        outputs: of one picture, as ``head.decode`` takes them.
        size: (height, width) of the network's input.
        placement: where the picture lies in it.
        labels: names of the classes; an index beyond them is called "class <index>".
    """
    # Garbage in an output (NaN, infinities, a box of e^1000) costs its row, not a warning per picture.
    with np.errstate(all="ignore"):
        candidates = head.decode(outputs, size)
        rows = _wanted(candidates, limits)
        boxes = placement.to_picture(candidates.boxes[rows].reshape(-1, 2, 2)).reshape(-1, 4)
    visible = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    rows, boxes = rows[visible], boxes[visible]
    scores, class_ids = candidates.scores[rows], candidates.class_ids[rows]
    if head.suppress:
        kept = nms(boxes, scores, class_ids, limits.iou, limits.max_det)
    else:
        kept = np.argsort(-scores, kind="stable")[: limits.max_det]
    marks = None if candidates.landmarks is None else placement.to_picture(candidates.landmarks[rows])
    return tuple(
        Detection(
            label=labels[class_ids[row]] if class_ids[row] < len(labels) else f"class {class_ids[row]}",
            class_id=int(class_ids[row]),
            score=float(scores[row]),
            box=tuple(boxes[row].tolist()),
            landmarks=None if marks is None else tuple(map(tuple, marks[row].tolist())),
        )
        for row in kept
    )


def _wanted(candidates: Candidates, limits: Limits) -> np.ndarray:
    """Indices of the candidates that are finite, of a wanted class and score enough."""
    wanted = (candidates.scores >= limits.conf) & np.isfinite(candidates.scores)
    wanted &= np.isfinite(candidates.boxes).all(axis=1)
    if candidates.landmarks is not None:
        wanted &= np.isfinite(candidates.landmarks).all(axis=(1, 2))
    if limits.classes is not None:
        wanted &= np.isin(candidates.class_ids, list(limits.classes))
    return np.flatnonzero(wanted)
