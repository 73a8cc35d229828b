"""Checks of operators that take their inputs in either layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from clnn import InferenceSession
from tests.support import check_node, node_model


def check_layouts(
    device: str,
    op_type: str,
    inputs: Sequence[np.ndarray | None],
    *,
    constants: Sequence[int] = (),
    expected: Sequence[np.ndarray] | None = None,
    rtol: float = 0,
    atol: float = 0,
    **settings: Any,
) -> None:
    """``check_node`` with plain inputs, and again with float ones of three dimensions or more in channels last.

    Where elements are moved, not computed with, results must be exact: that is the default.
    """
    check_node(device, op_type, inputs, constants=constants, expected=expected, rtol=rtol, atol=atol, **settings)
    model = node_model(op_type, inputs, constants=constants, **settings)
    feeds = {f"x{i}": a for i, a in enumerate(inputs) if a is not None and i not in constants}
    if expected is None:
        expected = ReferenceEvaluator(model).run(None, feeds)
    node = model.graph.node[0]
    for info in model.graph.input:
        rank = len(info.type.tensor_type.shape.dim)
        if rank > 2 and info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            # Pooling works with the channels last, and a window of one element changes nothing.
            pool = helper.make_node("MaxPool", [info.name], [f"{info.name}_pooled"], kernel_shape=[1] * (rank - 2))
            model.graph.node.insert(0, pool)
            position = list(node.input).index(info.name)
            node.input[position] = pool.output[0]
    with InferenceSession(model, devices=device) as session:
        actual = session.run(None, feeds)
    for got, want in zip(actual, expected, strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)
