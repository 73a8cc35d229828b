"""Transposed convolutions on every device, against onnx's reference evaluator."""

from __future__ import annotations

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from tests.support import check_node, node_model

RNG = np.random.default_rng(10)

# x, weights (channels in, channels out of a group, *kernel), attributes
CASES = [
    ((1, 1, 3, 3), (1, 2, 3, 3), {}),
    ((2, 5, 4, 7), (5, 18, 2, 2), {"strides": [2, 2]}),
    ((1, 6, 5, 6), (6, 20, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((1, 3, 6, 5), (3, 4, 3, 2), {"strides": [3, 2], "pads": [1, 0, 0, 1], "output_padding": [2, 1]}),
    ((1, 3, 6, 5), (3, 4, 3, 3), {"dilations": [2, 3], "pads": [1, 2, 1, 2]}),
    ((1, 2, 3, 3), (2, 3, 3, 3), {"strides": [3, 2], "output_shape": [10, 8]}),
    ((1, 2, 5, 5), (2, 3, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ((1, 2, 5, 5), (2, 3, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ((1, 2, 5, 5), (2, 3, 3, 3), {"strides": [2, 2], "auto_pad": "VALID"}),
    ((2, 4, 9), (4, 17, 4), {"strides": [2], "pads": [1, 1]}),
]


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize(("x", "w", "attrs"), CASES)
def test_conv_transpose(clnn_device, x, w, attrs, bias):
    inputs = [RNG.standard_normal(shape, np.float32) for shape in (x, w, w[1:2])]
    # sums of at most 6·16 products: see tolerance() in test_conv.py
    check_node(clnn_device, "ConvTranspose", inputs if bias else inputs[:2], constants=(1, 2), atol=2e-5, **attrs)


def test_empty_batch(clnn_device):
    """The reference gives no array at all."""
    inputs = [np.zeros(shape, np.float32) for shape in [(0, 2, 5, 5), (2, 3, 3, 3)]]
    check_node(clnn_device, "ConvTranspose", inputs, constants=(1,), expected=[np.zeros((0, 3, 7, 7), np.float32)])


@pytest.mark.parametrize(("groups", "channels"), [(2, 3), (6, 1)])
def test_groups(clnn_device, groups, channels):
    """Each group is a transposed convolution of its own; the reference mixes the groups' channels up."""
    x = RNG.standard_normal((2, 6, 4, 5), np.float32)
    w, bias = RNG.standard_normal((6, channels, 3, 3), np.float32), RNG.standard_normal(groups * channels, np.float32)
    attrs = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    parts = [
        ReferenceEvaluator(node_model("ConvTranspose", part, **attrs)).run(
            None, {f"x{i}": array for i, array in enumerate(part)}
        )[0]
        for part in zip(np.split(x, groups, 1), np.split(w, groups), np.split(bias, groups), strict=True)
    ]
    check_node(
        clnn_device, "ConvTranspose", [x, w, bias], constants=(1, 2), expected=[np.concatenate(parts, 1)],
        atol=1e-5, group=groups, **attrs,
    )  # fmt: skip


def test_weights_computed_at_run_time(clnn_device):
    inputs = [RNG.standard_normal(shape, np.float32) for shape in [(1, 2, 4, 4), (2, 3, 3, 3)]]
    check_node(clnn_device, "ConvTranspose", inputs, on_device=False)
