"""What the kernels of convolutions and matrix products do with a finished sum: residual, activation, store."""

from __future__ import annotations

from dataclasses import dataclass

from clnn.kernels.activation import ACTIVATIONS, NO_ACTIVATION, Activation
from clnn.kernels.kernel import Param, Value
from clnn.kernels.window import Pixels

EPILOGUE_PARAMS = (
    Param("ACTIVATION", "NONE", tuple(ACTIVATIONS), "function applied to the result"),
    Param(
        "RESIDUAL",
        "NONE",
        ("NONE", "BEFORE", "AFTER"),
        "whether a tensor is added, before the activation or to its result",
    ),
)


@dataclass(frozen=True)
class Epilogue:
    """Bias, residual and activation of a product; the strings name tensors, ``None`` is one left out.

    ``bias`` and ``slope`` (of PRelu) hold one float32 per output channel. ``residual`` has one pixel per output
    pixel; ``place`` is a value of the kernel parameter RESIDUAL.
    """

    activation: Activation = NO_ACTIVATION
    bias: str | None = None
    slope: str | None = None
    residual: Pixels | None = None
    place: str = "NONE"

    @property
    def tensors(self) -> tuple[str | None, str | None, str | None]:
        """Bias, residual and slope, as kernels take them."""
        return self.bias, self.residual.name if self.residual else None, self.slope

    @property
    def constants(self) -> tuple[float, float]:
        """The two constants of the activation."""
        return float(self.activation.alpha), float(self.activation.beta)

    @property
    def residual_args(self) -> tuple[int, int]:
        """Pitch and offset of the residual."""
        return (self.residual.pitch, self.residual.offset) if self.residual else (0, 0)

    @property
    def params(self) -> dict[str, Value]:
        """The kernel parameters that select it."""
        return {"ACTIVATION": self.activation.kind, "RESIDUAL": self.place}
