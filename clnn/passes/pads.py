"""Padding that the window after it can do itself."""

from __future__ import annotations

from clnn.graph import Graph, Node
from clnn.ops import InferContext, find
from clnn.passes.rewriter import Rewriter


def fold_pads(graph: Graph) -> Graph:
    """Let a Conv or AveragePool pad with zeros itself, instead of reading what a Pad has written.

    Frameworks whose "same" padding is uneven, as TensorFlow's, export it as a Pad. MaxPool is left alone: it pads with
    the lowest number.
    """
    rewriter = Rewriter(graph)
    for pad in rewriter.walk("Pad", backwards=True):
        widths, reader = _zeros_around(rewriter, pad), rewriter.sole_reader(pad.outputs[0])
        if widths is None or reader is None or not _pads_alike(reader, pad.outputs[0]):
            continue
        own = reader.attrs.get("pads", (0,) * len(widths))
        attrs = {**reader.attrs, "pads": tuple(a + b for a, b in zip(own, widths, strict=True))}
        if reader.op == "AveragePool":
            attrs["count_include_pad"] = 1
        inputs = (pad.input(0), *reader.inputs[1:])
        rewriter.replace((pad, reader), reader.replace(inputs=inputs, attrs=attrs))
    return rewriter.graph()


def _zeros_around(rewriter: Rewriter, pad: Node) -> tuple[int, ...] | None:
    """The zeros before each spatial axis, then those behind each, if a Pad does nothing else; else ``None``."""
    ctx = InferContext(pad, rewriter.types, rewriter.constants)
    given = [name for name in pad.inputs[1:] if name]
    if pad.attrs.get("mode", "constant") != "constant" or any(name not in rewriter.constants for name in given):
        return None
    value = ctx.setting("value", 2, 0.0)
    widths = find("Pad").widths(ctx)
    if value != 0 or any(pair != (0, 0) for pair in widths[:2]) or any(min(pair) < 0 for pair in widths):
        return None
    return tuple(before for before, _ in widths[2:]) + tuple(after for _, after in widths[2:])


def _pads_alike(node: Node, tensor: str) -> bool:
    """Whether more padding by ``node`` itself is the same as zeros around ``tensor``, which it reads."""
    if node.attrs.get("auto_pad", "NOTSET") != "NOTSET" or node.inputs.count(tensor) != 1 or node.input(0) != tensor:
        return False
    if node.op == "AveragePool":
        # It has to count its own padding as it counted the zeros; and where it rounds the number of windows up, it
        # leaves out one that begins behind what is not padding.
        counts = node.attrs.get("count_include_pad", 0) or not any(node.attrs.get("pads", ()))
        return bool(counts) and not node.attrs.get("ceil_mode", 0)
    return node.op == "Conv"
