"""The two kernels that find the largest elements of rows: candidates per chunk, then the best of those."""

from __future__ import annotations

from clnn.kernels.kernel import Kernel, Param

TOPK_TYPES = {"float32": "float", "int32": "int", "int8": "char", "uint8": "uchar"}
"""OpenCL type of each dtype whose order fits into half of a long."""

_PARAMS = (
    Param("TYPE", "float", tuple(TOPK_TYPES.values()), "element type"),
    Param("LARGEST", 1, (0, 1), "whether the largest elements are wanted, or the smallest"),
)

TOPK_SELECT = Kernel("topk_select", "topk.cl", _PARAMS)
TOPK_MERGE = Kernel("topk_merge", "topk.cl", _PARAMS)
