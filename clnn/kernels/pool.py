"""The pooling kernel."""

from __future__ import annotations

from clnn.kernels.kernel import Constraint, Kernel, Param

POOL_TYPES = {"float32": "float", "float64": "double", "int8": "char", "uint8": "uchar"}
"""OpenCL type of each dtype that can be pooled."""

WIDTHS = (16, 8, 4, 2, 1)

POOL = Kernel(
    "pool",
    "pool.cl",
    (
        Param("TYPE", "float", tuple(POOL_TYPES.values()), "element type"),
        Param("OP", "MAX", ("MAX", "AVERAGE", "LP"), "what a window becomes: its maximum, mean or p-norm"),
        Param("WIDTH", 16, WIDTHS, "channels per vector"),
        Param("INDICES", 0, (0, 1), "whether the places of the maxima are written too"),
    ),
    (
        Constraint(
            lambda values: not values["INDICES"] or values["OP"] == "MAX",
            "INDICES needs OP=MAX",
        ),
    ),
    cuts=(1,),
)
