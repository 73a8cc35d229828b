"""What a head is: how a family of detectors writes boxes into its outputs, and how to read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from clnn.errors import ModelError, UsageError
from clnn.vision.preprocess import Preprocess

Dim = int | str | None
Shape = Sequence[Dim]
"""A shape as a model declares it: a dimension that is not an ``int`` may have any size."""
Size = tuple[int, int]
"""Height and width of the network's input in pixels."""


@dataclass(frozen=True)
class Candidates:
    """Boxes of one picture before thresholds and suppression.

    ``boxes`` [n, 4] are x1 y1 x2 y2 and ``landmarks`` [n, k, 2] are x y, in pixels of the network's input;
    ``scores`` [n] and ``class_ids`` [n] are those of the best class. Values may be NaN or infinite.
    """

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    landmarks: np.ndarray | None = None


@dataclass(frozen=True)
class Head:
    """A decoder with what belongs to it.

    ``decode`` takes the outputs of one picture (a leading batch dimension of 1 may be there or not) and the input's
    size. ``matches`` tells from the outputs' shapes, and the input's size where it is fixed, whether they are this
    head's; ``classes`` then gives the number of classes, ``None`` where the shapes do not tell. ``family`` is how
    the project that the head comes from prepares its pictures; ``layout`` describes the outputs in a message;
    ``labels`` names the file of class names that networks of this family have as a rule; ``suppress`` is false where
    the network picks its boxes itself.
    """

    name: str
    decode: Callable[[Sequence[np.ndarray], Size], Candidates]
    matches: Callable[[Sequence[Shape], Size | None], bool]
    classes: Callable[[Sequence[Shape]], int | None]
    family: Preprocess
    layout: str
    labels: str = "coco"
    suppress: bool = True


HEADS: dict[str, Head] = {}

PYRAMIDS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
"""The strides that heads which place their boxes themselves come with; only the number of cells follows from them."""


def register(head: Head) -> None:
    """Add a head to those that `recognise` and ``--head`` know."""
    HEADS[head.name] = head


def get(name: str) -> Head:
    """The head called ``name``.

    Raises:
        UsageError: there is none.
    """
    if name not in HEADS:
        raise UsageError(f"head '{name}' is not known; the heads are {', '.join(HEADS)}")
    return HEADS[name]


def recognise(shapes: Sequence[Shape], size: Size | None = None) -> Head:
    """The head whose outputs have these shapes.

    Args:
        shapes: of all the network's outputs, in any order.
        size: height and width of the input, ``None`` when they are not fixed.

    Raises:
        ModelError: no head fits, or several do.
    """
    fitting = [head for head in HEADS.values() if head.matches(shapes, size)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = " or ".join(head.name for head in fitting)
        raise ModelError(f"the outputs {describe(shapes)} fit several heads: give --head {names}")
    known = "; ".join(f"{head.name}: {head.layout}" for head in HEADS.values())
    raise ModelError(f"the outputs {describe(shapes)} are not those of a detector that clnn decodes ({known})")


def describe(shapes: Sequence[Shape]) -> str:
    """Shapes as a message shows them: 1×3549×85, ?×4."""
    return ", ".join("×".join(str(dim) if isinstance(dim, int) else "?" for dim in shape) for shape in shapes)


def fits(dim: Dim, *sizes: int) -> bool:
    """Whether a declared dimension can have one of these sizes."""
    return dim in sizes if isinstance(dim, int) else True


def counts_boxes(dim: Dim, size: Size | None, *pyramids: Sequence[int], per_cell: int = 1) -> bool:
    """Whether a declared dimension can be the number of boxes, so many per cell of one of the pyramids of strides.

    Where the input's size is not fixed, the number of boxes cannot be either.
    """
    if size is None:
        return not isinstance(dim, int)
    return fits(dim, *(per_cell * cells(size, strides) for strides in pyramids))


def is_rows(shape: Shape, least_columns: int) -> bool:
    """Whether a shape is [batch, rows, columns] or [rows, columns] with a known number of columns, at least so many."""
    # [1, columns] are the scores of a classifier.
    rank_fits = len(shape) == 3 or (len(shape) == 2 and shape[0] != 1)
    return rank_fits and isinstance(shape[-1], int) and shape[-1] >= least_columns


def cells(size: Size, strides: Sequence[int]) -> int:
    """Number of cells of the grids that a pyramid of ``strides`` lays over the input."""
    return sum(-(-size[0] // stride) * -(-size[1] // stride) for stride in strides)


def grid(size: Size, strides: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Column and row [n, 2] of each cell, one grid after the other, row by row, and the cells' strides [n, 1]."""
    points = []
    for stride in strides:
        rows, columns = np.mgrid[: -(-size[0] // stride), : -(-size[1] // stride)]
        points.append(np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32))
    repeats = [len(cells) for cells in points]
    return np.concatenate(points), np.repeat(np.float32(strides), repeats)[:, None]


def rows_of(output: np.ndarray) -> np.ndarray:
    """An output of one picture as a float32 matrix whose columns are its innermost dimension."""
    return output.reshape(-1, output.shape[-1]).astype(np.float32, copy=False)


def corners(centres: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """x1 y1 x2 y2 [n, 4] of boxes given by centre [n, 2] and width and height [n, 2]."""
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)


def best_class(boxes: np.ndarray, scores: np.ndarray) -> Candidates:
    """Candidates that keep, for each box, the best of its class scores [n, classes]."""
    class_ids = scores.argmax(axis=1)
    return Candidates(boxes, scores[np.arange(len(scores)), class_ids], class_ids)
