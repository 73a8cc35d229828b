"""The mechanism under all elementwise operators: broadcasting, layouts and the launch of one operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.devices.model import Work
from clnn.graph import CHANNELS_LAST, PLAIN, Dim, Node, TensorType
from clnn.kernels import Launch
from clnn.kernels.elementwise import ELEMENTWISE
from clnn.kernels.types import CL_TYPES, cl_type, vector_width
from clnn.ops.base import InferContext, Layouts, LowerContext, Lowered, Operator
from clnn.ops.indexing import Walk, broadcast_strides, too_large, walk
from clnn.ops.rows import Rows, row_by_row
from clnn.ops.settings import UNKNOWN, invalid

RANK = 5
"""Dimensions that the kernel has after merging."""

_ITEM_ELEMENTS = 1 << 14
"""Elements that a CPU's work-item computes where each costs little: about 5 µs, against 1 µs for handing it out."""

_SLOW = {"POW": 16, "INT_POW": 16, "INT_DIV": 8, "INT_MOD": 8, "INT_FMOD": 8, "MISH": 8}
_CHEAP = {"COPY", "NEG", "ABS", "RELU", "LEAKY_RELU", "PRELU", "CLIP", "ADD", "SUB", "MUL", "DIV", "MIN", "MAX", "FMA"}
_CHEAP |= {"HARD_SIGMOID", "HARD_SWISH", "WHERE", "QUANTIZE", "DEQUANTIZE", "SQUARE"}


@dataclass(frozen=True)
class Operand:
    """A tensor that a kernel reads or writes: its name and type (of a shape that broadcasts as is)."""

    name: str
    tensor: TensorType


@dataclass(frozen=True)
class Operation:
    """A value of the kernel parameter OP, the dtype to compute in, and the two constants that it may need."""

    op: str
    compute: str = "float32"
    alpha: float = 0.0
    beta: float = 0.0


def apply(device: DeviceInfo, operation: Operation, operands: Sequence[Operand], result: Operand) -> tuple[Launch, ...]:
    """The launch that computes ``result = operation(*operands)``, with broadcasting; none for an empty result.

    ``result`` may be one of the operands.
    """
    target = result.tensor
    how = dealing(device, weight(operation.op), [operand.tensor for operand in operands], target)
    if how is None:
        return ()
    # An operand that the operation does not have is never used, but the kernel's signature has room for it.
    padded = [*operands, *operands[:1] * (3 - len(operands))]
    launch = ELEMENTWISE.launch(
        (
            *(operand.name for operand in padded),
            result.name,
            *how.arguments(3),
            *(float(operation.alpha), float(operation.beta)),
        ),
        how.global_size,
        how.local_size,
        OP=operation.op,
        **{f"IN{index}": cl_type(operand.tensor.dtype) for index, operand in enumerate(padded)},
        TYPE=cl_type(operation.compute),
        OUT=cl_type(target.dtype),
        **how.params,
    )
    return (launch,)


