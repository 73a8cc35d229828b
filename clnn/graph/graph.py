"""Nodes and the graph that they form."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clnn.graph.types import TensorType


@dataclass(frozen=True)
class Subgraph:
    """A graph-valued attribute (the body of If, Loop, Scan), kept as serialised ONNX.

    ``captures`` are the tensors of the outer graph that the body reads.
    """

    proto: bytes
    captures: tuple[str, ...]


@dataclass(frozen=True)
class Node:
    """One operator applied to named tensors.

    ``op`` is the ONNX operator type, with its domain in front where that is not ONNX's own
    ("com.microsoft.Gelu"). ``inputs`` and ``outputs`` name tensors; "" is an optional one left out.
    ``version`` is the opset version of the operator's domain that the model asks for.
    ``attrs`` holds ints, floats, strings, tuples of them, arrays and ``Subgraph``s.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1

    def input(self, index: int) -> str:
        """Name of input ``index``, or "" when it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def replace(self, **changes: Any) -> Node:
        return dataclasses.replace(self, **changes)

    def with_attrs(self, **attrs: Any) -> Node:
        return dataclasses.replace(self, attrs={**self.attrs, **attrs})

    @property
    def reads(self) -> tuple[str, ...]:
        """All tensors that the node reads: its inputs and what its subgraphs capture."""
        captures = [name for value in self.attrs.values() if isinstance(value, Subgraph) for name in value.captures]
        return tuple(dict.fromkeys(name for name in (*self.inputs, *captures) if name))

    def __str__(self) -> str:
        return f"{self.op} '{self.name}'"


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order over named tensors.

    Every tensor is exactly one of: a graph input, a constant, an output of one node.
    ``types`` holds what is known of each; a missing entry means that nothing is known yet.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    types: Mapping[str, TensorType] = field(default_factory=dict)
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    name: str = ""

    def replace(self, **changes: Any) -> Graph:
        return dataclasses.replace(self, **changes)

    def producers(self) -> dict[str, Node]:
        """The node that writes each tensor."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    def consumers(self) -> dict[str, list[Node]]:
        """The nodes that read each tensor, in order; tensors that nobody reads are absent."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.reads:
                readers.setdefault(name, []).append(node)
        return readers

    @property
    def is_static(self) -> bool:
        """Whether the shapes of all inputs are numbers."""
        return all(self.types[name].is_static for name in self.inputs)
