"""Operators that look at shapes alone: their results are known as soon as the shape is."""

from __future__ import annotations

import math

import numpy as np

from clnn.graph import TensorType
from clnn.ops.base import InferContext, Operator, operator
from clnn.ops.settings import integer, known


@operator("Shape")
class Shape(Operator):
    """The dimensions from ``start`` to ``end``, with Python's rules for negative and too large values."""

    shape_only = True

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        return (TensorType((len(self._dims(ctx)),), "int64"),)

    def fold(self, ctx: InferContext) -> tuple[np.ndarray, ...] | None:
        dims = self._dims(ctx)
        return (np.array(dims, np.int64),) if known(dims) else None

    @staticmethod
    def _dims(ctx: InferContext) -> tuple[int | str, ...]:
        node, shape = ctx.node, ctx.type(0).shape
        start = integer(node, "start", node.attrs.get("start", 0))
        end = integer(node, "end", node.attrs.get("end", len(shape)))
        return shape[start:end]


@operator("Size")
class Size(Operator):
    """The number of elements."""

    shape_only = True

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        return (TensorType((), "int64"),)

    def fold(self, ctx: InferContext) -> tuple[np.ndarray, ...] | None:
        shape = ctx.type(0).shape
        return (np.array(math.prod(shape), np.int64),) if known(shape) else None
