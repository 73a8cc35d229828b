"""Chains of elementwise operations in one kernel, on every device, against onnx's reference and one by one."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from clnn import InferenceSession
from clnn.ops.chain import OP
from clnn.plan import Run
from tests.device.test_regions import Net

# The package's name for it is the function in it.
lowering = import_module("clnn.plan.lower")

RNG = np.random.default_rng(8)

SHAPES = [(2, 19, 5, 7), (1, 40, 1, 1), (1, 3, 4, 4), (3, 16, 8, 1), (2, 5, 3)]


def f32(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, np.float32)


def run(device: str, model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> tuple[list[np.ndarray], list[int], int]:
    """What a session computes the second time, the lengths of its chains, and how many launches it takes."""
    with InferenceSession(model, devices=device) as session:
        session.run(None, feeds)
        found, plan = session.run(None, feeds), session.plan()
        chains = [len(node.attrs["stages"]) for node in plan.graph.nodes if node.op == OP]
        return found, chains, sum(isinstance(step, Run) for step in plan.steps)


def check(device: str, net: Net, shape: Sequence[int], *outputs: str, stages: list[int]) -> None:
    """Compare a network with onnx's reference, and as ``check_alone`` does."""
    model, feeds = net.model(shape, *outputs), {"x": f32(*shape)}
    found = check_alone(device, model, feeds, stages)
    for got, want in zip(found, ReferenceEvaluator(model).run(None, feeds), strict=True):
        assert got.dtype == want.dtype
        # built-in functions of some ulp one after the other
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def check_alone(
    device: str, model: onnx.ModelProto, feeds: dict[str, np.ndarray], stages: list[int]
) -> list[np.ndarray]:
    """Compare a network, bit by bit, with its nodes run one by one; returns its results.

    ``stages`` are the lengths of the chains that it is to have, in their order.
    """
    found, chains, launches = run(device, model, feeds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lowering, "LOWERING", tuple(s for s in lowering.LOWERING if s.__name__ != "fuse_chains"))
        alone, none, more_launches = run(device, model, feeds)
    assert (chains, none) == (stages, [])
    assert more_launches == launches + sum(stages) - len(stages)
    for got, one_by_one in zip(found, alone, strict=True):
        np.testing.assert_array_equal(got, one_by_one)
    return found


def channels_last(net: Net, x: str, rank: int) -> str:
    """The same tensor as pooling leaves it, with the channels innermost."""
    return net.node("MaxPool", x, kernel_shape=[1] * (rank - 2))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_arithmetic_with_broadcasting(clnn_device, shape, last):
    net, spatial = Net(), len(shape) - 2
    x = channels_last(net, "x", len(shape)) if last else "x"
    y = net.node("Mul", x, net.constant(f32(shape[1], *(1,) * spatial)))
    y = net.node("Sub", net.constant(f32(shape[-1])), y)
    y = net.node("Sigmoid", net.node("Add", y, x))
    y = net.node("Div", y, net.constant(np.float32(0.7)))
    check(clnn_device, net, shape, y, stages=[5])


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_as_on_a_gpu(clnn_device, as_gpu, shape):
    net = Net()
    y = net.node("Add", net.node("Mul", channels_last(net, "x", 4), net.constant(f32(shape[1], 1, 1))), "x")
    check(clnn_device, net, shape, net.node("Exp", y), stages=[3])


def test_sums_of_products_are_rounded_as_two_operations(clnn_device):
    net = Net()
    y = net.node("Add", net.node("Mul", "x", net.constant(f32(37, 41))), net.constant(f32(37, 41)))
    check(clnn_device, net, (37, 41), net.node("Mul", y, y), stages=[3])


def test_constants_and_attributes_belong_to_their_stage(clnn_device):
    net = Net()
    y = net.node("LeakyRelu", net.node("Elu", net.node("Neg", "x"), alpha=0.3), alpha=0.7)
    y = net.node("HardSigmoid", net.node("Clip", y, net.constant(np.float32(-1)), ""), alpha=0.4, beta=0.1)
    check(clnn_device, net, (2, 3, 21), y, stages=[5])


