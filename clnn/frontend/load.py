"""Reading a model and checking what everything after relies on."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from clnn import env
from clnn.errors import ModelError, ModelFormatError, UnsupportedError, UsageError
from clnn.frontend.nodes import convert_node
from clnn.frontend.order import sort
from clnn.frontend.schemas import domain_of
from clnn.frontend.tensors import TensorReader, dtype_name
from clnn.graph import Graph, Node, TensorType

OLDEST_OPSET = 7
DEFAULT_LIMIT_MB = 4096


def load(model: str | os.PathLike[str] | bytes | onnx.ModelProto) -> Graph:
    """Read a model: a path, the bytes of a file, or a parsed model.

    The model is untrusted. It may refer to external data only in files of its own folder, and together with them
    be no larger than $CLNN_MODEL_LIMIT_MB.

    Raises:
        ModelFormatError: it is not a valid ONNX model.
        UnsupportedError: its opset, an operator or a type is not supported.
        ModelError: it cannot be read, or is larger than the limit.
    """
    limit = _limit_bytes()
    proto, folder, size = _parse(model, limit)
    versions = _check_opsets(proto)
    if proto.functions:
        proto = _inline(proto)
        versions = _check_opsets(proto)
    return _Importer(proto.graph, versions, TensorReader(folder, limit - size)).graph()


def _inline(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the bodies of its functions in the place of their calls."""
    from onnx import inliner

    try:
        return inliner.inline_local_functions(proto)
    except Exception as error:  # the inliner is C++ and raises RuntimeError or its own kinds
        raise ModelFormatError(f"a function of the model cannot be inlined: {error}; the model is not valid") from error


def _limit_bytes() -> int:
    text = env.MODEL_LIMIT_MB.get()
    try:
        return int(float(text or DEFAULT_LIMIT_MB) * 1_000_000)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{env.MODEL_LIMIT_MB.name}: '{text}' is not a number of MB") from error


def _parse(model: Any, limit: int) -> tuple[onnx.ModelProto, Path | None, int]:
    """The parsed model, the folder for its external data, and its size in bytes."""
    if isinstance(model, onnx.ModelProto):
        return model, None, 0
    if isinstance(model, bytes | bytearray | memoryview):
        return _parse_bytes(bytes(model), "the model"), None, len(model)
    if not isinstance(model, str | os.PathLike):
        raise UsageError(f"model: {type(model).__name__} is neither a path, nor bytes, nor an onnx.ModelProto")
    path = Path(model)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"model '{path}' is not a file; give the path of an .onnx file")
        if status.st_size > limit:
            raise ModelError(
                f"model '{path}': {status.st_size / 1e6:.0f} MB is more than the limit of {limit / 1e6:.0f} MB; "
                f"set {env.MODEL_LIMIT_MB.name} if you trust it"
            )
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"model '{path}' cannot be read: {error.strerror or error}; check the path") from error
    except ValueError as error:  # a zero character
        raise ModelError(f"model {os.fspath(path)!r} is not a path ({error}); give that of an .onnx file") from error
    return _parse_bytes(data, f"model '{path}'"), path.parent, len(data)


def _parse_bytes(data: bytes, what: str) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise ModelFormatError(f"{what} is not an ONNX file, or is damaged or cut short ({error})") from error
    if not proto.ir_version or not proto.graph.output:
        raise ModelFormatError(f"{what} is not an ONNX file: it has no version or no graph with outputs")
    return proto


def _check_opsets(proto: onnx.ModelProto) -> dict[str, int]:
    """Opset version by domain."""
    versions = {domain_of(entry.domain): entry.version for entry in proto.opset_import}
    newest = onnx.defs.onnx_opset_version()
    own = versions.get("", newest)
    if not OLDEST_OPSET <= own <= newest:
        raise UnsupportedError(
            f"the model uses opset {own}; opsets {OLDEST_OPSET} to {newest} are supported: convert it with "
            "onnx.version_converter, or install a newer onnx"
        )
    return versions


