"""A graph while a pass changes it: who writes and who reads each tensor stays known from one change to the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from clnn.graph import Graph, Node, Subgraph, TensorType


class Rewriter:
    """Takes a graph apart, replaces some of its nodes, and gives a new graph; the graph it was made of stays as it is.

    Nodes are in slots, one per node of the original graph, so that the order stays topological: new nodes go where
    the last of those that they replace has been.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.types = dict(graph.types)
        self.constants = dict(graph.constants)
        self._slots: list[tuple[Node, ...]] = [(node,) for node in graph.nodes]
        self._slot_of = {node.name: index for index, node in enumerate(graph.nodes)}
        self._nodes: dict[str, Node] = {}
        self._writers: dict[str, Node] = {}
        self._readers: dict[str, dict[str, Node]] = {}
        # A subgraph refers to outer tensors by name, from inside a serialised message.
        self._captured = {
            name
            for node in graph.nodes
            for value in node.attrs.values()
            if isinstance(value, Subgraph)
            for name in value.captures
        }
        for node in graph.nodes:
            self._enter(node)

    def graph(self) -> Graph:
        """The graph as it is now."""
        nodes = tuple(node for slot in self._slots for node in slot)
        return self._graph.replace(nodes=nodes, types=self.types, constants=self.constants)

    def walk(self, *ops: str, backwards: bool = False) -> Iterator[Node]:
        """The nodes of these operators, each as it is when its turn comes; the graph may change meanwhile.

        Of nodes put in after the start, only those appear that have the name of one still to come.
        """
        names = list(self._nodes)
        for name in reversed(names) if backwards else names:
            node = self._nodes.get(name)
            if node is not None and node.op in ops:
                yield node

    def writer(self, tensor: str) -> Node | None:
        """The node that writes a tensor; ``None`` for graph inputs and constants."""
        return self._writers.get(tensor)

    def readers(self, tensor: str) -> list[Node]:
        """The nodes that read a tensor."""
        return list(self._readers.get(tensor, {}).values())

    def is_private(self, tensor: str) -> bool:
        """Whether only nodes read the tensor, and by their inputs: then it may be renamed or disappear."""
        return tensor not in self._graph.outputs and tensor not in self._captured

    def sole_reader(self, tensor: str) -> Node | None:
        """The node that alone reads the tensor; ``None`` where there is another or the tensor is not private."""
        readers = self._readers.get(tensor, {})
        return next(iter(readers.values())) if len(readers) == 1 and self.is_private(tensor) else None

    def constant(self, tensor: str) -> np.ndarray | None:
        """The value of a constant, else ``None``."""
        return self.constants.get(tensor)

    def is_float32(self, tensor: str) -> bool:
        return tensor in self.types and self.types[tensor].dtype == "float32"

    def add_constant(self, hint: str, value: np.ndarray) -> str:
        """Add a constant under a new name made from ``hint``, and return the name."""
        name = self.add_tensor(hint, TensorType(value.shape, value.dtype.name))
        self.constants[name] = value
        return name

    def add_tensor(self, hint: str, tensor: TensorType) -> str:
        """Declare a new tensor under a name made from ``hint``, and return the name."""
        name, count = hint, 1
        while name in self.types:
            count += 1
            name = f"{hint}#{count}"
        self.types[name] = tensor
        return name

    def replace(self, old: Sequence[Node], *new: Node) -> None:
        """Put nodes in the place of the last of ``old``; the types of new tensors are declared before."""
        slot = max(self._slot_of[node.name] for node in old)
        for node in old:
            self._leave(node)
            index = self._slot_of.pop(node.name)
            self._slots[index] = tuple(other for other in self._slots[index] if other is not node)
        self._slots[slot] += new
        for node in new:
            self._slot_of[node.name] = slot
            self._enter(node)

    def forward(self, node: Node) -> bool:
        """Remove a node whose first output equals its first input, letting readers of the one read the other.

        Returns:
            Whether that was possible; it is not where both names have to stay.
        """
        source, result = node.input(0), node.outputs[0]
        if self.is_private(result):
            self._rename(result, source, self.readers(result))
            self.replace((node,))
            return True
        writer = self._writers.get(source)
        if writer is None or not self.is_private(source):
            return False
        readers = [reader for reader in self.readers(source) if reader is not node]
        self.replace((node,))
        self._rename(source, result, readers)
        outputs = tuple(result if name == source else name for name in writer.outputs)
        self._swap(writer, writer.replace(outputs=outputs))
        return True

    def _rename(self, old: str, new: str, readers: Iterable[Node]) -> None:
        for reader in readers:
            inputs = tuple(new if name == old else name for name in reader.inputs)
            self._swap(reader, reader.replace(inputs=inputs))

    def _swap(self, old: Node, new: Node) -> None:
        """Exchange a node for another version of itself."""
        index = self._slot_of[old.name]
        self._leave(old)
        self._slots[index] = tuple(new if other is old else other for other in self._slots[index])
        self._enter(new)

    def _enter(self, node: Node) -> None:
        self._nodes[node.name] = node
        self._writers.update((name, node) for name in node.outputs if name)
        for name in node.reads:
            self._readers.setdefault(name, {})[node.name] = node

    def _leave(self, node: Node) -> None:
        del self._nodes[node.name]
        for name in node.outputs:
            self._writers.pop(name, None)
        for name in node.reads:
            self._readers[name].pop(node.name)
