"""Runs nodes that need every kernel on the device ``oclgrind``, and prints the kernels that ran as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

import clnn
import clnn.kernels
from clnn.kernels import Kernel, winograd
from clnn.ops import convolution
from clnn.plan import Run
from tests.device.test_regions import Net
from tests.support import node_model

RANDOM = np.random.default_rng(0)
REFERENCE_ERRS = frozenset({"LRN"})
"""onnx's reference leaves out the last neighbour; clnn and onnxruntime agree."""


def all_kernels() -> set[str]:
    """Names of all kernels that operators can launch."""
    modules = (import_module(f"clnn.kernels.{info.name}") for info in iter_modules(clnn.kernels.__path__))
    return {value.name for module in modules for value in vars(module).values() if isinstance(value, Kernel)}


def f32(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def conv(x: tuple[int, ...], w: tuple[int, ...], **attrs: Any) -> onnx.ModelProto:
    return node_model("Conv", [f32(*x), f32(*w), f32(w[0])], constants=(1, 2), **attrs)


def models() -> Iterator[onnx.ModelProto]:
    """Small networks of odd shapes, several per kernel where it has several ways through."""
    yield conv((2, 3, 7, 9), (5, 3, 3, 3), pads=[1, 0, 2, 1], strides=[2, 1])
    yield conv((1, 19, 5, 5), (33, 19, 1, 1))
    yield conv((1, 6, 6, 5), (10, 3, 2, 3), group=2, dilations=[2, 1], pads=[1, 1, 1, 1])
    yield conv((1, 19, 7, 6), (19, 1, 3, 3), group=19, pads=[1, 1, 1, 1], strides=[2, 2])
    yield conv((1, 4, 11), (7, 4, 3), pads=[1, 1])
    yield node_model("Conv", [f32(1, 3, 6, 6), f32(4, 3, 3, 3)])
    yield conv((1, 3, 5, 41), (33, 3, 3, 3), pads=[1, 1, 1, 2], strides=[1, 2])
    yield conv((1, 5, 7, 9), (5, 5, 3, 3), pads=[1, 0, 2, 1], strides=[2, 1])
    yield conv((1, 6, 11), (7, 6, 3), pads=[1, 1])
    net = Net()
    deep = net.conv("x", 19, 19, 3, "Relu", group=19, strides=[2, 1])
    yield net.model((1, 19, 5, 7), net.conv(deep, 19, 21))
    for shape in ((3, 5, 37), (2, 3, 5)):
        net = Net()
        scaled = net.node("Mul", "x", net.constant(f32(shape[1], 1)))
        kept = net.node("Cast", net.node("Less", scaled, net.constant(f32(shape[2]))), to=1)
        yield net.model(shape, net.node("Sub", net.node("Sigmoid", kept), "x"))
    transposed = [f32(2, 5, 4, 3), f32(5, 7, 3, 2)]
    yield node_model("ConvTranspose", transposed, constants=(1,), strides=[2, 3], pads=[1, 0, 0, 1])
    yield node_model("ConvTranspose", [f32(1, 6, 5), f32(6, 19, 3), f32(19)], constants=(1, 2), dilations=[2])
    yield node_model("MatMul", [f32(2, 5, 7), f32(2, 7, 9)])
    yield node_model("Gemm", [f32(7, 5), f32(9, 7), f32(9)], transA=1, transB=1, alpha=0.5, constants=(1, 2))
    yield node_model("Relu", [f32(3, 17)])
    yield node_model("Add", [f32(2, 3, 5), f32(3, 1)])
    yield node_model("Where", [f32(3, 5) > 0, f32(3, 5), f32(5)])
    yield node_model("Cast", [f32(37)], to=7)
    yield node_model("Transpose", [f32(3, 17, 19)], perm=[2, 0, 1])
    yield node_model("Concat", [f32(2, 3, 5), f32(2, 4, 5)], axis=1)
    yield node_model("Slice", [f32(5, 7, 9), i64(4, 1), i64(0, 7), i64(0, 2), i64(-1, 3)], constants=(1, 2, 3, 4))
    yield node_model("Pad", [f32(3, 5), i64(1, 2, 0, 3)], constants=(1,), mode="reflect")
    yield node_model("MaxPool", [f32(1, 19, 7, 5)], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2], ceil_mode=1)
    yield node_model("AveragePool", [f32(2, 5, 6, 7)], kernel_shape=[2, 3], count_include_pad=1, pads=[0, 1, 1, 1])
    yield node_model("GlobalAveragePool", [f32(2, 19, 3, 5)])
    yield node_model("ReduceMax", [f32(3, 7, 5), i64(1)], constants=(1,), keepdims=0)
    yield node_model("ReduceSum", [f32(3, 7, 37), i64(2)], constants=(1,))
    yield node_model("ArgMax", [f32(3, 7, 5)], axis=1)
    yield node_model("Softmax", [f32(3, 37)], axis=-1)
    yield node_model("LRN", [f32(1, 7, 3, 3)], size=5)
    yield node_model("LayerNormalization", [f32(3, 21), f32(21), f32(21)], constants=(1, 2))
    yield node_model("RMSNormalization", [f32(3, 2, 5), f32(2, 5)], constants=(1,), axis=1)
    yield node_model("GroupNormalization", [f32(2, 6, 5, 5), f32(6), f32(6)], constants=(1, 2), num_groups=3)
    net = Net()
    pooled = net.node("MaxPool", "x", kernel_shape=[1, 1])
    affine = net.constant(f32(19)), net.constant(f32(19))
    yield net.model((2, 19, 3, 2), net.node("InstanceNormalization", pooled, *affine))
    scales = np.array([1, 1, 2, 1.5], np.float32)
    yield node_model("Resize", [f32(1, 5, 4, 3), None, scales], constants=(2,), mode="linear")
    yield node_model("Resize", [f32(1, 19, 4, 3), None, np.array([1, 1, 2, 2], np.float32)], constants=(2,))
    yield node_model("Gather", [f32(5, 7), i64(0, -1, 3)], axis=1)
    yield node_model("TopK", [f32(2, 300), i64(5)], constants=(1,), outputs=2)
    yield node_model("QuantizeLinear", [f32(3, 19), np.float32(0.1), np.uint8(3)], constants=(1, 2))