def quantized(net: Net, x: str, dtype: type, *shape: int) -> str:
    """Quantised and back, as models of 8 bits write it, per tensor or per channel."""
    scale = net.constant(np.full(shape, 0.03, np.float32) + np.float32(0.01) * np.abs(f32(*shape)))
    zero = net.constant(np.full(shape, 5 if dtype == np.uint8 else -5, dtype))
    return net.node("DequantizeLinear", net.node("QuantizeLinear", x, scale, zero, axis=1), scale, zero, axis=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("scales", [(), (19,)])
def test_quantisation(clnn_device, dtype, scales):
    net = Net()
    y = net.node("Tanh", quantized(net, channels_last(net, "x", 4), dtype, *scales))
    check(clnn_device, net, SHAPES[0], quantized(net, y, dtype), stages=[5])


def test_quantisation_saturates_and_rounds_halves_to_even(clnn_device):
    net = Net()
    y = net.node("Add", net.node("Mul", "x", net.constant(np.float32(1))), net.constant(np.zeros(1, np.float32)))
    y = net.node("QuantizeLinear", y, net.constant(np.float32(2)), net.constant(np.uint8(3)))
    x = np.float32([1e30, -1e30, np.inf, -np.inf, -5, -7, 3, 5, 0, 510, 504, 503, 4.2e6, 1e9, -3, -1, 1e-40])
    # onnx's reference lets numbers beyond int32 wrap around.
    expected = np.clip(np.rint(x / np.float32(2)) + 3, 0, 255).astype(np.uint8)
    (found,) = check_alone(clnn_device, net.model(x.shape, y), {"x": x}, [3])
    np.testing.assert_array_equal(found, expected)


def test_peaks_are_kept_by_comparing_with_a_pooled_map(clnn_device):
    """As CenterNet does: truth values become numbers, and are multiplied with."""
    net = Net()
    peak = net.node("Equal", net.node("MaxPool", "x", kernel_shape=[3, 3], pads=[1] * 4), "x")
    check(clnn_device, net, (1, 3, 8, 9), net.node("Mul", "x", net.node("Cast", peak, to=1)), stages=[3])


def test_truth_values_at_either_end(clnn_device):
    net = Net()
    chosen = net.node("Where", net.node("Less", "x", net.constant(f32(21))), net.constant(f32(3, 1)), "x")
    check(clnn_device, net, (3, 21), net.node("Greater", chosen, net.constant(np.float32(0.1))), stages=[3])


def test_parts_of_larger_tensors(clnn_device):
    """Operands that are halves of a tensor, and a result that lies in a joined one."""
    net = Net()
    a, b = net.split(net.conv("x", 3, 38), 19, 19)
    y = net.node("Mul", net.node("Sigmoid", net.node("Add", a, b)), a)
    check(clnn_device, net, (2, 3, 6, 7), net.conv(net.concat(y, b), 38, 5), stages=[3])


def test_long_runs_become_several_chains(clnn_device):
    net, y = Net(), "x"
    for _ in range(7):
        y = net.node("Tanh", y)
    y = net.node("Abs", y)
    check(clnn_device, net, (5, 33), y, stages=[6, 2])


def test_more_operands_than_the_kernel_has(clnn_device):
    net, y = Net(), "x"
    for _ in range(5):
        y = net.node("Add", y, net.constant(f32(5, 33)))
    check(clnn_device, net, (5, 33), y, stages=[3, 2])


def test_what_others_need_ends_a_chain(clnn_device):
    """Outputs of the network, tensors with two readers, and those that a later stage repeats."""
    net = Net()
    y = net.node("Exp", "x")
    z = net.node("Neg", net.node("Sqrt", y))
    check(clnn_device, net, (5, 33), y, z, stages=[2])
    net = Net()
    y = net.node("Exp", "x")
    check(clnn_device, net, (5, 33), net.node("Mul", net.node("Floor", y), y), stages=[2])
    net = Net()
    y = net.node("Add", net.node("Exp", "x"), net.constant(f32(2, 5, 33)))
    check(clnn_device, net, (5, 33), y, stages=[])


def test_of_two_runs_that_meet_one_goes_on(clnn_device):
    net = Net()
    left, right = net.node("Tanh", "x"), net.node("Sigmoid", net.node("Neg", "x"))
    check(clnn_device, net, (1, 8, 5, 5), net.node("Abs", net.node("Mul", left, right)), stages=[2, 3])


def test_other_types_are_computed_one_by_one(clnn_device):
    net = Net()
    y = net.node("Cast", net.node("Mul", "x", net.constant(np.float32(9))), to=7)
    check(clnn_device, net, (5, 33), net.node("Mul", y, net.constant(np.int64(3))), stages=[])
