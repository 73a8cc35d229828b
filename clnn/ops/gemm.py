"""Gemm: alpha·A'·B' + beta·C."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.devices.model import Work
from clnn.graph import Node, TensorType
from clnn.kernels.gemm import Product, launch_pack, product_kernel
from clnn.kernels.window import Pixels, Window
from clnn.ops.base import Cost, InferContext, LowerContext, Lowered, Operator, operator
from clnn.ops.product import Weights, lower_product, product_obstacle, read_epilogue
from clnn.ops.settings import invalid, known


@dataclass(frozen=True)
class Problem:
    """Sizes of A' (rows × depth) and B' (depth × columns), and how the node states them."""

    rows: int
    depth: int
    columns: int
    trans_a: bool
    trans_b: bool
    alpha: float
    beta: float


def _read(node: Node, a: tuple, b: tuple) -> Problem:
    trans_a, trans_b = bool(node.attrs.get("transA", 0)), bool(node.attrs.get("transB", 0))
    rows, depth = reversed(a) if trans_a else a
    depth_b, columns = reversed(b) if trans_b else b
    if known((depth, depth_b)) and depth != depth_b:
        invalid(node, f"A of {a} and B of {b} share no dimension")
    alpha, beta = (float(node.attrs.get(name, 1.0)) for name in ("alpha", "beta"))
    return Problem(rows, depth, columns, trans_a, trans_b, alpha, beta)


def _is_vector(shape: tuple[int, ...], columns: int) -> bool:
    """Whether C has one value per column."""
    return bool(shape) and shape[-1] == columns and all(dim == 1 for dim in shape[:-1])


@operator("Gemm")
class Gemm(Operator):
    """Product of two matrices, each possibly transposed, plus C, broadcast to the result.

    Inputs: A, B, C; after fusion see ``read_epilogue``.
    """

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        a, b = ctx.type(0), ctx.type(1)
        if a.shape is None or b.shape is None:
            return (TensorType(None, a.dtype),)
        if a.rank != 2 or b.rank != 2:
            invalid(ctx.node, f"A {a} and B {b} are not matrices")
        problem = _read(ctx.node, a.shape, b.shape)
        shape = (problem.rows, problem.columns)
        c = ctx.type(2).shape if ctx.node.input(2) else ()
        if c is not None and known((*c, *shape)) and not _broadcasts(c, shape):
            invalid(ctx.node, f"C of {c} cannot be broadcast to {shape}")
        return (TensorType(shape, a.dtype),)

    def cost(self, node: Node, types) -> Cost:
        problem = _read(node, types[node.input(0)].shape, types[node.input(1)].shape)
        return Cost(2 * problem.rows * problem.depth * problem.columns, super().cost(node, types).bytes)

    def work(self, node: Node, types: Mapping[str, TensorType], device: DeviceInfo) -> Work:
        return replace(super().work(node, types, device), kind=product_kernel(device).name)

    def obstacle(self, ctx: LowerContext) -> str | None:
        problem = _read(ctx.node, ctx.type(0).shape, ctx.type(1).shape)
        if "residual" in ctx.node.attrs and ctx.node.input(2) and not _is_vector(ctx.type(2).shape, problem.columns):
            return "it adds a matrix C and another tensor"
        return product_obstacle(ctx)

    def lower(self, ctx: LowerContext) -> Lowered:
        if not ctx.output().size:
            return Lowered()
        problem = _read(ctx.node, ctx.type(0).shape, ctx.type(1).shape)
        x, before = self._left_operand(ctx, problem)
        epilogue, addend = self._addend(ctx, problem)
        b = (1, problem.depth) if problem.trans_b else (problem.columns, 1)
        weights = Weights.view(ctx, 1, (1, 1, problem.depth, problem.columns), (0, 0, *b), problem.alpha)
        product = Product(Window.flat(problem.rows), problem.depth, problem.columns)
        x, y = Pixels(x, problem.depth), Pixels(ctx.node.outputs[0], problem.columns)
        slices = np.zeros((1, 4), np.int64)
        lowered = lower_product(ctx, product, x, weights, y, epilogue, slices, "GEMM")
        return replace(
            lowered,
            launches=(*before.launches, *addend.launches, *lowered.launches),
            constants={**lowered.constants, **addend.constants},
            scratch={**lowered.scratch, **before.scratch, **addend.scratch},
        )

    def _left_operand(self, ctx: LowerContext, problem: Problem) -> tuple[str, Lowered]:
        """The tensor that holds A' row by row, and what makes it."""
        name = ctx.node.input(0)
        if not problem.trans_a:
            return name, Lowered()
        turned, rows, depth = ctx.local_name("a"), problem.rows, problem.depth
        launch = launch_pack(name, turned, (1, 1, rows, depth), (0, 0, 1, rows), lanes=depth)
        return turned, Lowered((launch,), scratch={turned: 4 * rows * depth})

    def _addend(self, ctx: LowerContext, problem: Problem):
        """The epilogue with beta·C in it, and what makes that: the bias, or a residual where it is a matrix."""
        name, rows, columns = ctx.node.input(2), problem.rows, problem.columns
        c = ctx.types[name].shape if name else ()
        if not name or (_is_vector(c, columns) and problem.beta == 1.0):
            epilogue, constants = read_epilogue(ctx, columns, name)
            return epilogue, Lowered(constants=constants)
        vector = all(dim == 1 for dim in c[:-1])
        shape = (columns,) if vector else (rows, columns)
        made, value = ctx.local_name("c"), ctx.constant(2)
        epilogue, constants = read_epilogue(ctx, columns, made if vector else "")
        if not vector:
            epilogue = replace(epilogue, residual=Pixels(made, columns), place="BEFORE")
        if value is not None:
            scaled = value.reshape(c[-len(shape) :]) * np.float32(problem.beta)
            return epilogue, Lowered(constants={**constants, made: np.broadcast_to(scaled, shape).copy()})
        if c == shape and problem.beta == 1.0:
            return replace(epilogue, residual=Pixels(name, columns)), Lowered(constants=constants)
        width = c[-1] if c else 1
        strides = (0, 0, 0 if vector else width, 0 if width == 1 else 1)
        launch = launch_pack(
            name, made, (1, 1, 1 if vector else rows, columns), strides, lanes=columns, scale=problem.beta
        )
        return epilogue, Lowered((launch,), constants, {made: 4 * int(np.prod(shape))})


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, target) == target
    except ValueError:
        return False
