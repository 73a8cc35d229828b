"""``clnn bench``: time a network."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from clnn.cli import common


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An ONNX file.")],
    batch: Annotated[int | None, typer.Option(
        "--batch", min=1, help="Images per timed run; on several devices a stream of single ones.")] = None,
    dims: Annotated[list[str] | None, typer.Option(
        "--dim", metavar="NAME=SIZE", show_default=False, help="Size of a symbolic dimension.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", help="Threads, of the peer too.")] = None,
    duration: Annotated[float, typer.Option("--duration", min=0.1, metavar="SECONDS", help="How long.")] = 3.0,
    against: Annotated[str | None, typer.Option(
        "--against", metavar="PEER", help="Run a peer in turn: onnxruntime.")] = None,
    cold: Annotated[bool, typer.Option("--cold", help="Load with an empty cache, and time that too.")] = False,
    device: common.Device = None,
    policy: common.Policy = None,
    platforms: common.Platforms = None,
    platform: common.Platform = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """Time a network: new input data in each run, outputs copied to the host."""
    common.start(quiet, verbose)
    from clnn.options import Options
    from clnn.tools.benchmark import benchmark
    from clnn.tools.runner import parse_dims

    with ExitStack() as stack, common.compiling(quiet):
        advance, done = None, 0

        def show(fraction: float) -> None:
            nonlocal advance, done
            advance = advance or stack.enter_context(common.progress("timing", 100, quiet))
            advance(int(100 * fraction) - done)
            done = int(100 * fraction)

        result = benchmark(
            model, devices=device, policy=policy, platforms=common.platforms_reference(platforms, platform),
            options=Options(threads=threads), batch=batch, dims=parse_dims(dims or []), duration_s=duration,
            against=against, cold=cold, progress=show,
        )
    if json:
        common.say_json(result)
        return
    rows = [("clnn", *_times(result), "")]
    rows += [(name, *_times(peer), f"{peer['ratio']:.2f}") for name, peer in result.get("against", {}).items()]
    common.say(common.table(("", "median ms", "p90 ms", "min ms", "clnn ÷ peer"), rows))
    load = "cold_ms" if cold else "load_ms"
    how = "as one batch" if result["batched"] else "one by one"
    if "shares" in result:
        how = "; ".join(f"{device}: {count}" for device, count in result["shares"].items())
    common.note(
        f"{result['device']}, policy {result['policy']}, batch {result['batch']} ({how}), {result['runs']} runs, "
        f"{result['images_per_s']:.1f} images/s; {load.replace('_ms', '')} {result[load]:.0f} ms", quiet)


def _times(entry: dict) -> tuple[str, ...]:
    return tuple(f"{entry[key]:.2f}" for key in ("median_ms", "p90_ms", "min_ms"))
