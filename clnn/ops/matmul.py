"""MatMul with NumPy's semantics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.devices.model import Work
from clnn.graph import Dim, Node, TensorType
from clnn.kernels.gemm import Product, product_kernel
from clnn.kernels.window import Pixels, Window
from clnn.ops.base import Cost, InferContext, LowerContext, Lowered, Operator, operator
from clnn.ops.elementwise import broadcast
from clnn.ops.product import Weights, lower_product, product_obstacle, read_epilogue
from clnn.ops.settings import invalid, known


@dataclass(frozen=True)
class Problem:
    """The product batch_a × (rows × depth) by batch_b × (depth × columns); ``batch`` is what the two broadcast to."""

    batch: tuple[Dim, ...] | None
    batch_a: tuple[Dim, ...]
    batch_b: tuple[Dim, ...]
    rows: Dim
    depth: Dim
    columns: Dim


def _read(node: Node, a: tuple[Dim, ...], b: tuple[Dim, ...]) -> Problem:
    """A vector counts as a matrix of one row on the left, of one column on the right."""
    if not a or not b:
        invalid(node, "it multiplies a scalar")
    *batch_a, rows, depth = (1, *a) if len(a) == 1 else a
    *batch_b, depth_b, columns = (*b, 1) if len(b) == 1 else b
    if known((depth, depth_b)) and depth != depth_b:
        invalid(node, f"A of {a} and B of {b} share no dimension")
    batch = broadcast(node, [tuple(batch_a), tuple(batch_b)])
    return Problem(batch, tuple(batch_a), tuple(batch_b), rows, depth, columns)


@operator("MatMul")
class MatMul(Operator):
    """Product of two matrices, or of stacks of them, broadcast against each other.

    Inputs: A, B; after fusion a bias (one value per column), see also ``read_epilogue``.
    """

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        a, b = ctx.type(0), ctx.type(1)
        if a.shape is None or b.shape is None:
            return (TensorType(None, a.dtype),)
        problem = _read(ctx.node, a.shape, b.shape)
        rows = (problem.rows,) if a.rank > 1 else ()
        columns = (problem.columns,) if b.rank > 1 else ()
        return (TensorType((*problem.batch, *rows, *columns), a.dtype),)

    def cost(self, node: Node, types: Mapping[str, TensorType]) -> Cost:
        depth = types[node.input(0)].shape[-1]
        return Cost(2 * depth * types[node.outputs[0]].size, super().cost(node, types).bytes)

    def work(self, node: Node, types: Mapping[str, TensorType], device: DeviceInfo) -> Work:
        return replace(super().work(node, types, device), kind=product_kernel(device).name)

    def obstacle(self, ctx: LowerContext) -> str | None:
        return product_obstacle(ctx)

    def lower(self, ctx: LowerContext) -> Lowered:
        if not ctx.output().size:
            return Lowered()
        problem = _read(ctx.node, ctx.type(0).shape, ctx.type(1).shape)
        rows, depth, columns = problem.rows, problem.depth, problem.columns
        matrices = math.prod(problem.batch_b)
        if matrices == 1:
            # one B for all: the stack of A is one tall matrix
            rows, slices = rows * math.prod(problem.batch), np.zeros((1, 4), np.int64)
        else:
            slices = _slices(problem)
        epilogue, constants = read_epilogue(ctx, columns, ctx.node.input(2))
        weights = Weights.view(ctx, 1, (matrices, 1, depth, columns), (depth * columns, 0, columns, 1))
        product = Product(Window.flat(rows), depth, columns, len(slices))
        x, y = Pixels(ctx.node.input(0), depth), Pixels(ctx.node.outputs[0], columns)
        lowered = lower_product(ctx, product, x, weights, y, epilogue, slices, "GEMM")
        return replace(lowered, constants={**lowered.constants, **constants})


def _slices(problem: Problem) -> np.ndarray:
    """The table of ``lower_product`` for a batch: which A and which B make each matrix of the output."""

    def index(batch: tuple[int, ...]) -> np.ndarray:
        own = np.arange(math.prod(batch)).reshape(batch)
        return np.broadcast_to(own, problem.batch).reshape(-1)

    count = np.arange(math.prod(problem.batch))
    return np.stack(
        [
            index(problem.batch_a) * problem.rows * problem.depth,
            index(problem.batch_b),
            count * problem.rows,
            0 * count,
        ],
        axis=1,
    )
