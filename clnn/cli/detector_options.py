"""Options of the sub-commands that make a detector."""

from __future__ import annotations

from typing import Annotated

import typer

from clnn.errors import UsageError

_PANEL = "Detector"
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME|FILE",
        rich_help_panel=_PANEL,
        help="A name of the zoo (see 'clnn models'), an ONNX file, or a zoo YAML file.",
    ),
]
Head = Annotated[
    str | None,
    typer.Option(
        "--head",
        metavar="NAME",
        rich_help_panel=_PANEL,
        show_default=False,
        help="How boxes are read; else recognised.",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels", metavar="FILE", rich_help_panel=_PANEL, show_default=False, help="Class names, one per line."
    ),
]
Imgsz = Annotated[
    str | None,
    typer.Option(
        "--imgsz",
        metavar="SIDE|HxW",
        rich_help_panel=_PANEL,
        show_default=False,
        help="Input size of a network that leaves it open, rounded up to a multiple of 32.",
    ),
]
Iou = Annotated[
    float, typer.Option("--iou", rich_help_panel=_PANEL, help="Overlap from which two boxes of a class are one object.")
]


def parse_imgsz(text: str | None) -> int | tuple[int, int] | None:
    """Read "640" or "480x640" (height x width).

    Raises:
        UsageError: it is neither.
    """
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() for part in parts):
        raise UsageError(f"--imgsz {text}: not a size; write 640, or 480x640 for height and width")
    sides = tuple(map(int, parts))
    return sides[0] if len(sides) == 1 else sides
