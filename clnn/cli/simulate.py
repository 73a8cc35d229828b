"""``clnn simulate``: how a network would run on devices that are not here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clnn.cli import common

if TYPE_CHECKING:
    from clnn.tools.simulator import Simulation


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An ONNX file.")],
    images: Annotated[int, typer.Option("--images", min=1, help="Length of a stream of images.")] = 1,
    dims: Annotated[list[str] | None, typer.Option(
        "--dim", metavar="NAME=SIZE", show_default=False, help="Size of a symbolic dimension.")] = None,
    trace: Annotated[str | None, typer.Option(
        "--trace", metavar="FILE", show_default=False, help="Write the timelines, for ui.perfetto.dev.")] = None,
    device: common.Device = None,
    policy: common.Policy = None,
    platforms: common.Platforms = None,
    platform: common.Platform = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """Run a network in virtual time, by every policy: latency, throughput, energy.

    On a machine that platforms.yaml describes (odroid-xu4, desktop, two-gpus, dgx-1, arria10, stratix10 or your own),
    or on devices of this one.
    """
    common.start(quiet, verbose)
    from clnn.tools.runner import parse_dims
    from clnn.tools.simulator import simulate_network
    from clnn.tools.trace import write_trace

    reference = common.platforms_reference(platforms, platform)
    found = simulate_network(model, parse_dims(dims or []), device, policy, reference, images)
    if trace:
        write_trace(trace, {each.policy: each.timeline for each in found})
    if json:
        common.say_json([each.as_dict() for each in found])
        return
    header = ("policy", "latency ms", "images/s", "J/image", "GB/s", "utilisation")
    common.say(common.table(header, [_row(each) for each in found], right=header[1:5]))
    host_nodes = max(each.host_nodes for each in found)
    if host_nodes:
        common.note(f"{host_nodes} nodes run on the host, whose time is not simulated", quiet)


def _row(each: Simulation) -> tuple[str, ...]:
    timeline = each.timeline
    energy = "-" if each.energy_j_per_image is None else f"{each.energy_j_per_image:.3g}"
    used = ", ".join(f"{name} {100 * share:.0f} %" for name, share in timeline.utilisation.items())
    figures = f"{timeline.latency_ms:.2f}", f"{timeline.images_per_s:.2f}", energy, f"{each.memory_gbs:.3g}"
    return each.policy, *figures, used
