"""Reading what a model says about axes and sizes, none of which can be trusted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

import numpy as np

from clnn.errors import ModelFormatError
from clnn.graph import Dim, Node
from clnn.ops.base import InferContext
from clnn.ops.indexing import normalize_axis

UNKNOWN = "?"
"""A dimension that cannot be told before the inputs are there."""


def invalid(node: Node, problem: str) -> NoReturn:
    """Raise the error for a node that breaks the rules of ONNX."""
    raise ModelFormatError(f"{node}: {problem}; the model is not valid ONNX, export it again")


def integers(node: Node, name: str, value: object) -> tuple[int, ...]:
    """The integers of an attribute or of a constant input; a scalar counts as one of them."""
    try:
        array = np.atleast_1d(np.asarray(value))
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise ValueError
    except ValueError:
        invalid(node, f"'{name}' is not a list of integers")
    return tuple(int(item) for item in array)


def numbers(node: Node, name: str, value: object) -> tuple[float, ...]:
    """The numbers of an attribute or of a constant input."""
    array = np.ravel(np.asarray(value))
    if array.size and array.dtype.kind not in "fiu":
        invalid(node, f"'{name}' is not a list of numbers")
    return tuple(float(item) for item in array)


def integer(node: Node, name: str, value: object) -> int:
    """The one integer of an attribute or of a constant input."""
    values = integers(node, name, value)
    if len(values) != 1:
        invalid(node, f"'{name}' holds {len(values)} integers where one is wanted")
    return values[0]


def axis(node: Node, value: object, rank: int) -> int:
    """An axis counted from the front; the model may count from the back."""
    return normalize_axis(integer(node, "axis", value), rank, node)


def axes(node: Node, values: object, rank: int) -> tuple[int, ...]:
    """Different axes, counted from the front, in the order given."""
    result = tuple(axis(node, value, rank) for value in integers(node, "axes", values))
    if len(set(result)) != len(result):
        invalid(node, f"axes {result} name one dimension twice")
    return result


def computed(ctx: InferContext, *indices: int) -> str | None:
    """The first of these inputs that is given but not constant, if any: its value is not known before running."""
    names = (ctx.node.input(index) for index in indices)
    return next((name for name in names if name and name not in ctx.constants), None)


def computed_obstacle(ctx: InferContext, *indices: int) -> str | None:
    """The obstacle that such an input is to a kernel whose arguments are prepared once."""
    name = computed(ctx, *indices)
    return None if name is None else f"'{name}' is computed at run time"


def unknown_like(count: Dim | None) -> tuple[Dim, ...] | None:
    """A shape of ``count`` unknown dimensions; ``None`` where even their number is unknown."""
    return (UNKNOWN,) * count if isinstance(count, int) else None


def known(dims: Iterable[Dim]) -> bool:
    """Whether every dimension is a number."""
    return all(isinstance(dim, int) for dim in dims)


def real(node: Node, name: str, value: object) -> float:
    """The one number of an attribute or of a constant input."""
    try:
        return float(np.asarray(value).reshape(()))
    except (TypeError, ValueError):
        invalid(node, f"'{name}' is not a number")
