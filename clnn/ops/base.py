"""What an operator is to the rest of clnn, and the registry of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.devices.model import Work
from clnn.errors import ModelFormatError, UnsupportedError
from clnn.graph import PLAIN, Node, TensorType
from clnn.kernels import Launch
from clnn.ops.rows import WHOLE, Band, Rows


@dataclass(frozen=True)
class Cost:
    """Work of one node: floating-point operations, and bytes read and written once each."""

    flops: int
    bytes: int


@dataclass(frozen=True)
class InferContext:
    """What shape inference may look at: the types and the constant values known so far."""

    node: Node
    types: Mapping[str, TensorType]
    constants: Mapping[str, np.ndarray]

    def type(self, index: int) -> TensorType:
        """Type of input ``index``.

        Raises:
            ModelFormatError: the input is required, and missing.
        """
        name = self.node.input(index)
        if name not in self.types:
            raise ModelFormatError(f"{self.node}: input {index} ('{name}') is missing; the model is not valid ONNX")
        return self.types[name]

    def constant(self, index: int) -> np.ndarray | None:
        """Value of input ``index`` if it is a constant, else ``None`` (also for an input left out)."""
        return self.constants.get(self.node.input(index))

    def setting(self, attr: str, index: int, default: object = None) -> object:
        """A setting that was an attribute in old opsets and is input ``index`` in new ones.

        Returns the attribute, or the constant input as an array, or ``default`` when neither is given.

        Raises:
            UnsupportedError: the input is given but not constant.
        """
        if attr in self.node.attrs:
            return self.node.attrs[attr]
        name = self.node.input(index)
        if not name:
            return default
        if name not in self.constants:
            raise UnsupportedError(
                f"{self.node}: '{attr}' (input '{name}') is computed at run time; clnn needs it constant here"
            )
        return self.constants[name]


@dataclass(frozen=True)
class LowerContext(InferContext):
    """What lowering may look at besides: the device, and the layouts, which are final in ``types``.

    ``exact`` rules out algorithms that round otherwise than a sum of products does. ``packed`` are constants that were
    made for other bands of the same node, by name.
    """

    device: DeviceInfo
    exact: bool = False
    packed: dict[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    @property
    def whole(self) -> LowerContext:
        """The context of the node of which this one computes a band of rows, or this one.

        By it algorithms and tiles are chosen, so that bands compute the same bits from the same packed weights.
        """
        node = self.node.attrs.get(WHOLE)
        return self if node is None else replace(self, node=node).whole

    def output(self, index: int = 0) -> TensorType:
        return self.types[self.node.outputs[index]]

    def local_name(self, suffix: str) -> str:
        """A name for a packed constant or scratch tensor of this node, unique in the graph."""
        return f"{self.node.outputs[0]}/{suffix}"

    def shared_name(self, suffix: str) -> str:
        """A name for a packed constant that all bands of a node read."""
        return self.whole.local_name(suffix)

    def pack(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The constant called ``name``, made once for all bands of a node."""
        if name not in self.packed:
            self.packed[name] = make()
        return self.packed[name]


@dataclass(frozen=True)
class Lowered:
    """A node turned into launches.

    ``constants`` are arrays to put on the device once (packed weights), ``scratch`` the bytes of tensors
    that live only during these launches, ``alias`` maps an output to the input whose memory it shares
    (then no launch writes it). ``choice`` says which algorithm was taken, ``reason`` why, where there were several.
    ``work`` is what the last launch has to do, where the algorithm knows better than ``Operator.cost``. Launches that
    are ``concurrent`` run at once, so that each tensor of theirs is in use from the first to the last.
    """

    launches: tuple[Launch, ...] = ()
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    scratch: Mapping[str, int] = field(default_factory=dict)
    alias: Mapping[str, str] = field(default_factory=dict)
    choice: str = ""
    reason: str = ""
    work: Work | None = None
    concurrent: bool = False


