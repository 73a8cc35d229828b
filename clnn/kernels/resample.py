"""The kernel that interpolates."""

from __future__ import annotations

from clnn.kernels.kernel import Kernel, Param

WIDTHS = (16, 8, 4, 2, 1)

RESAMPLE = Kernel("resample", "resample.cl", (Param("WIDTH", 16, WIDTHS, "elements per vector"),), cuts=(0, 1))
