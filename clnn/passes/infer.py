"""Types of all tensors, and the values of those that do not depend on the inputs."""

from __future__ import annotations

import numpy as np

from clnn import host
from clnn.errors import ModelFormatError, UnsupportedError
from clnn.graph import Graph, Node, Subgraph, TensorType
from clnn.ops import InferContext, find

GROWTH_LIMIT_BYTES = 2 << 30
"""Bytes by which constants may grow in all: a node of a few bytes can ask for a tensor of any size."""

_RANDOM = frozenset(
    ("Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)


def infer_and_fold(graph: Graph) -> Graph:
    """Infer the type of every tensor, and compute the nodes whose inputs are constants, in one walk.

    Both at once, because a shape is often the result of arithmetic on constants and on the shapes before it.

    Raises:
        ModelFormatError: an operator's inputs or attributes do not fit it.
    """
    walk = _Walk(graph)
    nodes = tuple(node for node in graph.nodes if not walk.folds(node))
    return graph.replace(nodes=nodes, types=walk.types, constants=walk.constants)


class _Walk:
    """The types and constants known so far."""

    def __init__(self, graph: Graph) -> None:
        self.constants = dict(graph.constants)
        self.types = {name: graph.types[name] for name in (*graph.inputs, *graph.constants)}
        self._growth_left = GROWTH_LIMIT_BYTES

    def folds(self, node: Node) -> bool:
        """Learn the types of a node's outputs; whether it became constants, and is not needed any more."""
        types = self._infer(node)
        if len(types) < len(node.outputs):
            raise ModelFormatError(f"{node} has {len(node.outputs)} outputs instead of {len(types)}; it is not valid")
        self.types.update((name, kind) for name, kind in zip(node.outputs, types, strict=False) if name)
        values = self._fold(node)
        if values is None:
            return False
        for name, value in zip(node.outputs, values, strict=False):
            if name:
                self.constants[name] = value
                dtype = "string" if value.dtype.kind in "OUS" else value.dtype.name
                self.types[name] = TensorType(value.shape, dtype)
        return True

    def _infer(self, node: Node) -> tuple[TensorType, ...]:
        op = find(node.op)
        if op is not None and all(self.types[name].shape is not None for name in node.reads):
            try:
                return op.infer(InferContext(node, self.types, self.constants))
            except UnsupportedError:
                pass  # the shape depends on values that are computed at run time; the host then runs the node
        return host.infer_types(node, self.types, self.constants)

    def _fold(self, node: Node) -> tuple[np.ndarray, ...] | None:
        """Values of the outputs, or ``None`` where they are not known or had better not be stored."""
        op = find(node.op)
        if op is not None and op.shape_only:
            values = op.fold(InferContext(node, self.types, self.constants))
            if values is not None:
                return values
        if not self._can_evaluate(node):
            return None
        try:
            values = host.evaluate(node, {name: self.constants[name] for name in node.reads})
        except UnsupportedError:
            return None  # the reference operator fails where a kernel may not
        return values if all(isinstance(value, np.ndarray) for value in values if value is not None) else None

    def _can_evaluate(self, node: Node) -> bool:
        if node.op in _RANDOM or not all(name in self.constants for name in node.reads):
            return False
        if any(isinstance(value, Subgraph) for value in node.attrs.values()):
            return False  # a loop may take for ever
        if node.op == "NonZero":
            return True  # its result is of unknown shape, but at most `rank` times as large as its input
        outputs = [self.types[name] for name in node.outputs if name]
        if not all(kind.is_static for kind in outputs):
            return False
        before = sum(self.constants[name].nbytes for name in node.reads)
        after = sum(kind.size if kind.dtype == "string" else kind.nbytes for kind in outputs)
        growth = max(0, after - 4 * before)  # a conversion to a wider type does not count
        if growth > self._growth_left:
            return False
        self._growth_left -= growth
        return True
