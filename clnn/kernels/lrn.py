"""The kernel of local response normalisation."""

from __future__ import annotations

from clnn.kernels.kernel import Kernel, Param

LRN = Kernel("lrn", "lrn.cl", (Param("WIDTH", 16, (4, 16), "lanes of a vector"),), cuts=(0,))
