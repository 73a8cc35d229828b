"""The types that describe a kernel and one launch of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from clnn.errors import UsageError

Value = int | str
"""Value of a kernel parameter: a number, or a word of a closed list."""


@dataclass(frozen=True)
class Local:
    """Local memory of a work-group, as a kernel argument."""

    nbytes: int


@dataclass(frozen=True)
class Pipe:
    """A pipe of OpenCL 2.0 that holds ``packets``; kernels given the same ``name`` share it."""

    name: str
    packets: int
    packet_bytes: int


Arg = str | int | float | Local | Pipe | None
"""A kernel argument: a tensor's name (its buffer), an ``int`` (int32), a ``float`` (float32), local memory, a pipe or a
null pointer."""


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

    ``local_bytes`` gives the local memory that a work-group takes for a choice of parameters. ``cuts`` are the
    dimensions of the index space along which a launch may be cut in several, computed in any order or at once: no two
    work-groups write the same memory, and none asks how many there are.
    """

    name: str
    source: str
    params: tuple[Param, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    local_bytes: Callable[[Mapping[str, Value]], int] = lambda values: 0
    cuts: tuple[int, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        # Rules are functions, which another process cannot be sent; a launch that was configured no longer needs them.
        return Kernel, (self.name, self.source)

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
class Span:
    """A dimension of an index space whose work-groups take several units each, and can take fewer or more.

    The arguments at the positions ``first``, ``stop`` and ``step`` are the unit that the dimension begins with, the one
    that it ends before, and how many a work-group takes.
    """

    axis: int
    first: int
    stop: int
    step: int


@dataclass(frozen=True)
class Launch:
    """One launch: a configured kernel, its arguments in order and its index space, which begins at ``offset``.

    ``span`` is a dimension that can be cut finer than between the work-groups. ``common_bytes`` are, by dimension,
    those that all work-groups along it read: parts that are cut there read them each. Where nothing is said they count
    as 0.
    """

    kernel: Kernel
    params: tuple[tuple[str, Value], ...]
    args: tuple[Arg, ...]
    global_size: tuple[int, ...]
    local_size: tuple[int, ...] | None = None
    offset: tuple[int, ...] | None = None
    span: Span | None = None
    common_bytes: tuple[int, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """Compiler options; two launches with the same kernel and options share a program."""
        language = ("-cl-std=CL2.0",) if any(isinstance(arg, Pipe) for arg in self.args) else ()
        return *(f"-D{name}={value}" for name, value in self.params), *language

    def groups(self, axis: int) -> int:
        """Work-groups along a dimension of the index space, or the units of its span."""
        if self.span is not None and self.span.axis == axis:
            return self.args[self.span.stop] - self.args[self.span.first]
        return self.global_size[axis] // self._group(axis)

    def part(self, axis: int, start: int, stop: int, units: int = 1) -> Launch:
        """The launch of what ``groups`` counts from ``start`` to ``stop``, without it, along ``axis``.

        ``units`` is how many compute units it is for.
        """
        if self.span is not None and self.span.axis == axis:
            return self._part_of_span(self.span, start, stop, units)
        group = self._group(axis)
        size, offset = list(self.global_size), list(self.offset or (0,) * len(self.global_size))
        size[axis], offset[axis] = (stop - start) * group, offset[axis] + start * group
        return replace(self, global_size=tuple(size), offset=tuple(offset))

    def _part_of_span(self, span: Span, start: int, stop: int, units: int) -> Launch:
        """A part of a span, in as few work-groups as keep all compute units busy."""
        args, size = list(self.args), list(self.global_size)
        others = math.prod(size) // size[span.axis]
        size[span.axis] = min(stop - start, -(-units // others))
        first = args[span.first]
        args[span.first], args[span.stop] = first + start, first + stop
        args[span.step] = -(-(stop - start) // size[span.axis])
        return replace(self, args=tuple(args), global_size=tuple(size))

    def _group(self, axis: int) -> int:
        return self.local_size[axis] if self.local_size else 1

    def __str__(self) -> str:
        params: Any = " ".join(f"{name}={value}" for name, value in self.params)
        return f"{self.kernel.name}[{params}] over {'×'.join(map(str, self.global_size))}"
