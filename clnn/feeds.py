"""Checking the arrays given to a network, and telling its inputs and outputs in onnxruntime's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clnn.errors import InputError
from clnn.graph import Graph, TensorType

_ONNX_TYPES = {"float32": "float", "float64": "double"}


@dataclass(frozen=True)
class NodeArg:
    """An input or output of a network.

    ``shape`` has an int per known dimension and a name (or ``None``) per symbolic one; ``type`` is written
    "tensor(float)".
    """

    name: str
    shape: list[int | str | None]
    type: str

    @classmethod
    def of(cls, name: str, tensor: TensorType) -> NodeArg:
        shape = [None if dim in ("", "?") else dim for dim in tensor.shape or ()]
        return cls(name, shape, f"tensor({_ONNX_TYPES.get(tensor.dtype, tensor.dtype)})")


def check_feeds(graph: Graph, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Check that ``feeds`` holds an array of the right dtype and shape for each input, and nothing else.

    Returns:
        C-contiguous arrays by input name.

    Raises:
        InputError: an input is missing, unknown, or of a wrong dtype, rank or size.
    """
    if not isinstance(feeds, Mapping):
        raise InputError(f"inputs: {type(feeds).__name__} is not a dict of arrays by input name")
    unknown = [name for name in feeds if name not in graph.inputs]
    if unknown:
        raise InputError(f"input '{unknown[0]}': the network has no such input; it has {_names(graph)}")
    missing = [name for name in graph.inputs if name not in feeds]
    if missing:
        raise InputError(f"input '{missing[0]}' is missing; the network needs {_names(graph)}")
    return {name: _check_array(name, feeds[name], graph.types[name]) for name in graph.inputs}


def _names(graph: Graph) -> str:
    return ", ".join(f"'{name}' {graph.types[name]}" for name in graph.inputs)


def _check_array(name: str, value: Any, expected: TensorType) -> np.ndarray:
    dtype = np.dtype(object if expected.dtype == "string" else expected.dtype)
    try:
        array = value if isinstance(value, np.ndarray) else np.asarray(value, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"input '{name}': cannot be made an array of {expected.dtype} ({error})") from error
    if array.dtype != dtype and not (dtype.kind == "O" and array.dtype.kind in "US"):
        raise InputError(
            f"input '{name}': dtype is {array.dtype}, the network takes {expected.dtype}; "
            f"convert it with .astype('{expected.dtype}')"
        )
    fits = array.ndim == expected.rank and all(
        isinstance(dim, str) or dim == size for dim, size in zip(expected.shape, array.shape, strict=True)
    )
    if not fits:
        raise InputError(f"input '{name}': shape is {array.shape}, the network takes {expected}")
    # Not ascontiguousarray: it makes a scalar one-dimensional.
    return np.asarray(array, dtype=dtype, order="C")
