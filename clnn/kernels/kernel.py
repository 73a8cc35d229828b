"""The types that describe a kernel and one launch of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from clnn.errors import UsageError

Value = int | str
"""Value of a kernel parameter: a number, or a word of a closed list."""


@dataclass(frozen=True)
class Local:
    """Local memory of a work-group, as a kernel argument."""

    nbytes: int


Arg = str | int | float | Local | None
"""A kernel argument: a tensor's name (its buffer), an ``int`` (int32), a ``float`` (float32), local memory or a null
pointer."""


@dataclass(frozen=True)
class Param:
    """A compile-time parameter of a kernel, given to the compiler as ``-D NAME=value``."""

    name: str
    default: Value
    choices: tuple[Value, ...]
    meaning: str


@dataclass(frozen=True)
class Constraint:
    """A relation that the parameters must satisfy together."""

    holds: Callable[[Mapping[str, Value]], bool]
    meaning: str


@dataclass(frozen=True)
class Kernel:
    """A kernel function, the file in ``opencl/`` that defines it and its parameters.

    ``local_bytes`` gives the local memory that a work-group takes for a choice of parameters.
    """

    name: str
    source: str
    params: tuple[Param, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    local_bytes: Callable[[Mapping[str, Value]], int] = lambda values: 0

    def configure(self, **values: Value) -> tuple[tuple[str, Value], ...]:
        """Complete ``values`` with the defaults and check them.

        Raises:
            UsageError: a parameter is unknown, out of its choices, or a constraint does not hold.
        """
        known = {param.name: param for param in self.params}
        for name, value in values.items():
            if name not in known:
                raise UsageError(f"kernel {self.name}: no parameter {name}; it has {', '.join(known)}")
            if value not in known[name].choices:
                raise UsageError(f"kernel {self.name}: {name}={value} is none of {known[name].choices}")
        config = {name: values.get(name, param.default) for name, param in known.items()}
        for constraint in self.constraints:
            if not constraint.holds(config):
                raise UsageError(f"kernel {self.name}: {config} breaks the rule '{constraint.meaning}'")
        return tuple(config.items())

    def launch(
        self,
        args: tuple[Arg, ...],
        global_size: tuple[int, ...],
        local_size: tuple[int, ...] | None = None,
        **params: Value,
    ) -> Launch:
        """A launch of this kernel; ``global_size`` counts work-items per dimension."""
        return Launch(self, self.configure(**params), args, global_size, local_size)


@dataclass(frozen=True)
class Launch:
    """One launch: a configured kernel, its arguments in order and its index space."""

    kernel: Kernel
    params: tuple[tuple[str, Value], ...]
    args: tuple[Arg, ...]
    global_size: tuple[int, ...]
    local_size: tuple[int, ...] | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """Compiler options; two launches with the same kernel and options share a program."""
        return tuple(f"-D{name}={value}" for name, value in self.params)

    def __str__(self) -> str:
        params: Any = " ".join(f"{name}={value}" for name, value in self.params)
        return f"{self.kernel.name}[{params}] over {'×'.join(map(str, self.global_size))}"
