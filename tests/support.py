"""What several tests share: one-node models, references, tolerances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.defs import onnx_opset_version
from onnx.reference import ReferenceEvaluator

from clnn import InferenceSession
from clnn.plan import Host


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """max |a − b| ÷ max |b|; 0 for empty arrays."""
    if expected.size == 0:
        return 0.0
    difference = np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max()
    return float(difference / max(np.abs(expected.astype(np.float64)).max(), 1e-30))


def node_model(
    op_type: str,
    inputs: Sequence[np.ndarray | None],
    *,
    opset: int | None = None,
    constants: Sequence[int] = (),
    outputs: int = 1,
    symbolic: bool = False,
    domain: str = "",
    **attrs: Any,
) -> onnx.ModelProto:
    """A model of one node; inputs at the positions in ``constants`` become initialisers, ``None`` is left out."""
    names = ["" if array is None else f"x{i}" for i, array in enumerate(inputs)]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, names, results, name=op_type.lower(), domain=domain, **attrs)
    infos, initializers = [], []
    for i, array in enumerate(inputs):
        if array is None:
            continue
        if i in constants:
            initializers.append(numpy_helper.from_array(array, names[i]))
        else:
            shape = [f"d{i}_{axis}" for axis in range(array.ndim)] if symbolic else array.shape
            infos.append(helper.make_tensor_value_info(names[i], helper.np_dtype_to_tensor_dtype(array.dtype), shape))
    graph = helper.make_graph(
        [node], "node", infos, [onnx.ValueInfoProto(name=name) for name in results], initializers
    )
    version = opset or onnx_opset_version()
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, version)], ir_version=10)


def check_node(
    device: str,
    op_type: str,
    inputs: Sequence[np.ndarray | None],
    *,
    opset: int | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-6,
    on_device: bool = True,
    constants: Sequence[int] = (),
    outputs: int = 1,
    expected: Sequence[np.ndarray] | None = None,
    **attrs: Any,
) -> list[np.ndarray]:
    """Run one node on ``device`` and compare every output with onnx's reference evaluator.

    The default tolerances are some units in the last place of float32 for values around 1. ``expected`` replaces
    the reference where that has a known fault. With ``on_device`` no node may have run on the host.
    """
    model = node_model(op_type, inputs, opset=opset, constants=constants, outputs=outputs, **attrs)
    feeds = {f"x{i}": a for i, a in enumerate(inputs) if a is not None and i not in constants}
    if expected is None:
        expected = ReferenceEvaluator(model).run(None, feeds)
    with InferenceSession(model, devices=device) as session:
        actual = session.run(None, feeds)
        if on_device:
            on_host = [str(step.node) for step in session.plan().steps if isinstance(step, Host)]
            assert not on_host, f"ran on the host: {on_host}"
    for got, want in zip(actual, expected, strict=True):
        want = np.asarray(want)
        assert got.shape == want.shape
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)
    return actual
