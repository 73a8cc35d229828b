"""A small network with one of each kind of launch that fusion and layouts make."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.support import relative_error

RANDOM = np.random.default_rng(5)


def network() -> ModelProto:
    """One of each kind of launch that fusion and layouts make."""

    def constant(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(RANDOM.standard_normal(shape).astype(np.float32) / 4, name)

    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w0"], ["c0"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["c0"], ["r0"]),
        node("Conv", ["r0", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        node("Sigmoid", ["c1"], ["g1"]),
        node("Mul", ["c1", "g1"], ["s1"]),
        node("Add", ["s1", "r0"], ["a1"]),  # Winograd, SiLU, residual
        node("Conv", ["a1", "w2"], ["d2"], pads=[1, 1, 1, 1], group=32),
        node("Conv", ["d2", "w3"], ["e2"]),  # separable
        node("MaxPool", ["e2"], ["p3"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Resize", ["p3", "", "scales"], ["u4"], mode="linear"),
        node("Concat", ["u4", "a1"], ["j5"], axis=1),
        node("Exp", ["j5"], ["x6"]),
        node("Sqrt", ["x6"], ["q6"]),
        node("Div", ["j5", "q6"], ["v6"]),  # chain
        node("GlobalAveragePool", ["v6"], ["m7"]),
        node("Flatten", ["m7"], ["f7"]),
        node("Gemm", ["f7", "w7", "b7"], ["l7"]),
        node("Softmax", ["l7"], ["y"]),
    ]
    weights = [
        constant("w0", 32, 3, 3, 3), constant("w1", 32, 32, 3, 3), constant("w2", 32, 1, 3, 3),
        constant("w3", 24, 32, 1, 1), constant("w7", 56, 10), constant("b7", 10),
        numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"),
    ]  # fmt: skip
    types = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
             for name, shape in (("x", [1, 3, 32, 32]), ("y", [1, 10]), ("v6", [1, 56, 16, 16]))]
    graph = helper.make_graph(nodes, "kinds", types[:1], types[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


FEEDS = {"x": RANDOM.standard_normal((1, 3, 32, 32), np.float32)}


def is_right(results: list[np.ndarray], model: ModelProto) -> bool:
    wanted = ReferenceEvaluator(model).run(None, FEEDS)
    return all(relative_error(a, b) < 1e-4 for a, b in zip(results, wanted, strict=True))  # Winograd, then a softmax
