"""Element types as kernels name them."""

from __future__ import annotations

CL_TYPES = {
    "float32": "float",
    "float64": "double",
    "float16": "half",
    "int8": "char",
    "uint8": "uchar",
    "int16": "short",
    "uint16": "ushort",
    "int32": "int",
    "uint32": "uint",
    "int64": "long",
    "uint64": "ulong",
    "bool": "uchar",
}
"""OpenCL C name of each dtype that kernels read and write; a bool is a byte that holds 0 or 1."""

FLOATS = ("float32", "float64")
"""Floating-point dtypes that kernels compute in (float16 is only loaded and stored)."""


def cl_type(dtype: str) -> str:
    """OpenCL C name of ``dtype``, a key of ``CL_TYPES``."""
    return CL_TYPES[dtype]


def vector_width(kind: str) -> int:
    """Lanes of the vectors that a work-item of a kind of device computes with.

    A CPU's work-item is a loop over the widest vectors; elsewhere neighbouring work-items take neighbouring
    vectors, and four lanes already make full memory transactions.
    """
    return 16 if kind == "cpu" else 4