@dataclass(frozen=True)
class Dealing:
    """How the elements of a result are dealt out to work-items; the last strides and offset are those of the result."""

    nest: Walk
    offsets: tuple[int, ...]
    rows_per_item: int
    cols_per_item: int
    global_size: tuple[int, int]
    local_size: tuple[int, int] | None
    params: dict[str, int | str]

    def arguments(self, operands: int) -> tuple[int, ...]:
        """The arguments of a kernel with room for so many ``operands``, from the number of rows on."""
        missing, sizes = operands + 1 - len(self.offsets), self.nest.sizes
        *sources, written = self.nest.strides
        return (
            *(self.nest.size // sizes[-1], sizes[-1], self.rows_per_item, self.cols_per_item),
            *sizes[1:-1],
            *(stride for strides in sources for stride in strides),
            *(0,) * (RANK * missing),
            *written,
            *self.offsets[:-1],
            *(0,) * missing,
            self.offsets[-1],
        )


def dealing(
    device: DeviceInfo, weight: float, tensors: Sequence[TensorType], target: TensorType
) -> Dealing | None:
    """Deal out the elements of ``target``, to which ``tensors`` broadcast; ``None`` where there are none.

    ``weight`` tells how much dearer an element is than a sum.
    """
    nest = _nest(tensors, target).pad(RANK)
    if nest.size == 0:
        return None
    width = vector_width(device.kind)
    *sources, written = nest.strides
    by_rows = nest.sizes[-1] >= width and written[-1] == 1 and all(strides[-1] in (0, 1) for strides in sources)
    if by_rows:
        rows_per_item, cols_per_item, global_size = _row_items(device, weight, nest, width)
    else:
        rows_per_item, cols_per_item = 1, _item_elements(device, weight, nest.size, width)
        global_size = (-(-nest.size // cols_per_item), 1)
    offsets = tuple(tensor.offset for tensor in (*tensors, target))
    local_size = (1, 1) if device.kind == "cpu" else None
    params = {"ACCESS": "ROWS" if by_rows else "GATHER", "WIDTH": width}
    return Dealing(nest, offsets, rows_per_item, cols_per_item, global_size, local_size, params)


def weight(op: str) -> int:
    """How much dearer an operation is than a sum."""
    return _SLOW.get(op, 1 if op in _CHEAP else 4)


def _nest(tensors: Sequence[TensorType], target: TensorType) -> Walk:
    """The nest over the target's memory, with the strides of each operand and of the target."""
    strides = (broadcast_strides(tensor, target.shape) for tensor in tensors)
    return walk(target.shape, target.order, *strides, target.strides)


def _item_elements(device: DeviceInfo, weight: float, total: int, width: int) -> int:
    """Elements per work-item, a multiple of ``width``: on a CPU enough to be worth it, yet several items per unit."""
    if device.kind != "cpu":
        return width
    most = int(_ITEM_ELEMENTS / weight)
    fair = total // (4 * device.compute_units)
    return max(width, min(most, max(most // 4, fair)) // width * width)


def _row_items(device: DeviceInfo, weight: float, nest: Walk, width: int) -> tuple[int, int, tuple[int, int]]:
    """Rows and columns per work-item, and the index space; the last item of a row takes what is left of it."""
    cols = nest.sizes[-1]
    rows = nest.size // cols
    elements = _item_elements(device, weight, nest.size, width)
    cols_per_item = min(elements, cols // width * width)
    rows_per_item = max(1, elements // cols)
    return rows_per_item, cols_per_item, (max(1, cols // cols_per_item), -(-rows // rows_per_item))


def broadcast(node: Node, shapes: Sequence[tuple[Dim, ...] | None]) -> tuple[Dim, ...] | None:
    """The shape to which all ``shapes`` broadcast by NumPy's rules; ``None`` if the rank of one is unknown.

    A symbol beside a number greater than 1 is taken to be that number or 1; of two different symbols nothing is known.

    Raises:
        ModelFormatError: they do not broadcast.
    """
    if any(shape is None for shape in shapes):
        return None
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(_broadcast_dim(node, shapes, set(dims) - {1}) for dims in zip(*padded, strict=True))


def _broadcast_dim(node: Node, shapes: Sequence[tuple[Dim, ...]], dims: set[Dim]) -> Dim:
    sizes = {dim for dim in dims if isinstance(dim, int)}
    if len(sizes) > 1:
        invalid(node, f"shapes {' and '.join(str(list(shape)) for shape in shapes)} do not broadcast")
    if sizes:
        return sizes.pop()
    return dims.pop() if len(dims) == 1 else UNKNOWN if dims else 1


class Elementwise(Operator):
    """Base of operators with one output whose elements depend on one element of each input.

    A subclass gives ``operation`` and, where they are not all inputs and the type of the first, ``operands`` and
    ``result_dtype``.
    """

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        shapes = [ctx.types[name].shape for name in ctx.node.inputs if name]
        if not shapes:
            invalid(ctx.node, "it has no inputs")
        return (TensorType(broadcast(ctx.node, shapes), self.result_dtype(ctx)),)

    def result_dtype(self, ctx: InferContext) -> str:
        return ctx.type(0).dtype

    def operation(self, ctx: LowerContext) -> Operation:
        """What to compute; only called where ``obstacle`` is ``None``."""
        raise NotImplementedError

    def operands(self, ctx: LowerContext) -> tuple[Operand, ...]:
        """What the operation reads, in its order."""
        return inputs(ctx)

    def constants(self, ctx: LowerContext) -> Mapping[str, np.ndarray]:
        """The values of operands that are not inputs, by name."""
        return {}

    def is_one_launch(self, ctx: LowerContext) -> bool:
        """Whether the node is the plain launch of ``operation`` and no more, so that it can be a stage of a chain."""
        return type(self).lower is Elementwise.lower

    def obstacle(self, ctx: LowerContext) -> str | None:
        tensors = [ctx.types[name] for name in (*ctx.node.inputs, *ctx.node.outputs) if name]
        return dtype_obstacle(ctx, *tensors) or too_large(tensors) or rank_obstacle(self.operands(ctx), ctx.output())

    def layouts(self, ctx: LowerContext) -> Layouts:
        return following(ctx)

    def takes_region(self, ctx: LowerContext, index: int) -> bool:
        return self._strided(ctx)

    def gives_region(self, ctx: LowerContext, index: int) -> bool:
        return self._strided(ctx)

    def _strided(self, ctx: LowerContext) -> bool:
        """Whether the launch is the plain one, with as many dimensions as any region may need."""
        return self.is_one_launch(ctx) and ctx.output().rank <= RANK

    def by_rows(self, ctx: LowerContext) -> Rows | None:
        return row_by_row(ctx.types, ctx.node) if self.is_one_launch(ctx) else None

    def lower(self, ctx: LowerContext) -> Lowered:
        operation, operands, result = self.operation(ctx), self.operands(ctx), output(ctx)
        launches = apply(ctx.device, operation, operands, result)
        # What a sum takes hides behind the memory traffic.
        dear = (weight(operation.op) - 1) * result.tensor.size
        moved = sum(operand.tensor.nbytes for operand in (*operands, result))
        work = Work(ELEMENTWISE.name, dear, moved)
        return Lowered(launches, constants=dict(self.constants(ctx)), work=work)


def inputs(ctx: LowerContext) -> tuple[Operand, ...]:
    """The node's inputs as operands."""
    return tuple(Operand(name, ctx.types[name]) for name in ctx.node.inputs if name)


def output(ctx: LowerContext, index: int = 0) -> Operand:
    """An output of the node as an operand."""
    return Operand(ctx.node.outputs[index], ctx.output(index))


def following(ctx: LowerContext) -> Layouts:
    """Layouts of an elementwise node: channels last if an input of the output's shape has it.

    Inputs of the same rank are asked for in that layout too, so that all are read from front to back; the strides of
    smaller ones do the rest.
    """
    shape = ctx.output().shape
    if len(shape) > RANK:
        return Layouts((PLAIN,) * len(ctx.node.inputs), (PLAIN,) * len(ctx.node.outputs))
    given = [ctx.types[name] if name else None for name in ctx.node.inputs]
    leads = any(t is not None and t.layout == CHANNELS_LAST and t.shape == shape for t in given)
    layout = CHANNELS_LAST if leads else PLAIN
    wanted = tuple(None if t is None or t.rank != len(shape) or t.same_memory(layout) else layout for t in given)
    return Layouts(wanted, (layout,) * len(ctx.node.outputs))


def dtype_obstacle(ctx: LowerContext, *tensors: TensorType) -> str | None:
    """Why kernels cannot compute with the tensors' dtypes on the device, or ``None``."""
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        if dtype not in CL_TYPES or dtype == "float16":
            return f"dtype {dtype} has no kernel"
        if dtype == "float64" and not ctx.device.fp64:
            return f"{ctx.device.id} has no float64"
    return None


def kind_obstacle(ctx: LowerContext, kinds: str) -> str | None:
    """Why the kernel does not take the dtype of input 0, if its NumPy kind is not among ``kinds``."""
    dtype = ctx.type(0).dtype
    if dtype in CL_TYPES and np.dtype(dtype).kind in kinds:
        return None
    return f"dtype {dtype} has no kernel"


def rank_obstacle(operands: Sequence[Operand], target: TensorType) -> str | None:
    """Why the nest over the target has more dimensions than the kernel, or ``None``."""
    if target.rank <= RANK:
        return None
    # In plain layout, which `following` then demands.
    if _nest([operand.tensor.with_layout(PLAIN) for operand in operands], target).rank > RANK:
        return f"it broadcasts over more than {RANK} dimensions"
    return None
