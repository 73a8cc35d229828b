"""A plan for an FPGA board as a folder: kernels, weights, and the host plan in JSON, which this writes and reads.

    DIR/plan.json           buffers, steps with their arguments, the stages' parameters, the estimate
    DIR/weights.npz         the constants of the steps, as they lie in memory
    DIR/kernels/NAME.cl     sources without includes

Each stage of a chain is launched once, in the order of the data. A board runs them at once, over channels. Where
kernels follow one another, each FIFO has to hold all that passes through: ``to_plan`` makes such a plan, by which the
folder can be run without the board.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from clnn.devices.units import TRANSPORTS
from clnn.graph import Graph, TensorType
from clnn.kernels import Arg, Kernel, Launch, Local, Pipe
from clnn.plan.memory import align
from clnn.plan.types import Arena, Copy, LoweredGraph, Placement, Plan, Run
from clnn.schedule import HOST, Schedule
from clnn.schema import Strict

FORMAT = "clnn-fpga-1"
PLAN, WEIGHTS, KERNELS = "plan.json", "weights.npz", "kernels"
Size = Annotated[int, Field(ge=0)]


class Argument(Strict):
    """One argument of a kernel: exactly one of these, or none for a null pointer."""

    buffer: str | None = None
    fifo: str | None = None
    number: int | float | None = None
    local_bytes: Size | None = None


class Tensor(Strict):
    """An input or output of the network, C-contiguous as the host has it."""

    name: str
    tensor: str
    shape: list[Size]
    dtype: str


class LaunchStep(Strict):
    """A launch of ``kernel`` from ``source``, built with ``params`` as ``-D`` options."""

    node: str
    kernel: Annotated[str, Field(pattern=r"^[a-z_0-9]+$")]
    source: Annotated[str, Field(pattern=r"^[a-z_0-9]+\.cl$")]
    params: dict[str, int | str]
    args: list[Argument]
    global_size: list[Size]
    local_size: list[Size] | None = None


class CopyStep(Strict):
    """A copy of a tensor: "write" to the board, "read" from it."""

    copy_: Annotated[Literal["write", "read"], Field(alias="copy")]
    tensor: str


class Exported(Strict):
    """plan.json.

    ``memory`` places tensors in one buffer by offset and bytes; ``scratch`` are line buffers, which a board has on
    chip, and ``fifos`` the packets that go through each.
    """

    format: Literal["clnn-fpga-1"]
    model: str
    board: str
    width: Literal[4, 8, 16]
    lanes: Size
    options: list[str]
    inputs: list[Tensor]
    outputs: list[Tensor]
    memory_bytes: Size
    memory: dict[str, Annotated[list[Size], Field(min_length=2, max_length=2)]]
    scratch: dict[str, Size]
    fifos: dict[str, Size]
    steps: list[LaunchStep | CopyStep]
    estimate: dict[str, Any]


@dataclass(frozen=True)
class Folder:
    """What a folder holds: the plan, the constants by name, the sources by name."""

    plan: Exported
    weights: Mapping[str, np.ndarray]
    sources: Mapping[str, str]


def argument(arg: Arg) -> Argument:
    """An argument of a launch as it is written."""
    match arg:
        case str():
            return Argument(buffer=arg)
        case Pipe():
            return Argument(fifo=arg.name)
        case Local(nbytes):
            return Argument(local_bytes=nbytes)
        case int() | float():
            return Argument(number=arg)
    return Argument()


def to_plan(folder: Folder, device: str, transport: str, alignment: int) -> Plan:
    """A plan that runs the folder on a device whose kernels follow one another, over one of ``TRANSPORTS``."""
    assert transport in TRANSPORTS
    exported = folder.plan
    packet_bytes = 4 * exported.width
    own = dict(exported.scratch)
    if transport == "buffer":
        own |= {name: packets * packet_bytes for name, packets in exported.fifos.items()}
    offsets = {name: Placement(*place) for name, place in exported.memory.items()}
    end = align(exported.memory_bytes, alignment)
    for name, nbytes in own.items():
        offsets[name] = Placement(end, nbytes)
        end += align(nbytes, alignment)
    steps = tuple(_step(step, exported, device, transport) for step in exported.steps)
    types = {each.tensor: TensorType(tuple(each.shape), each.dtype) for each in (*exported.inputs, *exported.outputs)}
    inputs, names = (tuple(each.tensor for each in exported.inputs), tuple(each.name for each in exported.outputs))
    graph = Graph((), inputs, names, types)
    outputs = {each.name: each.tensor for each in exported.outputs}
    lowered = LoweredGraph(graph, Schedule({}, "exported"), outputs, {})
    arenas = {device: Arena((device,), end, end, offsets)}
    return Plan(lowered, steps, {device: device}, arenas, {device: folder.weights}, {})


def _step(step: LaunchStep | CopyStep, exported: Exported, device: str, transport: str) -> Run | Copy:
    if isinstance(step, CopyStep):
        ends = (HOST, device) if step.copy_ == "write" else (device, HOST)
        return Copy(step.tensor, *ends, device)
    args = tuple(arg for each in step.args for arg in _args(each, exported, transport))
    params = dict(step.params)
    if any(each.fifo is not None for each in step.args):
        params |= {"TRANSPORT": transport.upper(), "CHANNEL_SHIM": int(transport == "channel")}
    local = tuple(step.local_size) if step.local_size else None
    launch = Launch(Kernel(step.kernel, step.source), tuple(params.items()), args, tuple(step.global_size), local)
    return Run(step.node, device, launch)


def _args(written: Argument, exported: Exported, transport: str) -> tuple[Arg, ...]:
    if written.fifo is not None:
        packets = max(1, exported.fifos.get(written.fifo, 1))
        if transport != "buffer":
            return (Pipe(written.fifo, packets, 4 * exported.width),)
        return (written.fifo if written.fifo in exported.fifos else None), packets, 0
    if written.local_bytes is not None:
        return (Local(written.local_bytes),)
    return (written.buffer if written.buffer is not None else written.number,)


