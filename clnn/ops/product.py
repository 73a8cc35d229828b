"""Lowering of matrix products, which Conv, Gemm and MatMul share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from clnn.devices.model import Work
from clnn.errors import UnsupportedError
from clnn.graph import Node, TensorType
from clnn.kernels.activation import NO_ACTIVATION
from clnn.kernels.epilogue import Epilogue
from clnn.kernels.gemm import (
    Operands,
    Product,
    Tile,
    choose_tile,
    launch_pack,
    launch_product,
    pack_panels,
    panel_elements,
)
from clnn.kernels.window import Pixels
from clnn.ops.base import LowerContext, Lowered
from clnn.ops.indexing import MAX_ELEMENTS, too_large
from clnn.ops.settings import invalid


@dataclass(frozen=True)
class Weights:
    """The right operand before it is packed: a view of tensor ``name``, of shape (slices, taps, depth, columns).

    Constant ones are the array ``value``; others are described by their ``strides`` in elements. Both are to be
    multiplied by ``scale``.
    """

    name: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] = ()
    scale: float = 1.0
    value: np.ndarray | None = None

    @property
    def scaled(self) -> np.ndarray:
        """The value of constant ones, multiplied."""
        return self.value if self.scale == 1.0 else self.value * np.float32(self.scale)

    @classmethod
    def view(cls, ctx: LowerContext, index: int, shape: tuple, strides: tuple, scale: float = 1.0) -> Weights:
        """The view with these ``strides`` of input ``index``, be it constant or not."""
        value = ctx.constant(index)
        if value is not None:
            steps = tuple(stride * value.itemsize for stride in strides)
            value = np.lib.stride_tricks.as_strided(np.ascontiguousarray(value), shape, steps)
        return cls(ctx.node.input(index), shape, strides, scale, value)


def pixels(ctx: LowerContext, name: str) -> Pixels:
    """A tensor of the node as kernels see it; its ``pixel_pitch`` must not be ``None``."""
    tensor = ctx.types[name]
    return Pixels(name, tensor.pixel_pitch, tensor.offset)


def takes_pixels(ctx: LowerContext, index: int) -> bool:
    """Whether kernels can read input ``index`` of a product where it lies: x, or the tensor added to the result."""
    return index in (0, 3) and ctx.type(index).pixel_pitch is not None


def read_epilogue(ctx: LowerContext, channels: int, bias: str) -> tuple[Epilogue, dict[str, np.ndarray]]:
    """The epilogue that passes have fused into a node, and the constants that it needs.

    A fused node has attribute ``activation``, the slope of PRelu (one value, or one per channel) as constant
    input 4, and attribute ``residual`` ("before" or "after" the activation) with the tensor added, of the
    output's shape, as input 3. ``bias`` names a tensor of ``channels`` elements, or is "".
    """
    node, constants = ctx.node, {}
    activation = node.attrs.get("activation", NO_ACTIVATION)
    epilogue = Epilogue(activation, bias or None)
    if activation.kind == "PRELU":
        slope = ctx.constant(4)
        if slope is None or slope.size not in (1, channels):
            invalid(node, f"the slope of its PRelu is not a constant of 1 or {channels} values")
        name = ctx.shared_name("slope")
        constants[name] = np.broadcast_to(slope.astype(np.float32).reshape(-1), (channels,)).copy()
        epilogue = replace(epilogue, slope=name)
    if "residual" in node.attrs:
        place = node.attrs["residual"].upper()
        epilogue = replace(epilogue, residual=pixels(ctx, node.input(3)), place=place)
    return epilogue, constants


def product_obstacle(ctx: LowerContext) -> str | None:
    """Why a product with these operands cannot run in the kernels; ``None`` when it can."""
    names = [name for name in (*ctx.node.inputs, *ctx.node.outputs) if name]
    tensors = [ctx.types[name] for name in names]
    for tensor in tensors:
        if tensor.dtype != "float32":
            return f"dtype {tensor.dtype} has no kernel"
    if ctx.output().size and not all(tensor.size for tensor in tensors):
        return "an operand is empty"
    if ctx.node.attrs.get("residual") and ctx.type(3).shape != ctx.output().shape:
        return "the tensor added has to be broadcast"
    return too_large(tensors)


WEIGHT_WORK = 15.0
"""Operations at the peak in the time that it takes to read one weight that no cache near a core holds."""
STORE_WORK = 10.0
_EXP_WORK = 25.0
"""The same for storing an element of the result, and for an activation with an exponential, which comes on top.

