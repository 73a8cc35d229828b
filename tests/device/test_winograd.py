"""Winograd convolutions on every device, each size of tile forced, against onnx's reference evaluator."""

from __future__ import annotations

import pytest
from onnx.reference import ReferenceEvaluator

from clnn import InferenceSession
from clnn.ops import convolution
from clnn.plan import Run
from tests.device.test_conv import array, check_fused
from tests.support import node_model, relative_error

# x, weights, attributes: sizes that no tile, block of tiles, panel or vector divides
CASES = [
    ((1, 16, 8, 8), (16, 16, 3, 3), {"pads": [1, 1, 1, 1]}),
    ((1, 16, 1, 1), (5, 16, 3, 3), {"pads": [1, 1, 1, 1]}),
    ((2, 19, 7, 9), (33, 19, 3, 3), {"pads": [1, 0, 2, 1]}),
    ((1, 17, 3, 3), (5, 17, 3, 3), {}),
    ((3, 40, 13, 13), (130, 40, 3, 3), {"auto_pad": "SAME_UPPER"}),
    ((1, 20, 14, 5), (80, 20, 3, 3), {"pads": [3, 2, 1, 4]}),
    ((1, 33, 2, 40), (48, 33, 3, 3), {"pads": [1, 1, 1, 1]}),
]

RELATIVE_ERROR = {2: 5e-6, 4: 5e-5}
"""Errors over the largest output: about 6e-7 and 1e-5 were measured for normal numbers and up to 512 channels."""


@pytest.fixture(params=[2, 4], ids=["F2", "F4"])
def size(request, monkeypatch: pytest.MonkeyPatch) -> int:
    """Leave Winograd of one size of tile as the only algorithm."""
    name = f"Winograd F({request.param}×{request.param})"
    only = tuple(algorithm for algorithm in convolution.ALGORITHMS if algorithm.name == name)
    assert len(only) == 1
    monkeypatch.setattr(convolution, "ALGORITHMS", only)
    return request.param


@pytest.mark.parametrize(("x", "w", "attrs"), CASES)
@pytest.mark.parametrize("bias", [True, False])
def test_winograd(clnn_device, size, x, w, attrs, bias):
    inputs = [array(*x), array(*w), array(w[0]) if bias else None]
    model = node_model("Conv", inputs, constants=(1, 2), **attrs)
    (expected,) = ReferenceEvaluator(model).run(None, {"x0": inputs[0]})
    with InferenceSession(model, devices=clnn_device) as session:
        (actual,) = session.run(None, {"x0": inputs[0]})
    assert actual.shape == expected.shape
    assert relative_error(actual, expected) <= RELATIVE_ERROR[size]


@pytest.mark.parametrize(("activation", "residual"), [("Silu", "after"), ("PRelu", "before"), ("Clip", None)])
def test_epilogue(clnn_device, size, activation, residual):
    # the relative error above, of outputs up to about 50
    check_fused(clnn_device, CASES[2], activation, {}, residual, atol=50 * RELATIVE_ERROR[size])


def test_exact_precision_never_takes_it(clnn_device):
    x, w = array(1, 64, 24, 24), array(64, 64, 3, 3)
    model = node_model("Conv", [x, w], constants=(1,), pads=[1, 1, 1, 1])

    def kernels(precision: str) -> set[str]:
        with InferenceSession(model, devices=clnn_device, options={"precision": precision}) as session:
            return {step.launch.kernel.name for step in session.plan().steps if isinstance(step, Run)}

    assert "winograd" in kernels("fast")
    assert "winograd" not in kernels("exact")
