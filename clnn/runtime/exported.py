"""Running a folder that ``clnn export`` wrote, from its files alone, on a device of this machine."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clnn import schema
from clnn.errors import InputError, UsageError
from clnn.plan.exported import KERNELS, PLAN, WEIGHTS, Exported, Folder, LaunchStep, to_plan
from clnn.runtime import programs, selection
from clnn.runtime.discovery import OpenDevice
from clnn.runtime.executor import Executor
from clnn.runtime.loaded import LoadedPlan


def read_folder(path: str | os.PathLike[str]) -> Folder:
    """Read and check what a folder holds.

    Raises:
        InputError: a file is missing or damaged.
    """
    root = Path(path)
    try:
        text = (root / PLAN).read_text("utf-8")
        exported = schema.parse(text, str(root / PLAN), Exported)
        with np.load(root / WEIGHTS, allow_pickle=False) as archive:
            weights = {name: archive[name] for name in archive.files}
        names = {step.source for step in exported.steps if isinstance(step, LaunchStep)}
        sources = {name: (root / KERNELS / name).read_text("utf-8") for name in names}
    except UsageError as error:
        raise InputError(str(error)) from error
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"'{root}' is not a folder that 'clnn export' wrote: {error}") from error
    _check_names(exported, weights, root)
    return Folder(exported, weights, sources)


def _check_names(exported: Exported, weights: Mapping[str, np.ndarray], root: Path) -> None:
    """Raise ``InputError`` where a step names what is not there."""
    there = {*exported.memory, *exported.scratch, *weights}
    for step in exported.steps:
        launch = isinstance(step, LaunchStep)
        named = [each.buffer for each in step.args if each.buffer is not None] if launch else [step.tensor]
        missing = [name for name in named if name not in there]
        if missing:
            raise InputError(f"{root / PLAN}: '{missing[0]}' is neither a tensor nor in {WEIGHTS}; export it again")
    over = [name for name, (offset, nbytes) in exported.memory.items() if offset + nbytes > exported.memory_bytes]
    if over:
        raise InputError(f"{root / PLAN}: tensor '{over[0]}' lies outside of the memory; export it again")


class _Programs(programs.ProgramCache):
    """Programs from the sources of a folder."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        super().__init__()
        self._sources = sources

    def build(self, opened: OpenDevice, name: str, options: Sequence[str] = ()) -> Any:
        """A program of the folder's source ``name``."""
        return self.build_text(opened, name, self._sources[name], options)

    def is_missing(self, opened: OpenDevice, name: str, options: Sequence[str] = ()) -> bool:
        """False: the child processes that build missing programs know the package's own sources alone."""
        return False


class ExportedNetwork:
    """A folder, loaded on a device whose kernels follow one another.

    Args:
        path: the folder.
        device: as for ``InferenceSession``, one.
        transport: "buffer", or where the device has pipes "pipe" or "channel".

    Raises:
        InputError: a file is missing or damaged.
        UsageError: the device has no pipes.
        BuildError, NoDeviceError, OutOfMemoryError: as for ``InferenceSession``.
    """

    def __init__(self, path: str | os.PathLike[str], device: str | None = None, transport: str = "buffer") -> None:
        folder = read_folder(path)
        opened = selection.select(device)[0]
        if transport != "buffer" and not opened.info.pipes:
            raise UsageError(f"{opened.info.id} ({opened.info.name}) has no pipes: use the transport 'buffer'")
        plan = to_plan(folder, opened.info.id, transport, opened.info.alignment)
        self._inputs = folder.plan.inputs
        self.outputs = [each.name for each in folder.plan.outputs]
        loaded = LoadedPlan(plan, {opened.info.id: opened}, _Programs(folder.sources))
        self._executor = Executor(loaded)

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Run the network; the outputs in the order of ``outputs``.

        Raises:
            InputError: an array is missing, or of the wrong shape.
        """
        arrays = {}
        for each in self._inputs:
            if each.name not in feeds or tuple(feeds[each.name].shape) != tuple(each.shape):
                raise InputError(f"input '{each.name}' has to be an array of shape {each.shape}")
            arrays[each.tensor] = np.ascontiguousarray(feeds[each.name], each.dtype)
        return self._executor.run(arrays, self.outputs)