@dataclass(frozen=True)
class Layouts:
    """Layouts that a node wants its inputs in (``None``: any) and in which it then writes its outputs."""

    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]


class Operator:
    """Base of all operators; an instance has no state.

    A subclass without ``lower`` runs on the host.
    """

    shape_only = False
    """Computes on shapes alone (Shape, Size): folded as soon as the input's shape is known."""

    def infer(self, ctx: InferContext) -> tuple[TensorType, ...]:
        """Types of the outputs (shape in ONNX order, plain layout).

        Raises:
            ModelFormatError: the inputs do not fit the operator.
            UnsupportedError: the output's shape cannot be told before running.
        """
        raise NotImplementedError

    def fold(self, ctx: InferContext) -> tuple[np.ndarray, ...] | None:
        """Values of the outputs where the types alone tell them, else ``None``."""
        return None

    def cost(self, node: Node, types: Mapping[str, TensorType]) -> Cost:
        """Work of the node for static types. The default is one operation per output element."""
        outputs = [types[name] for name in node.outputs if name]
        moved = sum(types[name].nbytes for name in node.inputs if name) + sum(t.nbytes for t in outputs)
        return Cost(sum(t.size for t in outputs), moved)

    def work(self, node: Node, types: Mapping[str, TensorType], device: DeviceInfo) -> Work:
        """What a launch of the node would have to do on a device, told from static types, before it is lowered.

        The default is its cost, of the kind that stands for all others; an element that is only moved counts as one
        operation, for which kernels that move have rates as well.
        """
        cost = self.cost(node, types)
        elements = sum(types[name].size for name in node.outputs if name)
        return Work("", max(cost.flops, elements) if cost.bytes else 0, cost.bytes)

    def obstacle(self, ctx: LowerContext) -> str | None:
        """Why the node cannot run in OpenCL kernels on ``ctx.device``; ``None`` when it can."""
        return "no OpenCL kernel for this operator" if type(self).lower is Operator.lower else None

    def layouts(self, ctx: LowerContext) -> Layouts:
        """Layouts wanted; ``ctx.types`` holds those of the inputs as they come. The default is plain throughout."""
        return Layouts((PLAIN,) * len(ctx.node.inputs), (PLAIN,) * len(ctx.node.outputs))

    def takes_region(self, ctx: LowerContext, index: int) -> bool:
        """Whether the kernels can read input ``index`` from where its type says that it lies in a larger tensor."""
        return False

    def gives_region(self, ctx: LowerContext, index: int) -> bool:
        """Whether the kernels can write output ``index`` to where its type says that it lies in a larger tensor."""
        return False

    def by_rows(self, ctx: LowerContext) -> Rows | None:
        """How rows of the outputs depend on rows of the inputs; ``None`` where bands of them cannot be computed."""
        return None

    def band(self, ctx: LowerContext, band: Band) -> tuple[Node, dict[str, TensorType]]:
        """The node that computes a band of this one's rows, and the types of tensors inside that node.

        Only called where ``by_rows`` is not ``None``; ``ctx.types`` has those of the tensors that the band names.
        """
        return band.node(ctx.node), {}

    def lower(self, ctx: LowerContext) -> Lowered:
        """Launches that compute the node; called only where ``obstacle`` is ``None``."""
        raise NotImplementedError


_REGISTRY: dict[str, Operator] = {}

_Op = TypeVar("_Op", bound=type[Operator])


def operator(*names: str):
    """Class decorator: register the operator under ONNX operator types ("Conv", "com.microsoft.Gelu")."""

    def register(cls: _Op) -> _Op:
        for name in names:
            if name in _REGISTRY:
                raise ValueError(f"operator {name} is registered twice")
            _REGISTRY[name] = cls()
        return cls

    return register


def find(op: str) -> Operator | None:
    """The operator registered for ``op``, or ``None``: then the node runs on the host."""
    return _REGISTRY.get(op)