def for_gpus() -> Iterator[onnx.ModelProto]:
    """What runs other kernels on a GPU."""
    yield conv((2, 3, 7, 9), (5, 3, 3, 3), pads=[1, 0, 2, 1], strides=[2, 1])
    yield conv((1, 6, 6, 5), (10, 3, 2, 3), group=2, dilations=[2, 1], pads=[1, 1, 1, 1])
    yield conv((1, 19, 7, 6), (19, 1, 3, 3), group=19, pads=[1, 1, 1, 1])
    yield node_model("ConvTranspose", [f32(2, 5, 4, 3), f32(5, 7, 3, 2)], constants=(1,), strides=[2, 3])
    yield node_model("MatMul", [f32(2, 5, 7), f32(2, 7, 9)])
    yield node_model("Transpose", [f32(3, 17, 19)], perm=[2, 0, 1])
    yield node_model("Softmax", [f32(3, 37)], axis=-1)


@contextmanager
def winograd_of(size: int) -> Iterator[None]:
    """Leave Winograd as the only algorithm, with panels so narrow that they fit the interpreter's local memory."""
    with pytest.MonkeyPatch.context() as patch:
        only = tuple(each for each in convolution.ALGORITHMS if each.name == f"Winograd F({size}×{size})")
        patch.setattr(convolution, "ALGORITHMS", only)
        patch.setattr(winograd, "_NARROW_ROWS", {16: (4,)})
        yield


def run(model: onnx.ModelProto, atol: float = 1e-5, **where: str) -> set[str]:
    """Run one model, compare it with onnx's reference, and tell which kernels ran."""
    feeds = {}
    for info in model.graph.input:
        shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        feeds[info.name] = (f32(*shape) > 0) if dtype.kind == "b" else f32(*shape).astype(dtype)
    with clnn.InferenceSession(model, **where) as session:
        actual = session.run(None, feeds)
        kernels = {step.launch.kernel.name for step in session.plan().steps if isinstance(step, Run)}
    if model.graph.node[0].op_type in REFERENCE_ERRS:
        return kernels
    for got, want in zip(actual, ReferenceEvaluator(model).run(None, feeds), strict=True):
        # fp32 sums of some tens of terms, in another order
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=atol, err_msg=model.graph.node[0].op_type)
    return kernels


def main() -> None:
    seen: set[str] = set()
    for model in models():
        print(model.graph.node[0].op_type, file=sys.stderr)
        seen |= run(model, devices="oclgrind")
    for size in (2, 4):
        print(f"Conv by Winograd F({size}×{size})", file=sys.stderr)
        with winograd_of(size):
            # F(4×4) rounds some 1e-5 of the largest output away, which is about 50
            seen |= run(conv((2, 17, 9, 7), (20, 17, 3, 3), pads=[1, 0, 1, 2]), atol=1e-3, devices="oclgrind")
    for model in for_gpus():
        print(model.graph.node[0].op_type, "as on a GPU", file=sys.stderr)
        seen |= run(model, platforms="#oclgrind-as-gpu")
    print(json.dumps(sorted(seen)))


if __name__ == "__main__":
    main()
