"""``clnn devices``: what there is, how fast it is, and what does not work."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from clnn.cli import common


def command(
    refresh: Annotated[bool, typer.Option("--refresh", help="Try and measure every device again.")] = False,
    device: common.Device = None,
    platforms: common.Platforms = None,
    platform: common.Platform = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """List OpenCL devices: kind, driver, memory, measured speed, abilities and whether they work.

    All of them, or those that --device or an entry of platforms.yaml names.
    """
    common.start(quiet, verbose)
    from clnn.tools.doctor import measured_devices

    reference = common.platforms_reference(platforms, platform)
    infos = measured_devices(refresh, lambda text: common.note(text, quiet), device, reference)
    if json:
        common.say_json([asdict(info) for info in infos])
        return
    if not infos:
        common.say("no OpenCL driver is installed; run 'clnn doctor'")
        return
    header = ("id", "kind", "name", "driver", "units", "memory", "GFLOP/s", "GB/s", "pipes", "fp16", "sub-devices",
              "verdict")
    rows = [_row(info) for info in infos]
    common.say(common.table(header, rows, right=("units", "memory", "GFLOP/s", "GB/s")))
    for info in infos:
        if info.reason:
            common.say(f"{info.id}: {info.reason}; {info.remedy}")


def _row(info: Any) -> tuple[Any, ...]:
    def yes(able: bool) -> str:
        return "yes" if able else "no"

    if not info.compute_units:  # the driver did not get as far as listing a device
        return (info.id, "?", info.platform, *["-"] * 8, info.verdict)
    speed = (f"{info.gflops:.0f}", f"{info.bandwidth_gbs:.1f}") if info.gflops else ("-", "-")
    verdict = "only when named" if info.usable and info.interpreter else info.verdict
    return (info.id, info.kind, info.name, info.driver, info.compute_units, f"{info.global_mem / 1e9:.1f} GB", *speed,
            yes(info.pipes), yes(info.fp16), yes(info.subdevices), verdict)
