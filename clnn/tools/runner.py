"""Running a network once on arrays from files."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clnn.errors import InputError, UsageError
from clnn.session import InferenceSession
from clnn.tools.inputs import bound_shapes, random_feeds


def run_network(
    model: str,
    inputs: Sequence[str],
    dims: Mapping[str, int],
    out: str | None,
    **session_arguments: Any,
) -> dict[str, Any]:
    """Run ``model`` once.

    Args:
        inputs: "NAME=FILE.npy" for one input, or "FILE.npz" for several; with none all are random numbers.
        dims: sizes of symbolic dimensions for random inputs.
        out: folder that receives each output as a .npy file.

    Returns:
        device, run_ms (of a second run, as the first one prepares), outputs: name, dtype, shape, min, mean, max,
        file.

    Raises:
        InputError: a file cannot be read as arrays, or the outputs cannot be written.
        UsageError: an argument means nothing.
    """
    with InferenceSession(model, **session_arguments) as session:
        args = session.get_inputs()
        if inputs:
            feeds = load_feeds(inputs, [arg.name for arg in args])
        else:
            feeds = random_feeds(args, bound_shapes(args, dims), np.random.default_rng(0))
        session.run(None, feeds)
        started = time.perf_counter()
        arrays = session.run(None, feeds)
        run_ms = (time.perf_counter() - started) * 1e3
        names = [arg.name for arg in session.get_outputs()]
        files = _save(names, arrays, Path(out)) if out else [None] * len(names)
        return {
            "model": model,
            "device": ",".join(session.used_devices()) or "host",
            "run_ms": run_ms,
            "outputs": [_describe(*item) for item in zip(names, arrays, files, strict=True)],
        }


def parse_dims(texts: Sequence[str]) -> dict[str, int]:
    """Read "NAME=SIZE" arguments.

    Raises:
        UsageError: one is not of that form.
    """
    dims = {}
    for text in texts:
        name, _, size = text.rpartition("=")
        if not name or not size.isdigit():
            raise UsageError(f"--dim {text}: write NAME=SIZE, as in height=416")
        dims[name] = int(size)
    return dims


def load_feeds(texts: Sequence[str], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read "NAME=FILE.npy" and "FILE.npz" arguments; a lone "FILE.npy" is the only input of a network.

    Raises:
        InputError: a file cannot be read.
        UsageError: a lone file, and several inputs to choose from.
    """
    feeds: dict[str, np.ndarray] = {}
    for text in texts:
        name, _, path = text.partition("=") if "=" in text else ("", "", text)
        loaded = _load(path)
        if isinstance(loaded, dict):
            feeds |= loaded
        elif name or len(names) == 1:
            feeds[name or names[0]] = loaded
        else:
            raise UsageError(f"--input {text}: the network has the inputs {', '.join(names)}; write NAME={path}")
    return feeds


def _load(path: str) -> np.ndarray | dict[str, np.ndarray]:
    try:
        # Pickled arrays would run code from the file.
        loaded = np.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"input '{path}' cannot be read as a .npy or .npz file: {error}") from error


def _save(names: Sequence[str], arrays: Sequence[np.ndarray], folder: Path) -> list[str]:
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for index, (name, array) in enumerate(zip(names, arrays, strict=True)):
            # A name comes from the model, so that it may hold anything.
            safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name).lstrip(".")
            path = folder / f"{index}_{safe}.npy"
            np.save(path, array)
            files.append(str(path))
    except (OSError, ValueError) as error:
        raise InputError(f"outputs cannot be written to '{folder}': {error}") from error
    return files


def _describe(name: str, array: np.ndarray, file: str | None) -> dict[str, Any]:
    numeric = array.size and array.dtype.kind in "fiub"
    summary = {key: float(getattr(array, key)()) if numeric else None for key in ("min", "mean", "max")}
    return {"name": name, "dtype": str(array.dtype), "shape": list(array.shape), **summary, "file": file}
