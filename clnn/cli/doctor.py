"""``clnn doctor``: what is installed, what is broken, how to mend it."""

from __future__ import annotations

import typer

from clnn.cli import common


def command(
    platforms: common.Platforms = None,
    platform: common.Platform = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """Check the installation: packages, drivers, devices, cache, platforms.yaml.

    Exits with 4 when no device can be used.
    """
    common.start(quiet, verbose)
    from clnn.tools.doctor import examine

    checkup = examine(common.platforms_reference(platforms, platform))
    if json:
        common.say_json(checkup.as_dict())
    else:
        for finding in checkup.findings:
            common.say(f"{'ok ' if finding.good else 'BAD'}  {finding.subject}: {finding.state}")
            if finding.remedy:
                common.say(f"     -> {finding.remedy}")
        common.say("A device is ready." if checkup.ready else "No device can be used.")
    if not checkup.ready:
        raise typer.Exit(4)
