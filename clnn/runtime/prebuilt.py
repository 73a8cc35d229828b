"""Programs that come as a binary, as those for FPGAs do, which no driver builds from source."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from clnn.errors import BuildError, UsageError
from clnn.kernels import Launch, stages
from clnn.runtime.discovery import OpenDevice
from clnn.runtime.loader import opencl


def load(opened: OpenDevice) -> Any:
    """The program of a device's stages, from the binary that its entry in platforms.yaml names; loaded once.

    Raises:
        UsageError: the file cannot be read.
        BuildError: the driver refuses it, or it lacks a kernel.
    """
    return opencl().Program(_load(opened))


@cache
def _load(opened: OpenDevice) -> Any:
    cl, path = opencl(), opened.binary
    try:
        binary = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"binary '{path}' of {opened.info.id} cannot be read: {error.strerror}; correct its path, "
                         "which is relative to the platforms file") from error
    try:
        program = cl._Program(opened.context, [opened.device], [binary])
        program.build(b"", [opened.device])
        names = set(program.get_info(cl.program_info.KERNEL_NAMES).split(";"))
    except (cl.Error, RuntimeError) as error:
        raise _failure(opened, f"{error}; build it for this device and driver") from error
    missing = stages.KERNELS.keys() - names
    if missing:
        raise _failure(opened, f"it has no kernel '{min(missing)}'; build it from {stages.SOURCE}")
    return program


def check(kernel: Any, launch: Launch, opened: OpenDevice) -> None:
    """Raise ``BuildError`` where a kernel takes other arguments than those of ``launch``."""
    count = kernel.get_info(opencl().kernel_info.NUM_ARGS)
    if launch.kernel.source == stages.SOURCE and count != len(launch.args):
        raise _failure(opened, f"its kernel '{launch.kernel.name}' takes {count} arguments, transport "
                               f"'{opened.info.units.transport}' gives {len(launch.args)}; build it for that transport")


def _failure(opened: OpenDevice, reason: str) -> BuildError:
    failure = BuildError(f"binary '{opened.binary}' cannot be used on {opened.info.id} ({opened.info.name}): {reason}")
    failure.device = opened.info.id
    return failure
