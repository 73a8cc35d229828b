"""Chains in bands of rows on every device: the same bits as layer by layer, and only what is proven right."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest

from clnn import InferenceSession
from clnn.plan import chains
from clnn.plan.chain_search import Row, Segment
from tests.chains import MANY_CHAINS
from tests.device.test_regions import Net

SEEDS = range(25)
NODES = 7

Tensor = tuple[str, int, int, int]
"""A name with channels, height and width."""


class RandomChain(Net):
    """A network of nodes that can be computed in bands, with branches and several outputs."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = np.random.default_rng(seed)
        height = int(self.random.integers(16, 72))
        self.shape = (self.pick(1, 1, 1, 2, 3), self.pick(3, 16, 32), height, self.pick(7, 16, 33))
        self.tensors: list[Tensor] = [("x", *self.shape[1:])]

    def pick(self, *choices):
        return choices[self.random.integers(len(choices))]

    def grow(self) -> onnx.ModelProto:
        while len(self.tensors) <= NODES:
            self.pick(*STEPS)(self, self.tensors[-1 - min(int(self.random.exponential(0.7)), len(self.tensors) - 1)])
        read = {name for node in self.nodes for name in node.input}
        outputs = [name for name, *_ in self.tensors[1:] if name not in read or self.random.random() < 0.1]
        return self.model(self.shape, *outputs)

    def add(self, name: str, channels: int, height: int, width: int) -> None:
        self.tensors.append((name, channels, height, width))


