"""From ONNX tensors to arrays; nothing is allocated before its size is checked against the data that is there."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from clnn import env
from clnn.errors import ModelError, ModelFormatError, UnsupportedError
from clnn.graph import Node

_SUPPORTED = frozenset((
    *("float16", "bfloat16", "float32", "float64", "bool", "complex64", "complex128"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
))  # fmt: skip


def dtype_name(number: int, where: str) -> str:
    """NumPy's name of a value of ``TensorProto.DataType``, or "string".

    Raises:
        ModelFormatError: ONNX has no type of that number.
        UnsupportedError: arrays of that type cannot be handled.
    """
    if number == TensorProto.STRING:
        return "string"
    try:
        name = helper.tensor_dtype_to_np_dtype(number).name
    except KeyError as error:
        raise ModelFormatError(f"{where}: there is no element type {number}; the model is damaged") from error
    if name not in _SUPPORTED:
        raise UnsupportedError(f"{where}: element type {name} is not supported; export with a wider type")
    return name


_CONSTANT_KINDS = {
    **dict.fromkeys(("value_float", "value_floats"), np.float32),
    **dict.fromkeys(("value_int", "value_ints"), np.int64),
    **dict.fromkeys(("value_string", "value_strings"), object),
    "value": None,
}
"""Attributes that hold the value of a Constant, and the dtype of each; a tensor has its own."""


class TensorReader:
    """Reads tensors, and external data from the files of one folder.

    ``folder`` is that of the model, ``None`` when it did not come from a file; ``limit`` is the largest number of
    bytes of external data in all.
    """

    def __init__(self, folder: Path | None, limit: int) -> None:
        self._folder = folder
        self._left = limit

    def array(self, tensor: TensorProto, where: str) -> np.ndarray:
        """The tensor's value; it may not be written to.

        Raises:
            ModelFormatError: its data does not fit its shape, or lies where it may not.
            UnsupportedError: its element type is not supported.
            ModelError: external data cannot be read or exceeds the limit.
        """
        shape = tuple(tensor.dims)
        if any(dim < 0 for dim in shape):
            raise ModelFormatError(f"{where} has a negative dimension: {list(shape)}; the model is damaged")
        is_string = dtype_name(tensor.data_type, where) == "string"
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type).newbyteorder("<")
        try:
            if tensor.data_location == TensorProto.EXTERNAL:
                if is_string:
                    raise ModelFormatError(f"{where}: texts cannot lie in external data; the model is not valid")
                data = self._external(tensor, math.prod(shape) * dtype.itemsize, where)
                return _from_bytes(data, dtype, shape, where)
            if tensor.HasField("raw_data") and not is_string:
                return _from_bytes(tensor.raw_data, dtype, shape, where)
            return np.asarray(numpy_helper.to_array(tensor), object if is_string else None)
        except (ValueError, TypeError) as error:
            raise ModelFormatError(f"{where}: its data does not fit its shape: {error}; it is damaged") from error

    def constant_value(self, node: Node) -> np.ndarray:
        """Value of a Constant node.

        Raises:
            ModelFormatError: the attribute's value is not what its name says.
            UnsupportedError: it is of a kind that is not supported.
        """
        for attr, value in node.attrs.items():
            if attr not in _CONSTANT_KINDS:
                continue
            try:
                return np.asarray(value, _CONSTANT_KINDS[attr])
            except (TypeError, ValueError, OverflowError) as error:
                raise ModelFormatError(f"{node}: '{attr}' is of the wrong kind; the model is not valid") from error
        raise UnsupportedError(f"{node}: a constant with attributes {', '.join(node.attrs) or 'none'} is not supported")

    def _external(self, tensor: TensorProto, expected: int, where: str) -> bytes:
        """The ``expected`` bytes of a tensor that lie in another file."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        path = self._resolve(location, where)
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", expected))
        except ValueError as error:
            raise ModelFormatError(f"{where}: offset or length of its external data is no number") from error
        if length != expected or offset < 0:
            raise ModelFormatError(f"{where}: {length} bytes of external data at {offset}, its shape needs {expected}")
        if length > self._left:
            raise ModelError(
                f"{where}: with its external data the model exceeds the limit; "
                f"set {env.MODEL_LIMIT_MB.name} if you trust it"
            )
        self._left -= length
        try:
            # Before it is opened, which would wait at a pipe, and again, as it may have been exchanged since.
            _check_file(path.stat(), offset + length, location, where)
            with open(path, "rb") as file:
                _check_file(os.fstat(file.fileno()), offset + length, location, where)
                file.seek(offset)
                return file.read(length)
        except OSError as error:
            raise ModelError(
                f"{where}: external data '{location}' cannot be read: {error.strerror or error}; "
                "put it beside the model"
            ) from error

    def _resolve(self, location: str, where: str) -> Path:
        """The file at ``location``, which must be inside the model's folder once all links are followed."""
        if self._folder is None:
            raise ModelError(f"{where}: external data needs a folder; give the model as a path")
        parts = (PurePosixPath(location), PureWindowsPath(location))
        outside = any(part.is_absolute() or part.drive or ".." in part.parts for part in parts)
        folder = self._folder.resolve()
        if location and "\0" not in location and not outside:
            path = (folder / location).resolve()
            if path.is_relative_to(folder) and path != folder:
                return path
        raise ModelFormatError(f"{where}: external data '{location}' lies outside the model's folder; it is not read")


def _from_bytes(data: bytes, dtype: np.dtype, shape: tuple[int, ...], where: str) -> np.ndarray:
    """An array over the little-endian ``data``."""
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise ModelFormatError(
            f"{where} has {len(data)} bytes of data, {list(shape)} of {dtype.name} needs {expected}; it is damaged"
        )
    array = np.frombuffer(data, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _check_file(status: os.stat_result, end: int, location: str, where: str) -> None:
    """Raise ModelFormatError if a file may not be read, or has fewer than ``end`` bytes."""
    if not stat.S_ISREG(status.st_mode):
        raise ModelFormatError(f"{where}: external data '{location}' is not a regular file; it is not read")
    if status.st_nlink > 1:
        raise ModelFormatError(
            f"{where}: external data '{location}' has hard links, so that it may be a file from elsewhere; copy it"
        )
    if end > status.st_size:
        raise ModelFormatError(
            f"{where}: external data '{location}' has {status.st_size} bytes, {end} are needed; it is cut short"
        )
