"""What a detector must know of its network: size of the input, preparation of pictures, head, class names."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clnn.errors import ModelError, UnsupportedError, UsageError
from clnn.vision import heads, zoo
from clnn.vision.heads import Head, Shape, Size
from clnn.vision.preprocess import Preprocess

log = logging.getLogger("clnn")

STRIDE = 32
"""Inputs without a fixed size are rounded up to a multiple of this, the coarsest grid of the heads."""
DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}

Labels = str | os.PathLike[str] | Sequence[str]


@dataclass(frozen=True)
class Network:
    """``size`` is height and width of the input, ``batch`` how many pictures it takes, ``None`` for any number."""

    name: str
    input: str
    dtype: type[np.generic]
    batch: int | None
    size: Size
    how: Preprocess
    head: Head
    labels: tuple[str, ...]


def examine(
    session: Any, model: zoo.Model, head: str | None, labels: Labels | None, imgsz: int | Size | None
) -> Network:
    """Join what a session's inputs and outputs tell, what the zoo knows and what the user asks for.

    Raises:
        ModelError: the network is no detector, or no head fits its outputs.
        UsageError: ``head``, ``labels`` or ``imgsz`` do not fit the network.
        InputError: the file of labels cannot be read.
    """
    picture = _picture_input(session)
    fixed = tuple(dim if isinstance(dim, int) else None for dim in picture.shape)
    shapes = [tuple(output.shape) for output in session.get_outputs()]
    chosen, entry = _choose_head(head, model, shapes, None if None in fixed[2:] else fixed[2:])
    return Network(
        name=model.name,
        input=picture.name,
        dtype=DTYPES[picture.type],
        batch=fixed[0],
        size=_choose_size(fixed[2:], imgsz, entry.imgsz if entry else zoo.IMGSZ),
        how=entry.input if entry else chosen.family,
        head=chosen,
        labels=_choose_labels(labels, entry, chosen, chosen.classes(shapes), model.name),
    )


def _picture_input(session: Any) -> Any:
    """The session's only input, which must be N×3×H×W."""
    inputs = session.get_inputs()
    first = inputs[0]
    if len(inputs) == 1 and len(first.shape) == 4 and heads.fits(first.shape[1], 3) and first.type in DTYPES:
        return first
    takes = ", ".join(f"{each.type} {heads.describe([each.shape])}" for each in inputs)
    raise UnsupportedError(
        f"a detector takes one picture N×3×height×width, {', '.join(DTYPES)}; this model takes {takes}: use 'clnn run'"
    )


def _choose_head(
    name: str | None, model: zoo.Model, shapes: Sequence[Shape], size: Size | None
) -> tuple[Head, zoo.Entry | None]:
    """The head, and the zoo entry unless it belongs to another head."""
    entry = model.entry
    if name is not None:
        head = heads.get(name)
        if not head.matches(shapes, size):
            found = heads.describe(shapes)
            raise UsageError(f"head '{name}' takes {head.layout}; the outputs of '{model.name}' are {found}")
        return head, entry if entry and entry.head == name else None
    if entry and heads.get(entry.head).matches(shapes, size):
        return heads.get(entry.head), entry
    if entry and model.named:
        found = heads.describe(shapes)
        raise ModelError(f"model '{model.name}': its outputs {found} are not of head {entry.head}; correct the entry")
    # A file with the name of a known one, but not its outputs, is something else.
    return heads.recognise(shapes, size), None


def _choose_size(fixed: Sequence[int | None], imgsz: int | Size | None, default: int) -> Size:
    """Height and width to use: the network's own where they are fixed."""
    asked = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    if asked is not None and (len(asked) != 2 or min(asked) < 1):
        raise UsageError(f"imgsz {imgsz}: not a size; give a side, or height and width, in pixels")
    size = []
    for axis, dim in enumerate(fixed):
        if dim is None:
            side = asked[axis] if asked else default
            size.append(-(-side // STRIDE) * STRIDE)
        elif asked and asked[axis] != dim:
            own = heads.describe([fixed])
            raise UsageError(f"imgsz {imgsz}: this network's input is fixed at {own} (height×width); leave imgsz out")
        else:
            size.append(dim)
    return size[0], size[1]


def _choose_labels(
    labels: Labels | None, entry: zoo.Entry | None, head: Head, classes: int | None, model: str
) -> tuple[str, ...]:
    """Class names: those given, else the entry's or those of the head's family if they are as many, else numbers."""
    if labels is not None:
        names = zoo.read_labels(labels) if isinstance(labels, (str, os.PathLike)) else list(labels)
        if classes not in (None, len(names)):
            raise UsageError(f"labels: {len(names)} names for the {classes} classes of '{model}'")
        return tuple(names)
    names = entry.read_labels() if entry else zoo.read_labels(zoo.LABELS / f"{head.labels}.txt")
    if classes in (None, len(names)):
        return tuple(names)
    log.warning("model '%s': its %d classes have no names; give them with --labels FILE", model, classes)
    return tuple(f"class {index}" for index in range(classes))