def convolution(net: RandomChain, tensor: Tensor) -> None:
    x, channels, height, width = tensor
    kernel, stride, dilation = net.pick((1, 1, 1), (3, 1, 1), (3, 1, 1), (3, 2, 1), (2, 2, 1), (3, 1, 2), (5, 1, 1))
    reach = (kernel - 1) * dilation + 1
    above, below = net.pick(reach // 2, reach // 2, 0, reach - 1), net.pick(reach // 2, reach // 2, 0)
    if height + above + below < reach or width + reach // 2 * 2 < reach:
        return
    group, filters = net.pick((1, 16), (1, 32), (channels, channels), (1, 20))
    weights = net.random.standard_normal((filters, channels // group, kernel, kernel)).astype(np.float32) / 8
    attrs = {"pads": [above, reach // 2, below, reach // 2], "strides": [stride] * 2, "dilations": [dilation] * 2}
    y = net.node("Conv", x, net.constant(weights), group=group, **attrs)
    if net.random.random() < 0.5:
        y = net.node("Relu", y)
    size = ((height + above + below - reach) // stride + 1, (width + reach // 2 * 2 - reach) // stride + 1)
    net.add(y, filters, *size)


def pooling(net: RandomChain, tensor: Tensor) -> None:
    x, channels, height, width = tensor
    kernel, stride, pad = net.pick((2, 2, 0), (3, 2, 1), (3, 1, 1))
    if min(height, width) < kernel:
        return
    op, ceil = net.pick("MaxPool", "AveragePool"), net.pick(0, 0, 1)
    y = net.node(op, x, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, ceil_mode=ceil)
    sizes = []
    for size in (height, width):
        rest = size + 2 * pad - kernel
        out = -(-rest // stride) + 1 if ceil else rest // stride + 1
        sizes.append(out - (ceil and (out - 1) * stride >= size + pad))
    net.add(y, channels, *sizes)


def joining(net: RandomChain, tensor: Tensor) -> None:
    x, channels, *size = tensor
    other, others, *_ = net.pick(*(each for each in net.tensors if list(each[2:]) == size))
    if others == channels and net.random.random() < 0.5:
        net.add(net.node("Add", x, other), channels, *size)
    else:
        net.add(net.concat(x, other), channels + others, *size)


def cutting(net: RandomChain, tensor: Tensor) -> None:
    x, channels, *size = tensor
    if channels >= 8:
        for name in net.split(x, 4, channels - 4):
            net.add(name, 4 if not name.endswith("_1") else channels - 4, *size)


def enlarging(net: RandomChain, tensor: Tensor) -> None:
    x, channels, height, width = tensor
    if height * width < 1200:
        scales = net.constant(np.array([1, 1, 2, 2], np.float32))
        y = net.node("Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric",
                     nearest_mode="floor")
        net.add(y, channels, 2 * height, 2 * width)


def padding(net: RandomChain, tensor: Tensor) -> None:
    x, channels, height, width = tensor
    y = net.node("Pad", x, net.constant(np.array([0, 0, 1, 0, 0, 0, 2, 1])), net.constant(np.float32(0.5)))
    net.add(y, channels, height + 3, width + 1)


STEPS: tuple[Callable[[RandomChain, Tensor], None], ...] = (
    convolution, convolution, convolution, pooling, joining, cutting, enlarging, padding,
)  # fmt: skip


def results(device: str, model: onnx.ModelProto, feeds: dict[str, np.ndarray], chain: str) -> tuple[list, list]:
    """What a session computes, and its chains."""
    with InferenceSession(model, devices=device, options={"chain": chain, "timeout_s": 120.0}) as session:
        return session.run(None, feeds), [each for each in session.plan().lowered.chains if each.taken]


def check(device: str, model: onnx.ModelProto, shape: Sequence[int], least: int = 1) -> list:
    """Compare bits with and without chains, of which there must be so many; returns them."""
    feeds = {"x": np.random.default_rng(1).standard_normal(shape, np.float32)}
    wanted, _ = results(device, model, feeds, "off")
    found, taken = results(device, model, feeds, "on")
    assert len(taken) >= least
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    return taken


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every row become the longest chain that can be, whether it saves anything or not."""

    def pick(row: Row, candidates: list[Segment]) -> tuple[list[Segment], str]:
        length = max(each.stop - each.start for each in candidates)
        fitting = [each for each in candidates if each.stop - each.start == length]
        return [fitting[len(row.links) % len(fitting)]], "for a test"

    monkeypatch.setattr(chains, "_lean", pick)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_chains(clnn_device, longest, seed):
    net = RandomChain(seed)
    check(clnn_device, net.grow(), net.shape, least=0)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(MANY_CHAINS // 100))
def test_many_random_chains(clnn_device, longest, block):
    for seed in range(1000 + 100 * block, 1100 + 100 * block):
        net = RandomChain(seed)
        check(clnn_device, net.grow(), net.shape, least=0)


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_what_cannot_be_proven_is_not_chained(clnn_device, longest, monkeypatch, seed):
    def write_out_wrongly(*args):
        nodes, types = write_out(*args)
        halos = [index for index, node in enumerate(nodes) if node.name.endswith("/halo")]
        if halos:
            index = halos[seed % len(halos)]
            starts, ends = ([nodes[index].attrs[key][0] - 1] for key in ("starts", "ends"))
            wrong = nodes[index].with_attrs(starts=tuple(starts), ends=tuple(ends))
            nodes = (*nodes[:index], wrong, *nodes[index + 1 :])
        return nodes, types

    write_out = chains.write_out
    monkeypatch.setattr(chains, "write_out", write_out_wrongly)
    net = Net()
    y = net.conv(net.conv("x", 3, 16, 3, "Relu"), 16, 16, 3)
    assert check(clnn_device, net.model((1, 3, 64, 16), y), (1, 3, 64, 16), least=0) == []


@pytest.mark.parametrize("shape", [(1, 3, 417, 333), (3, 3, 132, 65), (1, 3, 256, 16)])
def test_plain_network_of_odd_size(clnn_device, shape):
    """Symbolic shapes; strides, pools and a residual on the way."""
    net = Net()
    x = net.conv(net.conv("x", 3, 16, 3, "Relu", strides=[2, 2]), 16, 32, 3, "Relu")
    x = net.node("Add", x, net.conv(x, 32, 32, 3))
    x = net.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    model = net.model(("n", 3, "h", "w"), net.conv(x, 32, 8, 1))
    (chain, *_) = check(clnn_device, model, shape)
    assert chain.images == shape[0]
    assert chain.bands >= 4


@pytest.mark.parametrize("policy", ["split", "heft"])
def test_two_devices_compute_a_chain(pair, policy):
    net = Net()
    y = net.conv(net.conv("x", 3, 32, 3, "Relu"), 32, 32, 3)
    model, feeds = net.model((1, 3, 256, 256), y), {"x": np.ones((1, 3, 256, 256), np.float32)}
    found = []
    for chain in ("off", "on"):
        with InferenceSession(model, devices=pair, policy=policy, options={"chain": chain}) as session:
            found.append(session.run(None, feeds)[0])
            taken = [each for each in session.plan().lowered.chains if each.taken]
    assert taken
    np.testing.assert_array_equal(*found)


def test_kernels_of_chains_can_be_verified(clnn_device, tmp_path):
    net = Net()
    x = net.conv(net.conv("x", 3, 32, 3, "Relu"), 32, 32, 3, group=32)
    y = net.node("Sigmoid", net.conv(x, 32, 16))
    shape = (1, 3, 128, 32)
    options = {"chain": "on", "verify": "first_run", "cache_dir": tmp_path}
    with InferenceSession(net.model(shape, y), devices=clnn_device, options=options) as session:
        session.run(None, {"x": np.ones(shape, np.float32)})
        assert [each for each in session.plan().lowered.chains if each.taken]
