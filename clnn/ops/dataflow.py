"""Layers that run as one chain of stages on an FPGA-style device; lowering puts them together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from clnn.devices.model import Work
from clnn.devices.units import Units
from clnn.graph import CHANNELS_LAST, PLAIN, Node, TensorType
from clnn.kernels.activation import NO_ACTIVATION
from clnn.kernels.stage_cost import cycles, external_bytes
from clnn.kernels.stages import Chain, Misc, Scheduled, Stream, launches, prove, scratch
from clnn.kernels.window import Window
from clnn.ops.base import Cost, InferContext, Layouts, LowerContext, Lowered, Operator, find, operator
from clnn.ops.chain import stages as parts
from clnn.ops.convolution import read_convolution
from clnn.ops.indexing import MAX_ELEMENTS
from clnn.ops.pool import pool_window
from clnn.ops.settings import integer

OP = "clnn.Dataflow"

POOLS = {"MaxPool": "MAX", "AveragePool": "AVERAGE", "GlobalAveragePool": "AVERAGE", "GlobalMaxPool": "MAX"}
"""Operators that the unit for miscellaneous layers pools by, and how."""


def dataflow(ctx: LowerContext, nodes: Sequence[Node]) -> Node | str:
    """One node that computes ``nodes``, the second reading the output of the first; or why stages cannot.

    Its inputs are those of all nodes in a row, without the tensor between them. Its attribute holds the nodes.
    """
    own = {node.outputs[0] for node in nodes[:-1]}
    inputs = tuple(name for node in nodes for name in node.inputs if name not in own)
    joined = Node(nodes[-1].name, OP, inputs, nodes[-1].outputs[:1], {"stages": tuple(nodes)}, nodes[-1].version)
    obstacle = next(filter(None, (_obstacle(replace(ctx, node=node)) for node in nodes)), None)
    if obstacle is None and len(nodes) > 1:
        obstacle = _join_obstacle(replace(ctx, node=nodes[0]), nodes[1])
    if obstacle is not None:
        return obstacle
    proven = prove(read_chain(replace(ctx, node=joined))[0], ctx.device.units)
    return proven if isinstance(proven, str) else joined


def read_chain(ctx: LowerContext) -> tuple[Chain, Mapping[str, Callable[[], np.ndarray]]]:
    """The chain that a node stands for, and what makes the constants that it needs."""
    reader = _Reader(ctx)
    return reader.chain(), reader.constants


def _obstacle(ctx: LowerContext) -> str | None:
    """Why the stages cannot compute a node of whatever shapes."""
    node = ctx.node
    tensors = [ctx.types[name] for name in (*node.reads, *filter(None, node.outputs))]
    if node.op not in ("Conv", "Gemm", "Add", *POOLS):
        return "no stage computes this operator"
    if len([name for name in node.outputs if name]) > 1:
        return "stages give one tensor"
    if any(tensor.dtype != "float32" for tensor in tensors):
        return "stages compute in float32"
    if not all(0 < tensor.size <= MAX_ELEMENTS for tensor in tensors):
        return "a tensor is empty, or larger than stages can count"
    if node.op in ("Conv", "Gemm") and ctx.constant(1) is None:
        return "stages take constant weights"
    if node.op == "Gemm":
        bias = ctx.type(2) if node.input(2) else None
        if node.attrs.get("transA", 0) or (bias is not None and (ctx.constant(2) is None or not _is_vector(ctx))):
            return "stages take A as it is and C as a constant vector"
        return None
    if not 3 <= ctx.type(0).rank <= 4:
        return f"stages compute on pictures, not on {ctx.type(0).rank} dimensions"
    if node.op == "Add" and (ctx.type(0).shape != ctx.type(1).shape or node.input(0) == node.input(1)):
        return "stages add two tensors of one shape"
    if node.op == "Add" and not set(node.inputs).isdisjoint(ctx.constants):
        return "stages add tensors that are computed"
    if node.op == "Conv" and node.input(2) and ctx.constant(2) is None:
        return "stages take a constant bias"
    if "residual" in node.attrs and node.op == "Conv" and _is_depthwise(ctx):
        return "the unit for miscellaneous layers adds to what comes to it, not to the results of its window"
    return None


def _is_vector(ctx: LowerContext) -> bool:
    shape = ctx.type(2).shape
    return math.prod(shape) in (1, shape[-1] if shape else 1) and math.prod(shape) == (shape[-1] if shape else 1)


def _join_obstacle(ctx: LowerContext, pool: Node) -> str | None:
    """Why the unit for miscellaneous layers cannot pool what it is also needed for."""
    if pool.op not in POOLS:
        return "only pooling follows another layer within a chain"
    if ctx.node.op in POOLS or (ctx.node.op == "Conv" and _is_depthwise(ctx)):
        return "the unit for miscellaneous layers has one window"
    return None


def _is_depthwise(ctx: LowerContext) -> bool:
    conv = read_convolution(ctx.node, ctx.types)
    return conv.groups == conv.channels_in == conv.channels_out and conv.groups > 1


def _strides(tensor: TensorType) -> tuple[int, int, int, int]:
    """Of pictures: a tensor of three dimensions has pictures of one row, a matrix one picture of one row."""
    if tensor.rank == 2:
        return 0, tensor.strides[1], 0, tensor.strides[0]
    n, c, *h, w = tensor.strides
    return n, c, h[0] if h else 0, w


def _pictures(tensor: TensorType) -> tuple[int, int, int, int]:
    """Batch, channels, height and width of a tensor, taken as ``_strides`` takes it."""
    if tensor.rank == 2:
        return 1, tensor.shape[1], 1, tensor.shape[0]
    n, c, *h, w = tensor.shape
    return n, c, h[0] if h else 1, w


class _Reader:
    """Reads the nodes of a chain; ``constants`` are those that it needs."""

    def __init__(self, ctx: LowerContext) -> None:
        self.ctx = ctx
        self.units: Units = ctx.device.units
        self.nodes = tuple(parts(ctx.node))
        self.first = replace(ctx, node=self.nodes[0])
        self.constants: dict[str, Callable[[], np.ndarray]] = {}

    def chain(self) -> Chain:
        """The chain that the nodes are."""
        node = self.first.node
        if node.op == "Gemm" or (node.op == "Conv" and not _is_depthwise(self.first)):
            return self._product_chain()
        return self._plain_chain()

    def _product_chain(self) -> Chain:
        first, lanes = self.first, self.units.lanes
        x, result = first.type(0), first.output()
        if first.node.op == "Gemm":
            window, groups = Window.flat(x.shape[0]), 1
        else:
            conv = read_convolution(first.node, first.types)
            window, groups = conv.window, conv.groups
        channels_in, channels_out = _pictures(x)[1] // groups, _pictures(result)[1] // groups
        span = -(-channels_out // lanes)
        vectors = self._vectors(min(channels_out, lanes))
        source = self._stream(first.node.input(0), self._vectors(channels_in), (span, channels_in, 0, channels_in))
        mapping = span, channels_out, lanes, channels_out
        pads = (groups, channels_out, span * vectors * self.units.width)
        self._keep("weights", lambda: self._product_weights(groups, span, source.vectors))
        misc = self._epilogue(Misc(), pads)
        return Chain(
            first.node.outputs[0], source, self._stream(self.ctx.node.outputs[0], vectors, mapping), groups * span,
            self._pooled(misc), window, first.local_name("weights"), result.nbytes, self._residual(vectors, mapping),
        )  # fmt: skip

    def _plain_chain(self) -> Chain:
        """One without a product: the packets of the tensor go to the unit for miscellaneous layers as they come."""
        first, lanes = self.first, self.units.lanes
        channels = _pictures(first.type(0))[1]
        span, vectors = -(-channels // lanes), self._vectors(min(channels, lanes))
        mapping = span, channels, lanes, channels
        pads = (1, channels, span * vectors * self.units.width)
        misc = Misc()
        if first.node.op == "Conv":
            weights = first.local_name("weights")
            misc = Misc(read_convolution(first.node, first.types).window, "DEPTHWISE", weights)
            self._keep("weights", lambda: self._depthwise_weights(span, vectors))
            misc = self._epilogue(misc, pads)
        residual = self._residual(vectors, mapping)
        if first.node.op == "Add":
            residual = self._stream(first.node.input(1), vectors, mapping)
            misc = replace(misc, place="BEFORE")
        misc = self._pooled(misc)
        return Chain(
            first.node.outputs[0], self._stream(first.node.input(0), vectors, mapping),
            self._stream(self.ctx.node.outputs[0], vectors, mapping), span, misc, residual=residual,
        )  # fmt: skip

    def _vectors(self, channels: int) -> int:
        return -(-channels // self.units.width)

    def _stream(self, name: str, vectors: int, mapping: tuple[int, int, int, int]) -> Stream:
        tensor = self.ctx.types[name]
        batch, _, height, width = _pictures(tensor)
        return Stream(name, tensor.offset, _strides(tensor), batch, height, width, vectors, *mapping, tensor.nbytes)

    def _residual(self, vectors: int, mapping: tuple[int, int, int, int]) -> Stream | None:
        node = self.first.node
        return self._stream(node.input(3), vectors, mapping) if "residual" in node.attrs else None

    def _keep(self, suffix: str, value: Callable[[], np.ndarray]) -> None:
        """Note a constant of the first node, made when it is needed."""
        self.constants[self.first.local_name(suffix)] = value

    def _epilogue(self, misc: Misc, pads: tuple[int, int, int]) -> Misc:
        """With bias, activation and residual of the first node; ``pads``: groups, channels of each, filled up to."""
        node = self.first.node
        activation = node.attrs.get("activation", NO_ACTIVATION)
        misc = replace(misc, activation=activation, place=node.attrs.get("residual", "none").upper())
        scale = float(node.attrs.get("beta", 1.0)) if node.op == "Gemm" else 1.0
        if node.input(2):
            bias = self.first.constant(2)
            self._keep("bias", lambda: _per_channel(bias * np.float32(scale), pads))
            misc = replace(misc, bias=self.first.local_name("bias"))
        if activation.kind == "PRELU":
            slope = self.first.constant(4)
            self._keep("slope", lambda: _per_channel(slope, pads))
            misc = replace(misc, slope=self.first.local_name("slope"))
        return misc

    def _pooled(self, misc: Misc) -> Misc:
        """With the window of the node that pools, if there is one."""
        last = self.nodes[-1]
        if last.op not in POOLS:
            return misc
        tensor = self.ctx.types[last.input(0)]
        if last.op.startswith("Global"):
            _, _, height, width = _pictures(tensor)
            return replace(misc, window=Window(1, height, width, 1, 1, height, width), operation=POOLS[last.op])
        window, bottom, right = pool_window(replace(self.ctx, node=last))
        count_padding = bool(integer(last, "count_include_pad", last.attrs.get("count_include_pad", 0)))
        return replace(misc, window=window, operation=POOLS[last.op], pad_bottom=bottom, pad_right=right,
                       count_padding=count_padding)

    def _product_weights(self, groups: int, span: int, vectors: int) -> np.ndarray:
        """[group][tap][vector][WIDTH][LANES]."""
        node, value = self.first.node, self.first.constant(1)
        if node.op == "Gemm":
            value = value if node.attrs.get("transB", 0) else value.T
            value = value * np.float32(node.attrs.get("alpha", 1.0))
        width, lanes = self.units.width, self.units.lanes
        value = value.reshape(groups, value.shape[0] // groups, value.shape[1], -1)
        taps = value.shape[3]
        filled = np.zeros((groups, span * lanes, vectors * width, taps), np.float32)
        filled[:, : value.shape[1], : value.shape[2]] = value
        filled = filled.reshape(groups, span, lanes, vectors, width, taps)
        return np.ascontiguousarray(filled.transpose(0, 1, 5, 3, 4, 2))

    def _depthwise_weights(self, span: int, vectors: int) -> np.ndarray:
        """[group][tap][vector][WIDTH]."""
        value = self.first.constant(1)
        value = value.reshape(value.shape[0], -1)
        filled = np.zeros((span * vectors * self.units.width, value.shape[1]), np.float32)
        filled[: value.shape[0]] = value
        return np.ascontiguousarray(filled.reshape(span, vectors, self.units.width, -1).transpose(0, 3, 1, 2))


def _per_channel(value: np.ndarray, pads: tuple[int, int, int]) -> np.ndarray:
    """One value per channel, [group][vector][WIDTH]; ``pads``: groups, channels of each, filled up to."""
    groups, channels, filled = pads
    whole = np.zeros((groups, filled), np.float32)
    whole[:, :channels] = np.broadcast_to(value.reshape(-1), (groups * channels,)).reshape(groups, channels)
    return whole


@operator(OP)
class Dataflow(Operator):
    """Inputs: those of its nodes in a row, without what the first computes for the second."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        return (ctx.types[ctx.node.outputs[0]],)

    def cost(self, node: Node, types: Mapping[str, TensorType]) -> Cost:
        """What lies between the nodes is neither written nor read."""
        flops = sum(find(part.op).cost(part, types).flops for part in node.attrs["stages"])
        return Cost(flops, super().cost(node, types).bytes)

    def layouts(self, ctx: LowerContext) -> Layouts:
        """Tensors as they come: stages take any strides, and write the channels of a pixel side by side."""
        inputs = tuple(PLAIN if name in ctx.constants else None for name in ctx.node.inputs)
        return Layouts(inputs, (CHANNELS_LAST if ctx.output().rank > 2 else PLAIN,))

    def takes_region(self, ctx: LowerContext, index: int) -> bool:
        return True

    def gives_region(self, ctx: LowerContext, index: int) -> bool:
        return True

    def lower(self, ctx: LowerContext) -> Lowered:
        units = ctx.device.units
        chain, constants = read_chain(ctx)
        scheduled = prove(chain, units)
        assert isinstance(scheduled, Scheduled), scheduled  # it was proven, and does not depend on where tensors lie
        return Lowered(
            launches(scheduled, units),
            {name: make() for name, make in constants.items()},
            scratch(scheduled, units),
            choice=_described(scheduled),
            reason=_fifos(scheduled),
            work=_work(scheduled, units, self.cost(ctx.node, ctx.types).flops),
            concurrent=units.concurrent,
        )


def _described(scheduled: Scheduled) -> str:
    names = ["+".join(each.name for each in scheduled.stages[:-2] if each.name.startswith("read"))]
    names += [each.name for each in scheduled.stages if not each.name.startswith("read")]
    return "stages " + " → ".join(names)


def _fifos(scheduled: Scheduled) -> str:
    prefix = f"{scheduled.chain.name}/"
    depths = ", ".join(f"{name.removeprefix(prefix)} {depth}" for name, depth in scheduled.depths.items())
    return f"{len(scheduled.firings)} launches; FIFOs hold {depths} packets"


def _work(scheduled: Scheduled, units: Units, flops: int) -> Work:
    """What the stages do: bytes that cross the external memory, and operations at the rate of the GEMM unit."""
    operations = 2 * units.width * units.lanes * cycles(scheduled.chain, units) if units.concurrent else flops
    return Work("write", float(operations), float(external_bytes(scheduled.chain, units)))
