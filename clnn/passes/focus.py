"""Convolutions of pictures that were cut into their even and odd pixels first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clnn.graph import Graph, Node
from clnn.ops import InferContext, find
from clnn.passes.rewriter import Rewriter

BLOCK = 2


@dataclass(frozen=True)
class Phase:
    """Every second row and column of ``source``, from ``row`` and ``column`` on."""

    source: str
    row: int
    column: int


def merge_space_to_depth(graph: Graph) -> Graph:
    """Let a convolution read the picture itself where its input joins the four phases of it as channels.

    That is the Focus layer of YOLOv5 and YOLOX: slices of every second row and column, put behind each other, then a
    convolution of size k. It equals one of size 2k and of twice the stride on the picture (Ultralytics replaced the
    one by the other in YOLOv5 v6.0), which does the same work and copies nothing.
    """
    rewriter = Rewriter(graph)
    for node in rewriter.walk("Conv"):
        _merge(rewriter, node)
    return rewriter.graph()


def _merge(rewriter: Rewriter, node: Node) -> None:
    join, weights = rewriter.writer(node.input(0)), rewriter.constant(node.input(1))
    if join is None or join.op != "Concat" or weights is None or rewriter.sole_reader(node.input(0)) is not node:
        return
    kind = rewriter.types[node.input(0)]
    phases = [_phase(rewriter, part) for part in join.inputs]
    if not _are_all(phases) or join.attrs["axis"] % kind.rank != 1 or not _is_plain(node):
        return
    source = phases[0].source
    if any(size % BLOCK for size in rewriter.types[source].shape[2:]):
        return
    attrs = {
        **node.attrs,
        "kernel_shape": tuple(BLOCK * size for size in weights.shape[2:]),
        "strides": tuple(BLOCK * stride for stride in node.attrs.get("strides", (1, 1))),
        "pads": tuple(BLOCK * pad for pad in node.attrs.get("pads", (0,) * 4)),
    }
    merged = rewriter.add_constant(f"{node.name}/weights", _interleave(weights, phases))
    rewriter.replace((node,), node.replace(inputs=(source, merged, *node.inputs[2:]), attrs=attrs))


def _are_all(phases: list[Phase | None]) -> bool:
    """Whether these are the four phases of one picture, in any order."""
    return None not in phases and len(phases) == len(set(phases)) == BLOCK**2 and len({p.source for p in phases}) == 1


def _is_plain(node: Node) -> bool:
    """Whether a convolution has neither groups nor dilation, and says itself how it pads."""
    attrs = node.attrs
    dense = attrs.get("group", 1) == 1 and set(attrs.get("dilations", (1,))) == {1}
    return dense and attrs.get("auto_pad", "NOTSET") == "NOTSET"


def _interleave(weights: np.ndarray, phases: list[Phase]) -> np.ndarray:
    """The filters over the picture, of twice the size, whose taps are those of the phases."""
    filters, depth, height, width = weights.shape
    channels = depth // BLOCK**2
    merged = np.empty((filters, channels, BLOCK * height, BLOCK * width), weights.dtype)
    for index, phase in enumerate(phases):
        part = weights[:, index * channels : (index + 1) * channels]
        merged[:, :, phase.row :: BLOCK, phase.column :: BLOCK] = part
    return merged


def _phase(rewriter: Rewriter, tensor: str) -> Phase | None:
    """The phase of a picture that a tensor is, by one slice or by two in a row; else ``None``."""
    starts: dict[int, int] = {}
    while (node := rewriter.writer(tensor)) is not None and node.op == "Slice":
        cuts = _every_second(rewriter, node)
        if cuts is None or starts.keys() & cuts.keys():
            return None
        starts |= cuts
        tensor = node.input(0)
    return Phase(tensor, starts[2], starts[3]) if starts.keys() == {2, 3} else None


def _every_second(rewriter: Rewriter, node: Node) -> dict[int, int] | None:
    """Where a slice of every second element of some axes starts along each of them, 0 or 1; else ``None``."""
    ctx = InferContext(node, rewriter.types, rewriter.constants)
    kind = ctx.type(0)
    if not kind.is_static or kind.rank != 4 or any(ctx.constant(i) is None for i in range(1, 5) if node.input(i)):
        return None
    cuts = {}
    for axis, start, end, step in find("Slice").cuts(ctx, kind.rank):
        taken = range(*slice(start, end, step).indices(kind.shape[axis]))
        if taken.step != BLOCK or taken.start >= BLOCK or len(taken) != -(-(kind.shape[axis] - taken.start) // BLOCK):
            return None
        cuts[axis] = taken.start
    return cuts
