"""A node on random input: what the host makes of it, and how far a device's results are from that."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from clnn.graph import Node, TensorType
from clnn.host import evaluate
from clnn.plan import Check
from clnn.plan.ordinary import ordinary

_BY_CHANNEL = ("AveragePool", "LpPool", "MaxPool", "Resize", "Upsample")
"""Operators that treat each channel alike, and whose reference takes microseconds per element: some channels do."""

_HOST_ELEMENTS = 4096
"""Elements that the host computes of such an operator, in whole channels."""


def images(check: Check, types: Mapping[str, TensorType]) -> dict[str, np.ndarray]:
    """The memory in which a node's tensors lie, as it is before the node runs, by the names of the check's images.

    Inputs are random, all else NaN, or 1 where there is none. Integers are 1 or 2, so that they may divide and index.
    """
    random = np.random.default_rng(zlib.crc32(check.node.name.encode()))
    memory = {}
    for image in dict.fromkeys(check.images.values()):
        kind = types[image]
        fill = math.nan if np.dtype(kind.dtype).kind == "f" else 1
        memory[image] = np.full(kind.shape, fill, kind.dtype)
    for name in check.node.reads:
        if name in check.images:
            view = tensor(check, name, memory)
            view[...] = _random(random, view.shape, view.dtype)
    return memory


def _random(random: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return random.random(shape) < 0.5
    low, high = (1, 3) if dtype.itemsize > 1 else (np.iinfo(dtype).min, np.iinfo(dtype).max + 1)
    return random.integers(low, high, shape, dtype)


def tensor(check: Check, name: str, memory: Mapping[str, np.ndarray]) -> np.ndarray:
    """A tensor of the node, of its ONNX shape, as a view of the memory in which it lies."""
    kind, image = check.types[name], memory[check.images[name]]
    flat = image.view(kind.dtype)[kind.offset :]
    return np.lib.stride_tricks.as_strided(flat, kind.shape, tuple(stride * kind.itemsize for stride in kind.strides))


def expected(check: Check, memory: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of the node by the host's reference operators; of some channels only where those are slow.

    Raises:
        UnsupportedError: they cannot compute it.
    """
    node = check.node
    arrays = {name: np.array(tensor(check, name, memory)) for name in node.reads if name in check.images}
    arrays |= check.constants
    if node.op in _BY_CHANNEL:
        node, arrays = _some_channels(check, arrays)
    for each in ordinary(node):
        arrays |= {name: array for name, array in zip(each.outputs, evaluate(each, arrays), strict=True) if name}
    return {name: arrays[name] for name in node.outputs if name}


def _some_channels(check: Check, arrays: dict[str, np.ndarray]) -> tuple[Node, dict[str, np.ndarray]]:
    """The node on its last channels, where what is left over after whole vectors is."""
    node, x, y = check.node, check.types[check.node.inputs[0]], check.types[check.node.outputs[0]]
    if x.rank < 3 or x.shape[1] != y.shape[1] or "axes" in node.attrs:
        return node, arrays
    count = max(1, min(x.shape[1], _HOST_ELEMENTS * x.shape[1] // y.size))
    arrays = {**arrays, node.inputs[0]: arrays[node.inputs[0]][:, -count:]}
    sizes = node.input(3) if node.op == "Resize" else ""
    if sizes in arrays:
        arrays[sizes] = np.array([*arrays[sizes][:1], count, *arrays[sizes][2:]], arrays[sizes].dtype)
    # A MaxPool's indices count through all channels.
    return replace(node, outputs=node.outputs[:1]), arrays


def tolerance(check: Check) -> float:
    """The largest error that rounding explains, relative to the largest value of an output.

    float32 accumulation of ``depth`` products errs by some 1e-7 times its root, and ten times as much where terms
    cancel; Winograd F(4×4) by 1e-5, and ten times as much with weights of few channels.
    """
    return 1e-4 + 1e-6 * math.sqrt(check.depth)


def error(actual: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference relative to the largest value; infinite where values that must be equal are not.

    Where the host finds infinity or no number, so must the device. Whole numbers must be equal, but those of one byte,
    which come of rounding, may differ by one.
    """
    if wanted.dtype.kind != "f":
        difference = np.abs(actual.astype(np.float64) - wanted.astype(np.float64)).max(initial=0)
        most = 1 if wanted.dtype.itemsize == 1 and wanted.dtype.kind != "b" else 0
        return 0.0 if difference <= most else math.inf
    finite = np.isfinite(wanted)
    if not np.array_equal(finite, np.isfinite(actual)):
        return math.inf
    difference = np.abs(actual[finite].astype(np.float64) - wanted[finite].astype(np.float64)).max(initial=0)
    largest = np.abs(wanted[finite]).max(initial=0)
    return float(difference / largest) if largest else (math.inf if difference else 0.0)
