"""Computing in float32 what the model computes in float16 or bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from clnn.graph import Graph, Node
from clnn.ops import find

HALVES = ("float16", "bfloat16")

_FLOAT32 = 1
_NUMBERS = {"float16": 10, "bfloat16": 16}
"""Values of ``TensorProto.DataType``."""

_DTYPE_ATTRS = ("to", "dtype", "output_dtype")


def promote_float16(graph: Graph) -> Graph:
    """Let the operators that clnn knows read and write float32 instead of float16 and bfloat16.

    Few devices compute in half precision, and weights are converted once. Graph inputs and outputs and the nodes that
    only the host runs keep their types: a Cast stands at each such border. The promoted form of a tensor has a name of
    its own, so that both forms can exist side by side.
    """
    if not any(kind.dtype in HALVES for kind in graph.types.values()):
        return graph
    return _Promotion(graph).graph()


class _Promotion:
    """The walk over the nodes: which forms of each half tensor exist, and in which one others are wanted."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.types = dict(graph.types)
        self.constants = dict(graph.constants)
        self._promoted = {name: _fresh(name, graph) for name, kind in graph.types.items() if kind.dtype in HALVES}
        self._available = {*graph.inputs, *graph.constants}

    def graph(self) -> Graph:
        nodes: list[Node] = []
        for node in self._graph.nodes:
            known = find(node.op) is not None
            for name in node.reads:
                if name in self._promoted:
                    nodes.extend(self._provide(name, promoted=known))
            nodes.append(self._promote(node) if known else node)
            self._available.update(nodes[-1].outputs)
        for name in self._graph.outputs:
            if name in self._promoted:
                nodes.extend(self._provide(name, promoted=False))
        return self._graph.replace(nodes=tuple(nodes), types=self.types, constants=self.constants)

    def _provide(self, name: str, promoted: bool) -> Iterator[Node]:
        """Make a half tensor available in the wanted form, by a Cast from the other one if need be."""
        forms = (self._promoted[name], name)
        wanted, other = forms if promoted else reversed(forms)
        if wanted in self._available:
            return
        self._available.add(wanted)
        if promoted:
            self.types[wanted] = replace(self.types[name], dtype="float32")
            if name in self.constants:
                self.constants[wanted] = self.constants[name].astype(np.float32)
                return
        number = _FLOAT32 if promoted else _NUMBERS[self.types[name].dtype]
        yield Node(f"{wanted}/cast", "Cast", (other,), (wanted,), {"to": number}, 13)

    def _promote(self, node: Node) -> Node:
        """The node with every half tensor and dtype replaced by its float32 form."""
        for name in node.outputs:
            if name in self._promoted:
                self.types[self._promoted[name]] = replace(self.types[name], dtype="float32")
        return node.replace(
            inputs=tuple(self._promoted.get(name, name) for name in node.inputs),
            outputs=tuple(self._promoted.get(name, name) for name in node.outputs),
            attrs={key: _promote_attr(key, value) for key, value in node.attrs.items()},
        )


def _fresh(name: str, graph: Graph) -> str:
    """A name for the promoted form of a tensor that no other tensor has."""
    fresh = f"{name}/float32"
    while fresh in graph.types:
        fresh += "'"
    return fresh


def _promote_attr(key: str, value: Any) -> Any:
    if key in _DTYPE_ATTRS and value in _NUMBERS.values():
        return _FLOAT32
    if isinstance(value, np.ndarray) and value.dtype.name in HALVES:
        return value.astype(np.float32)
    return value
