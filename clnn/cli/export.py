"""``clnn export``: write a network for the offline compiler of an FPGA."""

from __future__ import annotations

from typing import Annotated

import typer

from clnn.cli import common


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An ONNX file.")],
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Folder to write.")],
    target: Annotated[str, typer.Option("--target", metavar="NAME", help="What to write for: fpga.")] = "fpga",
    board: Annotated[str, typer.Option(
        "--board", metavar="NAME", help="arria10, stratix10, or a board that platforms.yaml describes.")] = "arria10",
    dims: Annotated[list[str] | None, typer.Option(
        "--dim", metavar="NAME=SIZE", show_default=False, help="Size of a symbolic dimension.")] = None,
    platforms: common.Platforms = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """Write single-work-item kernels, the host plan and a resource estimate for an FPGA board.

    Untested on hardware; what is written is run on CPU devices by the tests.
    """
    common.start(quiet, verbose)
    from clnn.errors import UsageError
    from clnn.tools.exporter import export_fpga
    from clnn.tools.runner import parse_dims

    if target != "fpga":
        raise UsageError(f"target '{target}' does not exist; there is fpga")
    exported = export_fpga(model, out, board, parse_dims(dims or []), platforms)
    if json:
        common.say_json({"folder": out, "board": board, "options": exported.options, **exported.estimate})
        return
    rows = [(name.replace("_", " "), _text(value)) for name, value in exported.estimate.items()]
    common.say(common.table(("estimate", f"{exported.model} on {board}"), rows))
    common.note(f"written to {out}", quiet)


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(value) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
