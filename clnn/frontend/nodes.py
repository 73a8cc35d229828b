"""From ONNX nodes to ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from onnx import AttributeProto, TensorProto

from clnn.errors import ModelFormatError, UnsupportedError
from clnn.frontend.schemas import check_against_schema, domain_of, known_schema
from clnn.frontend.tensors import TensorReader
from clnn.graph import Node, Subgraph


def convert_node(proto: onnx.NodeProto, name: str, versions: Mapping[str, int], reader: TensorReader) -> Node:
    """Convert a node and check that something can run it, and that it has what its operator needs.

    Raises:
        ModelFormatError: an attribute is malformed, or the node contradicts the operator's definition.
        UnsupportedError: nobody knows the operator, or an attribute's kind.
    """
    domain = domain_of(proto.domain)
    op = f"{domain}.{proto.op_type}" if domain else proto.op_type
    where = f"{op} '{name}'"
    schema = known_schema(proto, where, versions)
    if schema is not None:
        check_against_schema(proto, where, schema)
    for attribute in proto.attribute:
        if attribute.type == AttributeProto.GRAPH:
            _check_body(attribute.g, where, versions)
    attrs = {attribute.name: _value(attribute, where, reader) for attribute in proto.attribute}
    return Node(name, op, tuple(proto.input), tuple(proto.output), attrs, versions[domain])


def _check_body(graph: onnx.GraphProto, where: str, versions: Mapping[str, int]) -> None:
    """Check what onnx's reference operators will run, and read, on their own.

    Raises:
        ModelFormatError, UnsupportedError: as for ``convert_node``.
    """
    tensors = [*graph.initializer, *(a.t for node in graph.node for a in node.attribute)]
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in tensors):
        raise UnsupportedError(f"{where}: a subgraph uses external data; save the model with its data inside")
    for node in graph.node:
        known_schema(node, f"{where}, in its subgraph {node.op_type} '{node.name}'", versions)
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                _check_body(attribute.g, where, versions)


def _value(attribute: AttributeProto, where: str, reader: TensorReader) -> Any:
    match attribute.type:
        case AttributeProto.FLOAT:
            return attribute.f
        case AttributeProto.INT:
            return attribute.i
        case AttributeProto.STRING:
            return _text(attribute.s, where)
        case AttributeProto.TENSOR:
            return reader.array(attribute.t, f"{where}, attribute '{attribute.name}'")
        case AttributeProto.GRAPH:
            return Subgraph(attribute.g.SerializeToString(), _captures(attribute.g))
        case AttributeProto.FLOATS:
            return tuple(attribute.floats)
        case AttributeProto.INTS:
            return tuple(attribute.ints)
        case AttributeProto.STRINGS:
            return tuple(_text(text, where) for text in attribute.strings)
    kind = AttributeProto.AttributeType.Name(attribute.type)
    raise UnsupportedError(f"{where}: attribute '{attribute.name}' of kind {kind} is not supported")


def _text(raw: bytes, where: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"{where}: a text attribute is not UTF-8; the model is damaged") from error


def _captures(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Tensors of the outer graph that a subgraph, or one nested in it, reads."""
    own = {info.name for info in graph.input} | {tensor.name for tensor in graph.initializer}
    found: dict[str, None] = {}
    for node in graph.node:
        nested = [name for a in node.attribute if a.type == AttributeProto.GRAPH for name in _captures(a.g)]
        found |= dict.fromkeys(name for name in (*node.input, *nested) if name and name not in own)
        own |= set(node.output)
    found |= dict.fromkeys(info.name for info in graph.output if info.name not in own)
    return tuple(found)
