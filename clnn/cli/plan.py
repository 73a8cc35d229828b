"""``clnn plan``: show where every layer runs, with which kernels, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from clnn.cli import common


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An ONNX file.")],
    dims: Annotated[list[str] | None, typer.Option(
        "--dim", metavar="NAME=SIZE", show_default=False, help="Size of a symbolic dimension.")] = None,
    device: common.Device = None,
    policy: common.Policy = None,
    platforms: common.Platforms = None,
    platform: common.Platform = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """Plan a network without running it: devices, kernels, memory, and the reason for each placement."""
    common.start(quiet, verbose)
    from clnn.plan.table import as_dict
    from clnn.tools.planner import plan_network
    from clnn.tools.runner import parse_dims

    reference = common.platforms_reference(platforms, platform)
    plan = plan_network(
        model, parse_dims(dims or []), device, policy, reference, lambda text: common.note(text, quiet)
    )
    if json:
        common.say_json(as_dict(plan))
    else:
        common.say(str(plan))
