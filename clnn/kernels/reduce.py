"""Kernels that compute something of all elements of a group, walking by ``opencl/lib/groups.h``."""

from __future__ import annotations

from clnn.kernels.kernel import Kernel, Param
from clnn.kernels.types import CL_TYPES

_ACCESS = Param(
    "ACCESS",
    "ALONG",
    ("ALONG", "ACROSS", "GATHER"),
    "lanes are neighbours within a group, neighbouring groups, or groups loaded one by one",
)
_WIDTH = Param("WIDTH", 16, (4, 16), "lanes of a vector")
_ANY_TYPE = tuple(name for name in dict.fromkeys(CL_TYPES.values()) if name != "half")

REDUCE = Kernel(
    "reduce",
    "reduce.cl",
    (
        Param("FOLD_BY", "SUM", ("SUM", "PROD", "MAX", "MIN"), "how two elements become one"),
        Param("BEFORE", "NONE", ("NONE", "ABS", "SQUARE"), "what is done to each element before"),
        Param("AFTER", "NONE", ("NONE", "MEAN", "SQRT", "LOG"), "what is done to the result; MEAN divides by count"),
        Param("TYPE", "float", _ANY_TYPE, "element type"),
        _ACCESS,
        _WIDTH,
    ),
    cuts=(0, 1),
)

ARGREDUCE = Kernel(
    "argreduce",
    "argreduce.cl",
    (
        Param("EXTREME", "MAX", ("MAX", "MIN"), "which element's index is wanted"),
        Param("AMONG_EQUALS", "FIRST", ("FIRST", "LAST"), "which index among equal elements"),
        Param("TYPE", "float", _ANY_TYPE, "element type"),
        _ACCESS,
        _WIDTH,
    ),
    cuts=(0, 1),
)

NORMALIZE = Kernel(
    "normalize_groups",
    "normalize.cl",
    (
        Param(
            "NORM",
            "SOFTMAX",
            ("SOFTMAX", "LOG_SOFTMAX", "MEAN_VARIANCE", "ROOT_MEAN_SQUARE", "L1", "L2"),
            "which normalisation",
        ),
        Param("AFFINE", "NONE", ("NONE", "SCALE", "SCALE_BIAS"), "what is done to each result"),
        Param("TYPE", "float", ("float", "double"), "element type"),
        _ACCESS,
        _WIDTH,
    ),
    cuts=(0, 1),
)
