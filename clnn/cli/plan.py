"""``clnn plan``: show where every layer runs, with which kernels, and why."""

from __future__ import annotations

from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from clnn.cli import common


class Chain(str, Enum):
    """Values of the option of that name, see ``clnn.Options``."""

    auto = "auto"
    on = "on"
    off = "off"


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An ONNX file.")],
    dims: Annotated[list[str] | None, typer.Option(
        "--dim", metavar="NAME=SIZE", show_default=False, help="Size of a symbolic dimension.")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Run the plan on random input, and time it.")] = False,
    draw: Annotated[Path | None, typer.Option(
        "--draw", metavar="FILE", show_default=False, help="Write the timeline of an inference, as SVG.")] = None,
    chain: Annotated[Chain, typer.Option(
        "--chain", help="Compute runs of layers in bands of rows: where that is faster, saves memory, or never.")
    ] = Chain.auto,
    device: common.Device = None,
    policy: common.Policy = None,
    platforms: common.Platforms = None,
    platform: common.Platform = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """Plan a network: where each layer runs, why, and what it is predicted to take; it is not run to tell that."""
    common.start(quiet, verbose)
    from clnn.errors import InputError
    from clnn.plan.draw import to_svg
    from clnn.plan.table import as_dict, as_text
    from clnn.tools.planner import plan_network
    from clnn.tools.runner import parse_dims

    reference = common.platforms_reference(platforms, platform)
    tell = partial(common.note, quiet=quiet)
    with common.compiling(quiet):
        plan, measured = plan_network(
            model, parse_dims(dims or []), device, policy, reference, tell, measure, chain.value
        )
    if draw is not None:
        try:
            draw.write_text(to_svg(plan, Path(model).name, measured), encoding="utf-8")
        except OSError as error:
            raise InputError(f"drawing '{draw}' cannot be written: {error.strerror}; choose another file") from error
    if json:
        common.say_json(as_dict(plan, measured))
    else:
        common.say(as_text(plan, measured))
