"""Activations that a kernel can apply to its result before storing it."""

from __future__ import annotations

from dataclasses import dataclass

ACTIVATIONS = {
    "NONE": "x",
    "RELU": "max(x, 0)",
    "LEAKY_RELU": "x < 0 ? alpha·x : x",
    "PRELU": "x < 0 ? slope[channel]·x : x",
    "CLIP": "min(max(x, alpha), beta)",
    "HARD_SIGMOID": "clip(alpha·x + beta, 0, 1)",
    "HARD_SWISH": "alpha·x·clip(x + 3, 0, 6)",
    "SIGMOID": "1 / (1 + exp(-x))",
    "SILU": "x·sigmoid(x)",
    "TANH": "tanh(x)",
}
"""Values of the kernel parameter ACTIVATION and what each computes; ``opencl/lib/activation.h`` defines them."""


@dataclass(frozen=True)
class Activation:
    """An activation and its two constants; ``kind`` is a key of ``ACTIVATIONS``."""

    kind: str = "NONE"
    alpha: float = 0.0
    beta: float = 0.0

    def __str__(self) -> str:
        return self.kind.lower()


NO_ACTIVATION = Activation()
