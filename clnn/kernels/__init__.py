"""Kernels as data: their source, their parameters and how they are launched."""

from clnn.kernels.kernel import Arg, Constraint, Kernel, Launch, Local, Param, Pipe, Span

__all__ = ["Arg", "Constraint", "Kernel", "Launch", "Local", "Param", "Pipe", "Span"]
