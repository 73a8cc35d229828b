"""Running one node with NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import IR_VERSION, ValueInfoProto, defs, helper

from clnn.errors import OutOfMemoryError, UnsupportedError
from clnn.graph import Node
from clnn.host.infer import infer_dtypes
from clnn.host.proto import node_proto, schema_of, split_op
from clnn.host.standard import standard_nodes

_FIRST = {"DequantizeLinear": 19, "GridSample": 20}
"""Opset in which an operator's reference implementation begins; what older ones say is a part of what it says."""


class HostOperator:
    """A node prepared for evaluation with onnx's reference operators."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._evaluator: Any = None
        self._dtypes: dict[str, np.dtype] = {}

    def run(self, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray | None, ...]:
        """Compute the node's outputs from an array for each tensor that it reads; their dtypes never change.

        Returns:
            C-contiguous arrays of the operator's own dtypes, one per output; ``None`` for one left out ("").

        Raises:
            UnsupportedError: the operator has no implementation, or fails on these arrays.
            OutOfMemoryError: its results do not fit into the host's memory.
        """
        feeds = {name: arrays[name] for name in self.node.reads}
        if self._evaluator is None:
            steps = standard_nodes(self.node)
            self._evaluator = _evaluator(self.node, steps)
            # clnn's own forms are made for float32 only.
            self._dtypes = infer_dtypes(self.node, feeds) if len(steps) == 1 else {}
        try:
            with np.errstate(all="ignore"):  # infinities and NaN are results like others
                results = iter(self._evaluator.run(None, feeds))
        except MemoryError as error:
            raise OutOfMemoryError(f"{self.node}: the host's memory ran out: {error}; use a smaller input") from error
        except Exception as error:  # a reference operator may raise anything
            raise UnsupportedError(
                f"{self.node}: onnx's reference operator fails on these inputs: {type(error).__name__}: {error}"
            ) from error
        return tuple(self._finish(name, next(results)) if name else None for name in self.node.outputs)

    def _finish(self, name: str, result: Any) -> Any:
        """A result in its proper dtype, which the reference operators do not always see to; a sequence as it is."""
        if not isinstance(result, np.ndarray | np.generic):
            return result
        return np.asarray(result, self._dtypes.get(name), order="C")


def evaluate(node: Node, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray | None, ...]:
    """Compute a node once; see ``HostOperator.run``."""
    return HostOperator(node).run(arrays)


def optional_outputs(node: Node) -> frozenset[int]:
    """Positions of the outputs that a model may leave out."""
    schema = schema_of(node)
    outputs = schema.outputs if schema is not None else ()
    optional = defs.OpSchema.FormalParameterOption.Optional
    return frozenset(index for index, output in enumerate(outputs) if output.option == optional)


def _evaluator(node: Node, steps: Sequence[Node]) -> Any:
    """The reference evaluator of ``steps``, ONNX nodes that compute ``node``."""
    # Takes a tenth of a second to import, and most networks never need it.
    from onnx.reference import ReferenceEvaluator

    versions = {split_op(step.op)[0]: max(step.version, _FIRST.get(step.op, 0)) for step in reversed(steps)}
    versions.setdefault("", defs.onnx_opset_version())
    graph = helper.make_graph(
        [node_proto(step) for step in steps],
        "node",
        [ValueInfoProto(name=name) for name in node.reads],
        [ValueInfoProto(name=name) for name in node.outputs if name],
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
    try:
        return ReferenceEvaluator(helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION))
    except Exception as error:  # NotImplementedError, RuntimeContextError, or what a schema look-up raises
        raise UnsupportedError(
            f"{node}: opset {node.version} of this operator has neither an OpenCL kernel nor a reference "
            f"implementation ({error}); export the model without it"
        ) from error
