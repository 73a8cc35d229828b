"""Giving symbolic dimensions their sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from clnn.errors import InputError
from clnn.graph import Dim, Graph, TensorType

ANONYMOUS = ("", "?")
"""Symbols that say nothing: two dimensions of that name may differ."""


def bind(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    """Give the graph's inputs these shapes, and each symbolic dimension the one size that it has in all of them.

    Raises:
        InputError: a shape is missing or does not fit the input, or a symbol would have two sizes.
    """
    sizes: dict[str, tuple[int, str]] = {}
    types = dict(graph.types)
    for name in graph.inputs:
        expected = graph.types[name]
        if name not in shapes:
            raise InputError(f"input '{name}': its shape is missing; the network takes {expected}")
        shape = tuple(shapes[name])
        if len(shape) != expected.rank or not all(map(_fits, expected.shape, shape)):
            raise InputError(f"input '{name}': shape is {shape}, the network takes {expected}")
        for symbol, size in zip(expected.shape, shape, strict=True):
            if isinstance(symbol, int) or symbol in ANONYMOUS:
                continue
            known, where = sizes.setdefault(symbol, (size, name))
            if known != size:
                raise InputError(
                    f"input '{name}': shape is {shape}, but its dimension '{symbol}' is {known} in '{where}'; "
                    "give both the same size"
                )
        types[name] = replace(expected, shape=shape)
    for name in graph.outputs:
        if name not in graph.inputs:
            types[name] = _substitute(types[name], {symbol: size for symbol, (size, _) in sizes.items()})
    return graph.replace(types=types)


def _fits(expected: Dim, size: int) -> bool:
    return size >= 0 if isinstance(expected, str) else size == expected


def _substitute(tensor: TensorType, sizes: Mapping[str, int]) -> TensorType:
    if tensor.shape is None:
        return tensor
    return replace(tensor, shape=tuple(sizes.get(dim, dim) for dim in tensor.shape))
