"""``clnn devices``: what there is, how fast it is, and what does not work."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from clnn.cli import common
from clnn.errors import UsageError

_QUIET_CORES = 0.1


def command(
    refresh: Annotated[bool, typer.Option("--refresh", help="Try and measure every device again.")] = False,
    independent: Annotated[str | None, typer.Option(
        "--independent", metavar="A,B", show_default=False,
        help="Measure whether two devices compute side by side, or share their cores.")] = None,
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
    reference = common.platforms_reference(platforms, platform)
    if independent is not None:
        if device is not None or refresh:
            raise UsageError("--independent names its devices itself and measures anew: leave out --device and "
                             "--refresh")
        _say_independence(independent, reference, json, quiet)
        return
    from clnn.tools.doctor import measured_devices

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


def _say_independence(names: str, reference: str | None, json: bool, quiet: bool) -> None:
    from clnn.runtime import independence, selection

    found = independence.measure(selection.select(names, reference))
    if found.other_cores > _QUIET_CORES:
        common.note(f"other processes kept {found.other_cores:.1f} cores busy meanwhile, which counts against the "
                    "devices: measure again when they are idle", quiet)
    verdict = "independent" if found.independent else "time-shared"
    if json:
        common.say_json({"alone_ms": found.alone_ms, "together_ms": found.together_ms, "efficiency": found.efficiency,
                         "threshold": independence.THRESHOLD, "verdict": verdict, "other_cores": found.other_cores})
        return
    rows = [*((f"{name} alone", f"{alone_ms:.1f}") for name, alone_ms in found.alone_ms.items()),
            ("both together", f"{found.together_ms:.1f}")]
    common.say(common.table(("load", "ms"), rows, right=("ms",)))
    common.say(f"{verdict}: efficiency {found.efficiency:.2f}, the longer time alone / the time together\n"
               f"(1: neither slows the other; 0.5: they take turns; {independence.THRESHOLD} or more: independent)")


def _row(info: Any) -> tuple[Any, ...]:
    def yes(able: bool) -> str:
        return "yes" if able else "no"

    if not info.compute_units:  # the driver did not get as far as listing a device
        return (info.id, "?", info.platform, *["-"] * 8, info.verdict)
    speed = (f"{info.gflops:.0f}", f"{info.bandwidth_gbs:.1f}") if info.gflops else ("-", "-")
    verdict = "only when named" if info.usable and info.interpreter else info.verdict
    return (info.id, info.kind, info.name, info.driver, info.compute_units, f"{info.global_mem / 1e9:.1f} GB", *speed,
            yes(info.pipes), yes(info.fp16), yes(info.subdevices), verdict)
