"""Kernels that move elements without looking at them; they know a type by its size alone."""

from __future__ import annotations

from clnn.kernels.kernel import Kernel, Param

ELEMENT_TYPES = {1: "uchar", 2: "ushort", 4: "uint", 8: "ulong"}
"""OpenCL type that stands for every dtype of that many bytes."""

_TYPE = Param("TYPE", "uint", tuple(ELEMENT_TYPES.values()), "element type, by its size alone")

COPY = Kernel(
    "copy",
    "copy.cl",
    (
        _TYPE,
        Param(
            "MODE",
            "UNIT",
            ("UNIT", "FILL", "TRANSPOSE", "STRIDED"),
            "the inner loops: contiguous in both, one element repeated, 16×16 tiles turned over, or any strides",
        ),
    ),
    cuts=(0, 1, 2),
)

REMAP = Kernel(
    "remap",
    "remap.cl",
    (
        _TYPE,
        Param("RUN", 1, (0, 1), "whether the innermost dimension is copied as it is, without a table"),
    ),
    cuts=(0, 1, 2),
)

INDEX_TYPES = {"int32": "int", "int64": "long"}
"""OpenCL type of each dtype that indices may have."""

GATHER = Kernel(
    "gather",
    "gather.cl",
    (
        _TYPE,
        Param("INDEX", "long", tuple(INDEX_TYPES.values()), "type of the indices"),
        Param("DIRECTION", "GATHER", ("GATHER", "SCATTER"), "whether indices say where rows come from or go to"),
    ),
)
