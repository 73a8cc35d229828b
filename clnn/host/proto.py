"""A node written back as ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper

from clnn.graph import Node, Subgraph


def split_op(op: str) -> tuple[str, str]:
    """Domain and operator type of a node's ``op``; ONNX's own domain is ""."""
    domain, _, op_type = op.rpartition(".")
    return domain, op_type


def schema_of(node: Node) -> defs.OpSchema | None:
    """The schema of a node's operator at its opset version, or ``None`` when onnx does not know it."""
    domain, op_type = split_op(node.op)
    try:
        return defs.get_schema(op_type, node.version, domain)
    except defs.SchemaError:
        return None


def node_proto(node: Node) -> onnx.NodeProto:
    """The node as ONNX; only attributes of ONNX's own kinds can be written."""
    domain, op_type = split_op(node.op)
    proto = helper.make_node(op_type, list(node.inputs), list(node.outputs), name=node.name, domain=domain)
    schema = schema_of(node)
    kinds = {name: attribute.type for name, attribute in schema.attributes.items()} if schema else {}
    proto.attribute.extend(_attribute(name, value, kinds.get(name)) for name, value in node.attrs.items())
    return proto


def _attribute(name: str, value: Any, kind: Any) -> onnx.AttributeProto:
    if isinstance(value, Subgraph):
        body = onnx.GraphProto()
        body.ParseFromString(value.proto)
        return helper.make_attribute(name, body)
    if isinstance(value, np.ndarray):
        return helper.make_attribute(name, numpy_helper.from_array(value))
    # An empty tuple does not tell what it is empty of; the schema does.
    attr_type = int(kind.value) if kind is not None and value == () else None
    return helper.make_attribute(name, value, attr_type=attr_type)
