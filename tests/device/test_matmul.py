"""MatMul on every device, against onnx's reference evaluator."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from clnn import InferenceSession
from tests.support import check_node

RNG = np.random.default_rng(9)

SHAPES = [
    ((5, 7), (7, 9)),
    ((7,), (7, 9)),
    ((5, 7), (7,)),
    ((7,), (7,)),
    ((2, 5, 7), (7, 9)),
    ((2, 5, 7), (2, 7, 9)),
    ((2, 1, 5, 7), (3, 7, 9)),
    ((1, 5, 7), (4, 7, 70)),
    ((2, 3, 5, 7), (2, 3, 7, 65)),
    ((7,), (3, 7, 4)),
    ((3, 4, 7), (7,)),
    ((2, 3, 8, 16), (1, 1, 16, 33)),
    ((5, 1, 2, 3, 4), (1, 6, 1, 4, 5)),
    ((0, 7), (7, 3)),
    ((3, 0, 7), (3, 7, 2)),
]


@pytest.mark.parametrize("constants", [(1,), (), (0,)], ids=["right", "nothing", "left"])
@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_matmul(clnn_device, a, b, constants):
    inputs = [RNG.standard_normal(shape, np.float32) for shape in (a, b)]
    check_node(clnn_device, "MatMul", inputs, constants=constants, atol=3e-6)  # at most 16 products


def test_fused(clnn_device):
    """Bias, residual and activation after a batched product all happen in its kernel."""
    b, bias = RNG.standard_normal((10, 20), np.float32), RNG.standard_normal(20, np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "b"], ["p"]),
        helper.make_node("Add", ["p", "bias"], ["q"]),
        helper.make_node("Add", ["q", "r"], ["s"]),
        helper.make_node("Relu", ["s"], ["y"]),
    ]
    inputs = {name: RNG.standard_normal((4, 6, size), np.float32) for name, size in (("x", 10), ("r", 20))}
    graph = helper.make_graph(
        nodes,
        "fused",
        [helper.make_tensor_value_info(name, 1, value.shape) for name, value in inputs.items()],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(b, "b"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with InferenceSession(model, devices=clnn_device) as session:
        actual = session.run(None, inputs)[0]
        assert [node.op for node in session.plan().graph.nodes] == ["MatMul"]
    expected = ReferenceEvaluator(model).run(None, inputs)[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=2e-6)  # 10 products