Fitted to the steps of twelve networks with PoCL 3.1 and Intel's runtime on one Zen 5 core: 3 to 12, and 20 to 25.
"""
_EXPONENTIAL = {"SIGMOID", "SILU", "TANH"}


def product_work(product: Product, tile: Tile) -> float:
    """Operations that a device could have done, at its peak, in the time that ``product`` takes with this tile."""
    rows = -(-product.window.rows // tile.m) * tile.m
    columns = -(-product.channels_out // tile.lanes) * tile.lanes
    arithmetic = 2 * rows * columns * product.depth * product.slices / tile.efficiency
    return arithmetic + WEIGHT_WORK * columns * product.depth * product.slices


def epilogue_work(node: Node, elements: int, store_work: float = STORE_WORK) -> float:
    """The same for what is done to ``elements`` finished sums of a node; to store one takes ``store_work``."""
    dear = node.attrs.get("activation", NO_ACTIVATION).kind in _EXPONENTIAL
    return elements * (store_work + (_EXP_WORK if dear else 0.0))


def moved_bytes(node: Node, types: Mapping[str, TensorType]) -> int:
    """Bytes of the node's inputs and outputs."""
    return sum(types[name].nbytes for name in (*node.inputs, *node.outputs) if name)


def lower_product(
    ctx: LowerContext,
    product: Product,
    x: Pixels,
    weights: Weights,
    y: Pixels,
    epilogue: Epilogue,
    slices: np.ndarray,
    algorithm: str,
    tile: Tile | None = None,
) -> Lowered:
    """Pack the weights, at load time where they are constant, and launch the product of ``x`` and them to ``y``.

    ``slices`` is int64 of shape (slices, 4): where each slice begins, counted from the beginning of x, which of the
    matrices in ``weights`` it takes, and its first row and channel of y. ``tile`` is the one to take, by default that
    with the least work.

    Raises:
        UnsupportedError: filled up to whole panels, the weights are more than the kernels can count.
    """
    tile = tile or choose_tile(product, ctx.device)
    elements = weights.shape[0] * panel_elements(product, tile.lanes)
    if elements > MAX_ELEMENTS:
        raise UnsupportedError(
            f"{ctx.node}: its weights take {elements} elements in the order of the kernel, which counts to "
            f"{MAX_ELEMENTS}; split the node, or run this model elsewhere"
        )
    names = {part: ctx.shared_name(part) for part in ("weights", "zeros")}
    names["slices"] = ctx.local_name("slices")
    table = slices * [1, panel_elements(product, tile.lanes), 1, 1] + [x.offset, 0, 0, 0]
    constants, scratch, launches = {names["slices"]: table.astype(np.int32)}, {}, []
    if weights.value is not None:
        constants[names["weights"]] = ctx.pack(names["weights"], lambda: pack_panels(weights.scaled, tile.lanes))
    else:
        scratch[names["weights"]] = 4 * elements
        launches.append(
            launch_pack(weights.name, names["weights"], weights.shape, weights.strides, tile.lanes, weights.scale)
        )
    operands = Operands(x, names["weights"], names["slices"], y)
    if product.window.is_padded:
        constants[names["zeros"]] = np.zeros(product.channels_in, np.float32)
        operands = replace(operands, zeros=names["zeros"])
    launches.append(launch_product(product, operands, epilogue, tile, ctx.device))
    elements = product.window.rows * product.channels_out * product.slices
    operations = product_work(product, tile) + epilogue_work(ctx.node, elements)
    work = Work(launches[-1].kernel.name, operations, moved_bytes(ctx.node, ctx.types))
    return Lowered(tuple(launches), constants, scratch, choice=f"{algorithm}, tile {tile}", work=work)
