"""Types of the outputs of operators that clnn has no rules for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import IR_VERSION, TensorProto, checker, helper, numpy_helper, shape_inference

from clnn.errors import ModelFormatError
from clnn.graph import Node, TensorType
from clnn.host.proto import node_proto, schema_of, split_op

_REFUSALS = (shape_inference.InferenceError, checker.ValidationError)
"""What onnx raises about shapes, and about element types, that do not fit."""

UNKNOWN = TensorType(None, "float32")
SMALL = 1024
"""Constants of up to so many elements are shown to shape inference; larger ones are never shapes."""


def infer_types(
    node: Node, types: Mapping[str, TensorType], constants: Mapping[str, np.ndarray]
) -> tuple[TensorType, ...]:
    """Types of the outputs through onnx's shape inference; of unknown shape where it cannot tell.

    Raises:
        ModelFormatError: the inputs do not fit the operator.
    """
    try:
        inferred = _infer(node, types, constants)
    except _REFUSALS as error:
        raise ModelFormatError(f"{node}: its inputs do not fit the operator: {error}") from error
    return tuple(inferred.get(name, UNKNOWN) for name in node.outputs)


def infer_dtypes(node: Node, arrays: Mapping[str, np.ndarray]) -> dict[str, np.dtype]:
    """Element types that the outputs have by the operator's definition, those that it tells."""
    types = {name: TensorType(None, _name(array.dtype)) for name, array in arrays.items()}
    try:
        inferred = _infer(node, types, {})
    except _REFUSALS:
        return {}
    return {name: np.dtype(object if kind.dtype == "string" else kind.dtype) for name, kind in inferred.items()}


def _infer(
    node: Node, types: Mapping[str, TensorType], constants: Mapping[str, np.ndarray]
) -> dict[str, TensorType]:
    """Types of those outputs that are tensors, as far as onnx knows the operator."""
    schema = schema_of(node)
    if schema is None:
        return {}
    data = {
        name: numpy_helper.from_array(constants[name], name)
        for name in node.reads
        if name in constants and constants[name].size <= SMALL and types[name].dtype != "string"
    }
    domain, _ = split_op(node.op)
    inferred = shape_inference.infer_node_outputs(
        schema,
        node_proto(node),
        {name: _type_proto(types[name]) for name in node.reads if name in types},
        data,
        opset_imports=[helper.make_opsetid(domain, node.version)],
        ir_version=IR_VERSION,
    )
    return {name: _tensor_type(proto) for name, proto in inferred.items() if proto.HasField("tensor_type")}


def _type_proto(tensor: TensorType) -> onnx.TypeProto:
    shape = None if tensor.shape is None else [None if dim == "?" else dim for dim in tensor.shape]
    string = tensor.dtype == "string"
    number = TensorProto.STRING if string else helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    return helper.make_tensor_type_proto(number, shape)


def _tensor_type(proto: onnx.TypeProto) -> TensorType:
    tensor = proto.tensor_type
    dtype = _name(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    if not tensor.HasField("shape"):
        return TensorType(None, dtype)
    return TensorType(tuple(_dim(dim) for dim in tensor.shape.dim), dtype)


def _name(dtype: np.dtype) -> str:
    return "string" if dtype.kind in "OUS" else dtype.name


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str:
    return dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?"