class _Importer:
    """Collects the parts of a graph, checking that each tensor is defined once, before it is read."""

    def __init__(self, proto: onnx.GraphProto, versions: dict[str, int], reader: TensorReader) -> None:
        self._proto = proto
        self._versions = versions
        self._reader = reader
        self._types: dict[str, TensorType] = {}
        self._constants: dict[str, Any] = {}
        self._known: set[str] = set()

    def graph(self) -> Graph:
        proto = self._proto
        if proto.sparse_initializer:
            name = proto.sparse_initializer[0].values.name
            raise UnsupportedError(f"initializer '{name}' is sparse; export the model with dense weights")
        initializers = {tensor.name for tensor in proto.initializer}
        inputs = tuple(info.name for info in proto.input if info.name not in initializers)
        for info in proto.input:
            if info.name in inputs:
                self._define(info.name, "a graph input")
                self._types[info.name] = _input_type(info)
        for tensor in proto.initializer:
            self._define(tensor.name, "an initializer")
            self._constant(tensor.name, self._reader.array(tensor, f"initializer '{tensor.name}'"))
        nodes = tuple(self._nodes(proto.node))
        outputs = tuple(info.name for info in proto.output)
        self._check_outputs(outputs)
        for info in proto.output:
            if info.name not in self._types:
                self._types[info.name] = _output_type(info)
        return Graph(nodes, inputs, outputs, self._types, self._constants, proto.name)

    def _define(self, name: str, what: str) -> None:
        _check_text(name, what)
        if not name or name in self._known:
            raise ModelFormatError(f"tensor '{name}' ({what}) is defined twice or has no name; the model is not valid")
        self._known.add(name)

    def _constant(self, name: str, array: Any) -> None:
        self._constants[name] = array
        self._types[name] = TensorType(array.shape, "string" if array.dtype == np.object_ else array.dtype.name)

    def _nodes(self, protos: Iterable[onnx.NodeProto]) -> Iterable[Node]:
        names: set[str] = set()
        nodes = []
        for index, proto in enumerate(protos):
            name = proto.name or f"{proto.op_type}_{index}"
            _check_text(name, f"node {index}")
            while name in names:
                name = f"{name}#{index}"
            names.add(name)
            nodes.append(convert_node(proto, name, self._versions, self._reader))
        for node in sort(nodes, self._known):
            for written in filter(None, node.outputs):
                self._define(written, f"written by {node}")
            if node.op == "Constant":
                self._constant(node.outputs[0], self._reader.constant_value(node))
            else:
                yield node

    def _check_outputs(self, outputs: tuple[str, ...]) -> None:
        for name in outputs:
            if name not in self._known:
                raise ModelFormatError(f"graph output '{name}' is not defined by any node; the model is not valid")
        if len(set(outputs)) != len(outputs):
            raise ModelFormatError("a graph output is listed twice; the model is not valid")


def _input_type(info: onnx.ValueInfoProto) -> TensorType:
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        what = f"a {kind.removesuffix('_type')}" if kind else "of no type"
        raise UnsupportedError(f"input '{info.name}' is {what}, not a tensor; export the model with tensors as inputs")
    tensor = info.type.tensor_type
    dtype = dtype_name(tensor.elem_type, f"input '{info.name}'")
    if not tensor.HasField("shape"):
        raise UnsupportedError(f"input '{info.name}' has no shape, not even a rank; export the model with shapes")
    shape = tuple(_dim(dim) for dim in tensor.shape.dim)
    for dim in shape:
        _check_text(dim, f"a dimension of input '{info.name}'")
    if any(isinstance(dim, int) and dim < 0 for dim in shape):
        raise ModelFormatError(f"input '{info.name}' has a negative dimension: {shape}; the model is not valid")
    return TensorType(shape, dtype)


def _output_type(info: onnx.ValueInfoProto) -> TensorType:
    tensor = info.type.tensor_type
    dtype = dtype_name(tensor.elem_type, f"output '{info.name}'") if tensor.elem_type else "float32"
    return TensorType(tuple(_dim(dim) for dim in tensor.shape.dim) if tensor.HasField("shape") else None, dtype)


def _check_text(name: object, what: str) -> None:
    """Raise ModelFormatError for bytes, as which protobuf hands out text that is not UTF-8."""
    if isinstance(name, bytes):
        raise ModelFormatError(f"{name!r} ({what}) is not UTF-8; the model is damaged")


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str:
    return dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?"
