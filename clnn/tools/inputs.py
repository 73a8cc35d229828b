"""Making up input arrays for a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from clnn.errors import UsageError
from clnn.feeds import NodeArg

_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64"}


def dtype_of(arg: NodeArg) -> np.dtype:
    """NumPy dtype of an input whose type is written as onnxruntime writes it."""
    name = _DTYPES.get(arg.type, arg.type.removeprefix("tensor(").removesuffix(")"))
    return np.dtype(object if name == "string" else name)


def bound_shapes(
    args: Sequence[NodeArg], dims: Mapping[str, int], batch: int | None = None
) -> dict[str, tuple[int, ...]]:
    """Shapes of the inputs with symbolic dimensions replaced.

    Args:
        dims: sizes by symbolic name, or by "input:axis".
        batch: size of a symbolic first dimension; of those not in ``dims`` the first becomes 1.

    Raises:
        UsageError: a symbolic dimension has no size, or no input has a dimension that ``dims`` names.
    """
    _check_names(args, dims)
    shapes = {}
    for arg in args:
        shape = []
        for axis, dim in enumerate(arg.shape):
            size = dim if isinstance(dim, int) else dims.get(dim, dims.get(f"{arg.name}:{axis}"))
            if size is None and axis == 0:
                size = batch or 1
            if size is None:
                raise UsageError(
                    f"input '{arg.name}': dimension {axis} ('{dim}') is symbolic; give its size, as in "
                    f"--dim {dim or f'{arg.name}:{axis}'}=224"
                )
            shape.append(size)
        shapes[arg.name] = tuple(shape)
    return shapes


def _check_names(args: Sequence[NodeArg], dims: Mapping[str, int]) -> None:
    """Raise ``UsageError`` for a size that no symbolic dimension takes: it is most likely misspelled."""
    symbolic = [
        (dim, f"{arg.name}:{axis}") for arg in args for axis, dim in enumerate(arg.shape) if not isinstance(dim, int)
    ]
    unknown = [name for name in dims if not any(name in names for names in symbolic)]
    if unknown:
        there = ", ".join(dict.fromkeys(dim or place for dim, place in symbolic)) or "none"
        raise UsageError(f"--dim {unknown[0]}: no input has such a symbolic dimension; there are: {there}")


def random_feeds(
    args: Sequence[NodeArg], shapes: Mapping[str, tuple[int, ...]], random: np.random.Generator
) -> dict[str, np.ndarray]:
    """Uniform numbers in [0, 1) for floating-point inputs, 0 or 1 for all others."""
    feeds = {}
    for arg in args:
        dtype, shape = dtype_of(arg), shapes[arg.name]
        if dtype.kind == "O":
            feeds[arg.name] = np.full(shape, "", object)
        elif dtype.kind == "f":
            feeds[arg.name] = random.random(shape, np.float32).astype(dtype)
        else:
            feeds[arg.name] = random.integers(0, 2, shape).astype(dtype)
    return feeds
