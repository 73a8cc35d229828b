"""``clnn inspect``: show a network's layers before or after any pass."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clnn.cli import common


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An ONNX file.")],
    before: Annotated[str | None, typer.Option(
        "--before", metavar="PASS", show_default=False, help="Show the graph as this pass gets it.")] = None,
    after: Annotated[str | None, typer.Option(
        "--after", metavar="PASS", show_default=False, help="Show the graph as this pass leaves it.")] = None,
    dims: Annotated[list[str] | None, typer.Option(
        "--dim", metavar="NAME=SIZE", show_default=False, help="Size of a symbolic dimension.")] = None,
    dot: Annotated[Path | None, typer.Option(
        "--dot", metavar="FILE", show_default=False, help="Write a drawing for Graphviz.")] = None,
    device: common.Device = None,
    policy: common.Policy = None,
    platforms: common.Platforms = None,
    platform: common.Platform = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """Show the layers of a network: shapes, parameters, FLOPs, bytes, and whether OpenCL or the host runs them."""
    common.start(quiet, verbose)
    from clnn.errors import InputError
    from clnn.graph import draw, dump
    from clnn.tools.inspector import inspect_network
    from clnn.tools.runner import parse_dims

    reference = common.platforms_reference(platforms, platform)
    found = inspect_network(model, parse_dims(dims or []), before, after, device, reference, policy)
    if dot is not None:
        try:
            dot.write_text(draw.to_dot(found.graph, found.places), encoding="utf-8")
        except OSError as error:
            raise InputError(f"drawing '{dot}' cannot be written: {error.strerror}; choose another file") from error
    if json:
        common.say_json(dump.as_dict(found.graph, found.layers))
        return
    common.say(common.table(dump.HEADER, map(dump.cells, found.layers), dump.NUMBERS))
    common.say(dump.summary(found.graph, found.layers))
    if not found.graph.is_static:
        common.note("clnn: some shapes are symbolic; give --dim NAME=SIZE to see all sizes, costs and places", quiet)
