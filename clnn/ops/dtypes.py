"""Element types as ONNX numbers them."""

from __future__ import annotations

from clnn.graph import Node
from clnn.ops.settings import integer, invalid

_DTYPES = (
    *("", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool", "float16", "float64"),
    *("uint32", "uint64", "complex64", "complex128", "bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2"),
    *("float8_e5m2fnuz", "uint4", "int4", "float4_e2m1fn", "float8_e8m0fnu", "uint2", "int2", "float6_e2m3fn"),
    *("float6_e3m2fn",),
)
"""NumPy's name of each value of ``TensorProto.DataType`` (those beyond NumPy itself are named by ml_dtypes)."""


def dtype_attribute(node: Node, name: str, default: int = 0) -> str:
    """The dtype that an attribute names; "" for the value 0, which stands for none.

    Raises:
        ModelFormatError: no dtype has that number.
    """
    number = integer(node, name, node.attrs.get(name, default))
    if not 0 <= number < len(_DTYPES):
        invalid(node, f"'{name}' is {number}, which is the number of no element type")
    return _DTYPES[number]
