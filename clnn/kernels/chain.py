"""The kernel of several elementwise operations, one on the result of the other."""

from __future__ import annotations

from clnn.kernels.elementwise import OPERATIONS
from clnn.kernels.kernel import Kernel, Param
from clnn.kernels.types import CL_TYPES

STAGES = 6
"""Operations that a chain may have."""
OPERANDS = 4
"""Tensors that they may read, beside each other's results."""
NUMBERS = 8
"""Constants of one element that they may take, beside those that belong to an operation."""

PREVIOUS = "previous"
"""The argument that is the result of the stage before."""

_ON_INTEGERS = ("BIT_", "SHIFT_", "INT_")
FLOAT_OPERATIONS = tuple(name for name in OPERATIONS if not name.startswith(_ON_INTEGERS))
"""The operations that a stage may be."""

_ARGUMENTS = (PREVIOUS, *(f"v{index}" for index in range(OPERANDS)), *(f"k{index}" for index in range(NUMBERS)))
_TYPES = ("float", *dict.fromkeys(cl for name, cl in CL_TYPES.items() if name in ("bool", "int8", "uint16", "int16")))


def _stage(index: int) -> tuple[Param, ...]:
    operations = FLOAT_OPERATIONS if index == 0 else ("NONE", *FLOAT_OPERATIONS)
    return (
        Param(f"STAGE{index}", operations[0], operations, f"operation {index}"),
        *(Param(f"{letter}{index}", PREVIOUS, _ARGUMENTS, f"its argument {letter.lower()}") for letter in "XYZ"),
    )


CHAIN = Kernel(
    "chain",
    "chain.cl",
    (
        *(param for index in range(STAGES) for param in _stage(index)),
        *(Param(f"IN{index}", "float", _TYPES, f"element type of operand {index}") for index in range(OPERANDS)),
        Param("OUT", "float", _TYPES, "element type of the result"),
        Param("ACCESS", "ROWS", ("ROWS", "GATHER"), "vectors along rows, or lanes loaded one by one"),
        Param("WIDTH", 16, (4, 16), "lanes of a vector"),
    ),
    cuts=(0, 1),
)
