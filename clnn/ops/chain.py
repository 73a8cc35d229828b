"""Elementwise nodes, each of which alone reads the one before, as one node; lowering puts it together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from clnn.devices.model import Work
from clnn.graph import Node, TensorType
from clnn.kernels.chain import CHAIN, FLOAT_OPERATIONS, NUMBERS, OPERANDS, PREVIOUS, STAGES
from clnn.kernels.types import cl_type
from clnn.ops.base import Cost, InferContext, Layouts, LowerContext, Lowered, Operator, find, operator
from clnn.ops.elementwise import RANK, Elementwise, Operand, Operation, dealing, following, output, weight
from clnn.ops.rows import Band, Rows, row_by_row

OP = "clnn.Chain"

_EXACT = ("float32", "bool", "uint8", "int8", "uint16", "int16")
"""Dtypes of which a float holds every value."""


@dataclass
class _Chain:
    """The stages read so far: each operation with its arguments, and the operands and numbers that these name."""

    stages: list[tuple[Operation, tuple[str, ...]]] = field(default_factory=list)
    operands: list[Operand] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        """Whether the kernel has room for it."""
        counts = (len(self.stages), len(self.operands), len(self.numbers))
        return all(count <= most for count, most in zip(counts, (STAGES, OPERANDS, NUMBERS), strict=True))

    def add(self, ctx: LowerContext, previous: str) -> None:
        """Append the elementwise node of ``ctx``, which reads the tensor ``previous`` from the stage before."""
        op = find(ctx.node.op)
        constants = {**ctx.constants, **op.constants(ctx)}
        arguments = []
        for operand in op.operands(ctx):
            value = constants.get(operand.name)
            if operand.name == previous:
                arguments.append(PREVIOUS)
            elif value is not None and value.size == 1:
                arguments.append(f"k{len(self.numbers)}")
                self.numbers.append(float(value.item()))
            else:
                if operand not in self.operands:
                    self.operands.append(operand)
                arguments.append(f"v{self.operands.index(operand)}")
        self.stages.append((op.operation(ctx), tuple(arguments)))


def chain(ctx: LowerContext, nodes: Sequence[Node]) -> Node | None:
    """One node that computes ``nodes``, each of which reads the output of the one before it; ``None`` if it cannot be.

    Its inputs are those of all nodes in a row, without the results of one another. Its attribute holds the nodes.
    """
    own = {node.outputs[0] for node in nodes[:-1]}
    inputs = tuple(name for node in nodes for name in node.inputs if name not in own)
    last = nodes[-1]
    joined = Node(last.name, OP, inputs, last.outputs, {"stages": tuple(nodes)}, last.version)
    ctx = replace(ctx, node=joined)
    if not all(_can_be_stage(each, last) for each, _ in _stages(ctx)):
        return None
    read = _read(ctx)
    # At least one operand: a chain of constants would have been folded.
    return joined if read.fits and read.operands else None


def _can_be_stage(ctx: LowerContext, last: Node) -> bool:
    """Whether floats can stand for all that the node computes with, and its result has the shape of the last one's."""
    op = find(ctx.node.op)
    if not isinstance(op, Elementwise) or not op.is_one_launch(ctx):
        return False
    operation, result = op.operation(ctx), ctx.output()
    # No other operation leaves an integer that needs no rounding; a truth value is 1 or 0 already.
    passes_on = result.dtype in ("float32", "bool") or operation.op == "QUANTIZE" or ctx.node.name == last.name
    return (
        passes_on
        and operation.compute == "float32"
        and operation.op in FLOAT_OPERATIONS
        and all(tensor.dtype in _EXACT for tensor in (result, *(operand.tensor for operand in op.operands(ctx))))
        and result.shape == ctx.types[last.outputs[0]].shape
        and result.rank <= RANK
    )


def stages(node: Node) -> Iterator[Node]:
    """The nodes that a chain computes in order, reading what the inputs of the chain have become."""
    inputs, previous = iter(node.inputs), ""
    for stage in node.attrs["stages"]:
        yield stage.replace(inputs=tuple(x if x and x == previous else next(inputs) for x in stage.inputs))
        previous = stage.outputs[0]


