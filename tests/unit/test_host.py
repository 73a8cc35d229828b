"""Operators on the host."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from clnn import host
from clnn.errors import OutOfMemoryError
from clnn.graph import Node
from tests.support import relative_error

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(("version", "mode"), [(16, "bilinear"), (16, "nearest"), (16, None), (20, "linear")])
def test_the_modes_of_grid_sample_have_the_names_of_their_opset(version, mode):
    attrs = {} if mode is None else {"mode": mode}
    x = RANDOM.random((1, 2, 5, 6), np.float32)
    grid = RANDOM.uniform(-1, 1, (1, 3, 4, 2)).astype(np.float32)
    node = Node("g", "GridSample", ("x", "grid"), ("y",), attrs, version)
    (actual,) = host.evaluate(node, {"x": x, "grid": grid})
    inputs = {"x": x, "grid": grid}
    graph = helper.make_graph(
        [helper.make_node("GridSample", ["x", "grid"], ["y"], **attrs)],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)
    assert relative_error(actual, expected) < 1e-5  # fp32, weighted sums of four


def test_what_does_not_fit_into_memory_is_no_unsupported_operator():
    node = Node("c", "ConstantOfShape", ("s",), ("y",), {}, 13)
    with pytest.raises(OutOfMemoryError, match="'c'"):
        host.evaluate(node, {"s": np.array([2**28, 2**28], np.int64)})
