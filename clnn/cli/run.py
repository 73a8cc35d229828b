"""``clnn run``: run a network on arrays from files."""

from __future__ import annotations

from typing import Annotated

import typer

from clnn.cli import common


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An ONNX file.")],
    inputs: Annotated[list[str] | None, typer.Option(
        "--input", "-i", metavar="NAME=FILE", show_default=False,
        help="An input as a .npy file; or a .npz file with an array per input. Without it: random numbers.")] = None,
    dims: Annotated[list[str] | None, typer.Option(
        "--dim", metavar="NAME=SIZE", show_default=False, help="Size of a symbolic dimension.")] = None,
    out: Annotated[str | None, typer.Option(
        "--out", "-o", metavar="DIR", show_default=False, help="Folder for the outputs, as .npy files.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", help="Threads of a CPU driver.")] = None,
    device: common.Device = None,
    policy: common.Policy = None,
    platforms: common.Platforms = None,
    platform: common.Platform = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """Run a network once and print what comes out."""
    common.start(quiet, verbose)
    from clnn.options import Options
    from clnn.tools.runner import parse_dims, run_network

    with common.compiling(quiet):
        result = run_network(
            model, inputs or [], parse_dims(dims or []), out,
            devices=device, policy=policy, platforms=common.platforms_reference(platforms, platform),
            options=Options(threads=threads),
        )
    if json:
        common.say_json(result)
        return
    rows = [
        (output["name"], output["dtype"], "×".join(map(str, output["shape"])) or "scalar", output["min"],
         output["mean"], output["max"], output["file"] or "")
        for output in result["outputs"]
    ]
    common.say(common.table(("output", "dtype", "shape", "min", "mean", "max", "file"), rows))
    common.note(f"{result['device']}: {result['run_ms']:.2f} ms", quiet)