def _stages(ctx: LowerContext) -> Iterator[tuple[LowerContext, str]]:
    """The context of each stage, and the output of the one before."""
    previous = ""
    for stage in stages(ctx.node):
        yield replace(ctx, node=stage), previous
        previous = stage.outputs[0]


def _read(ctx: LowerContext) -> _Chain:
    found = _Chain()
    for each, previous in _stages(ctx):
        found.add(each, previous)
    return found


@operator(OP)
class Chain(Operator):
    """Inputs: those of its stages in a row, without what one stage computes for the next."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        return (ctx.types[ctx.node.outputs[0]],)

    def cost(self, node: Node, types: Mapping[str, TensorType]) -> Cost:
        """What lies between the stages is neither written nor read."""
        flops = sum(find(stage.op).cost(stage, types).flops for stage in node.attrs["stages"])
        return Cost(flops, super().cost(node, types).bytes)

    def layouts(self, ctx: LowerContext) -> Layouts:
        return following(ctx)

    def takes_region(self, ctx: LowerContext, index: int) -> bool:
        readers = [
            (each, i) for each, previous in _stages(ctx) for i, name in enumerate(each.node.inputs) if name != previous
        ]
        reader, position = readers[index]
        return find(reader.node.op).takes_region(reader, position)

    def gives_region(self, ctx: LowerContext, index: int) -> bool:
        return True

    def by_rows(self, ctx: LowerContext) -> Rows | None:
        return row_by_row(ctx.types, ctx.node)

    def band(self, ctx: LowerContext, band: Band) -> tuple[Node, dict[str, TensorType]]:
        """What one stage computes for the next has the shape of the result."""
        shape = ctx.types[band.outputs[0]].shape
        renamed = {stage.outputs[0]: stage.outputs[0] + band.suffix for stage in ctx.node.attrs["stages"]}
        own = tuple(
            stage.replace(
                inputs=tuple(renamed.get(name, name) for name in stage.inputs),
                outputs=(renamed[stage.outputs[0]],),
            )
            for stage in ctx.node.attrs["stages"]
        )
        types = {renamed[name]: replace(ctx.types[name], shape=shape) for name in renamed}
        return band.node(ctx.node, stages=own), types

    def lower(self, ctx: LowerContext) -> Lowered:
        read, result = _read(ctx), output(ctx)
        names = ", ".join(stage.op.removeprefix("clnn.") for stage in ctx.node.attrs["stages"])
        work = sum(weight(operation.op) for operation, _ in read.stages)
        how = dealing(ctx.device, work, [operand.tensor for operand in read.operands], result.tensor)
        if how is None:
            return Lowered(choice=names)
        padded = [*read.operands, *read.operands[:1] * (OPERANDS - len(read.operands))]
        constants = [(operation.alpha, operation.beta) for operation, _ in read.stages]
        constants += [(0.0, 0.0)] * (STAGES - len(constants))
        args = (
            *(operand.name for operand in padded),
            result.name,
            *how.arguments(OPERANDS),
            *read.numbers,
            *(0.0,) * (NUMBERS - len(read.numbers)),
            *(float(alpha) for alpha, _ in constants),
            *(float(beta) for _, beta in constants),
        )
        types = {f"IN{index}": cl_type(operand.tensor.dtype) for index, operand in enumerate(padded)}
        types["OUT"] = cl_type(result.tensor.dtype)
        launch = CHAIN.launch(args, how.global_size, how.local_size, **_params(read), **types, **how.params)
        dear = sum(weight(operation.op) - 1 for operation, _ in read.stages)
        moved = sum(operand.tensor.nbytes for operand in (*read.operands, result))
        return Lowered((launch,), choice=names, work=Work(launch.kernel.name, dear * result.tensor.size, moved))


def _params(read: _Chain) -> dict[str, str]:
    """The kernel parameters that say which operations are to be done, and on what."""
    params = {}
    for index, (operation, arguments) in enumerate(read.stages):
        params[f"STAGE{index}"] = operation.op
        params |= {f"{letter}{index}": argument for letter, argument in zip("XYZ", arguments, strict=False)}
    return params
