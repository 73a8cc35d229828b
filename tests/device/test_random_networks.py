"""Small random networks on every device, with its own kernels and with those for GPUs, against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

from clnn import InferenceSession
from tests.device.test_regions import Net
from tests.support import relative_error

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra clnn[dev] is not installed")

SEEDS = range(40)
SEEDS_FOR_GPUS = range(40, 46)
NODES = 16
MOST_ELEMENTS = 20_000
TOLERANCE = 1e-4
"""Of the largest value: Winograd's 1e-5 and a few layers behind it, see test_winograd."""

CHANNELS = (1, 2, 3, 5, 15, 16, 17, 20, 32, 33)
ACTIVATIONS = ("Relu", "Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Neg", "Identity")


class RandomNet(Net):
    """A network that grows by one random node at a time; ``shapes`` holds those of all tensors so far."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = np.random.default_rng(seed)
        self.shapes: dict[str, tuple[int, ...]] = {}

    def grow(self, nodes: int) -> onnx.ModelProto:
        """A network of about ``nodes`` nodes; its outputs are what no node reads, and a few others."""
        shape = (self.pick(1, 1, 2, 3), self.pick(*CHANNELS), self.pick(1, 4, 7, 12), self.pick(1, 5, 9, 16))
        self.shapes["x"] = shape
        while len(self.nodes) < nodes:
            self.pick(*STEPS)(self, self.tensor())
        read = {name for node in self.nodes for name in node.input}
        written = [name for node in self.nodes for name in node.output]
        return self.model(shape, *(name for name in written if name not in read or self.random.random() < 0.1))

    def pick(self, *choices):
        return choices[self.random.integers(len(choices))]

    def tensor(self, rank: int = 0) -> str:
        """One of the tensors of this rank (0: of any), later ones more often."""
        names = [name for name, shape in self.shapes.items() if not rank or len(shape) == rank]
        return names[-1 - min(int(self.random.exponential(3)), len(names) - 1)]

    @property
    def latest(self) -> str:
        return next(reversed(self.shapes))

    def axis(self, rank: int) -> int:
        return int(self.random.integers(-rank, rank))

    def array(self, *shape: int) -> str:
        """A constant of normal numbers."""
        return self.constant(self.random.standard_normal(shape, np.float32))

    def weights(self, *shape: int) -> str:
        """Constant filters that leave numbers as large as they were."""
        return self.constant(self.random.standard_normal(shape, np.float32) / np.float32(np.sqrt(np.prod(shape[1:]))))

    def add(self, op: str, *inputs: str, outputs: int = 1, **attrs) -> None:
        """Append a node, and learn the shapes of its outputs, unless one is too large."""
        made = self.node(op, *inputs, outputs=outputs, **attrs)
        names = [made] if outputs == 1 else made
        known = [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, self.shapes[name])
            for name in dict.fromkeys(inputs)
            if name in self.shapes
        ]
        used = [tensor for tensor in self.constants if tensor.name in inputs]
        graph = helper.make_graph([self.nodes[-1]], "step", known, [onnx.ValueInfoProto(name=n) for n in names], used)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in inferred.graph.output}
        if any(not 0 < np.prod(shape) <= MOST_ELEMENTS for shape in shapes.values()):
            self.nodes.pop()
        else:
            self.shapes |= shapes


def window(net: RandomNet, x: str) -> dict:
    """Attributes of a window that fits a picture, with some padding."""
    kernel = [net.pick(1, 3, 3, 5) for _ in range(2)]
    pads = [net.pick(0, (size - 1) // 2, size // 2) for size in (*kernel, *kernel)]
    for axis, size in enumerate(net.shapes[x][2:]):
        if size + pads[axis] + pads[axis + 2] < kernel[axis]:
            kernel[axis], pads[axis], pads[axis + 2] = 1, 0, 0
    return {"kernel_shape": kernel, "pads": pads, "strides": [net.pick(1, 1, 2) for _ in range(2)]}


def conv(net: RandomNet, x: str) -> None:
    channels = net.shapes[x][1]
    group, filters = net.pick((1, net.pick(*CHANNELS)), (1, net.pick(*CHANNELS)), (channels, channels))
    attrs = window(net, x)
    shape = (filters, channels // group, *attrs["kernel_shape"])
    bias = (net.array(filters),) if net.pick(True, False) else ()
    net.add("Conv", x, net.weights(*shape), *bias, group=group, **attrs)


def square_conv(net: RandomNet, x: str) -> None:
    """3×3 with padding: what keeps the size of pictures, so that it can be joined with others."""
    channels, filters = net.shapes[x][1], net.pick(*CHANNELS)
    net.add("Conv", x, net.weights(filters, channels, 3, 3), net.array(filters), pads=[1] * 4)


def separable(net: RandomNet, x: str) -> None:
    channels, filters = net.shapes[x][1], net.pick(*CHANNELS)
    net.add("Conv", x, net.weights(channels, 1, 3, 3), pads=[1] * 4, group=channels)
    net.add("Relu", net.latest)
    net.add("Conv", net.latest, net.weights(filters, channels, 1, 1))


def pool(net: RandomNet, x: str) -> None:
    net.add(net.pick("MaxPool", "AveragePool"), x, **window(net, x))


def same_pool(net: RandomNet, x: str) -> None:
    net.add("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4)


def activation(net: RandomNet, x: str) -> None:
    net.add(net.pick(*ACTIVATIONS), x)


def binary(net: RandomNet, x: str) -> None:
    """With a tensor of the same shape, or a constant that is broadcast."""
    shape = net.shapes[x]
    same = [name for name, other in net.shapes.items() if other == shape]
    small = net.array(*(size if net.pick(True, False) else 1 for size in shape))
    other = net.pick(*same, small)
    net.add(net.pick("Add", "Mul", "Sub"), *net.pick((x, other), (other, x)))


def concat(net: RandomNet, x: str) -> None:
    """With tensors that differ along one axis only, or with itself, or with a constant; or alone."""
    shape = net.shapes[x]
    axis = net.pick(1, net.axis(len(shape)))

    def fits(other: tuple[int, ...]) -> bool:
        return len(other) == len(shape) and all(
            a == b for i, (a, b) in enumerate(zip(shape, other, strict=True)) if i != axis % len(shape)
        )

    others = [name for name, other in net.shapes.items() if fits(other)]
    parts = [net.pick(*others) for _ in range(net.pick(0, 1, 1, 2, 3))]
    if net.pick(*(False,) * 4, True):
        parts.append(net.array(*shape))
    parts.insert(net.random.integers(len(parts) + 1), x)
    net.add("Concat", *parts, axis=axis)


def split(net: RandomNet, x: str) -> None:
    shape = net.shapes[x]
    axis = net.pick(1, net.axis(len(shape)))
    cuts = sorted(net.random.integers(1, shape[axis], net.pick(1, 2))) if shape[axis] > 1 else []
    sizes = [int(b - a) for a, b in zip([0, *cuts], [*cuts, shape[axis]], strict=True) if b > a]
    net.add("Split", x, net.constant(np.array(sizes)), outputs=len(sizes), axis=axis)


def cut(net: RandomNet, x: str) -> None:
    shape = net.shapes[x]
    axis = net.axis(len(shape))
    size, step = shape[axis], net.pick(1, 1, 2, 3, -1, -2)
    start = int(net.random.integers(size))
    start, end = (start, size) if step > 0 else (size - 1 - start, -size - 1)
    net.add("Slice", x, *(net.constant(np.array([v])) for v in (start, end, axis, step)))


def branches(net: RandomNet, x: str) -> None:
    """Two or three ways from one tensor, joined again, as in most detectors; a way may end in such a join itself."""
    ends = []
    for _ in range(net.pick(2, 3)):
        net.pick(square_conv, separable, activation, same_pool, branches)(net, x)
        ends.append(net.latest)
    size = net.shapes[x][2:]
    net.add("Concat", *(end for end in ends if net.shapes[end][2:] == size), axis=net.pick(1, -3))


def halves(net: RandomNet, x: str) -> None:
    """One half goes through a convolution with a shortcut, and is joined with the other, as in YOLOv8."""
    channels = net.shapes[x][1]
    if channels < 2:
        return
    half, rest = channels // 2, channels - channels // 2
    net.add("Split", x, net.constant(np.array([half, rest])), outputs=2, axis=1)
    first, second = list(net.shapes)[-2:]
    net.add("Conv", second, net.weights(rest, rest, 3, 3), pads=[1] * 4)
    net.add("Add", net.latest, second)
    net.add("Concat", first, second, net.latest, axis=1)


def resize(net: RandomNet, x: str) -> None:
    scales = net.constant(np.float32([1, 1, net.pick(1, 2, 2, 0.5), net.pick(1, 2, 2, 3)]))
    mode, rule = net.pick("nearest", "nearest", "linear"), net.pick("asymmetric", "half_pixel")
    net.add("Resize", x, "", scales, mode=mode, coordinate_transformation_mode=rule, nearest_mode="floor")


def reshape(net: RandomNet, x: str) -> None:
    """Flattened, with a dimension divided, or with one of size 1 more or fewer."""
    shape = list(net.shapes[x])
    axis = net.axis(len(shape)) % len(shape)
    ones = [i for i, size in enumerate(shape) if size == 1]
    kind = net.pick("flatten", "divide", "unsqueeze", "squeeze", "picture")
    if kind == "flatten":
        net.add("Flatten", x, axis=axis)
    elif kind == "divide" and len(shape) < 5:
        factor = next((f for f in (2, 3, 5) if shape[axis] % f == 0), 1)
        shape[axis : axis + 1] = [factor, -1]
        net.add("Reshape", x, net.constant(np.array(shape)))
    elif kind == "unsqueeze" and len(shape) < 5:
        net.add("Unsqueeze", x, net.constant(np.array([axis])))
    elif kind == "squeeze" and ones and len(shape) > 1:
        net.add("Squeeze", x, net.constant(np.array([net.pick(*ones)])))
    elif kind == "picture":
        net.add("Reshape", x, net.constant(np.array([shape[0], shape[1] if len(shape) > 1 else 1, 1, -1])))


def transpose(net: RandomNet, x: str) -> None:
    net.add("Transpose", x, perm=net.random.permutation(len(net.shapes[x])).tolist())


def pad(net: RandomNet, x: str) -> None:
    rank = len(net.shapes[x])
    pads = [0, 0] * (rank > 2) + [net.pick(0, 0, 1, 2) for _ in range(rank - 2 * (rank > 2))]
    net.add("Pad", x, net.constant(np.array(pads * 2)))


def softmax(net: RandomNet, x: str) -> None:
    net.add("Softmax", x, axis=net.axis(len(net.shapes[x])))


def on_host(net: RandomNet, x: str) -> None:
    """What no kernel computes, so that the tensor goes to the host and back."""
    net.add("CumSum", x, net.constant(np.array(net.axis(len(net.shapes[x])))))


def picture(step: Callable[[RandomNet, str], None]) -> Callable[[RandomNet, str], None]:
    """The step, on a tensor of four dimensions."""
    return lambda net, _: step(net, net.tensor(rank=4))


STEPS = (
    *map(picture, (conv, conv, square_conv, separable, branches, branches, halves, pool, resize)),
    *(activation, activation, binary, binary, concat, concat, concat, split, split, cut, cut),
    *(reshape, transpose, pad, softmax, on_host),
)


def reference(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    peer = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return peer.run(None, feeds)


def check(device: str, seed: int) -> None:
    net = RandomNet(seed)
    model = net.grow(NODES)
    feeds = {"x": net.random.standard_normal(net.shapes["x"], np.float32)}
    expected = reference(model, feeds)
    with InferenceSession(model, devices=device) as session:
        for _ in range(2):  # the second run meets what the first left in memory
            actual = session.run(None, feeds)
            for got, want in zip(actual, expected, strict=True):
                assert got.shape == want.shape
                assert relative_error(got, want) < TOLERANCE, f"seed {seed}"


@pytest.mark.parametrize("seed", SEEDS)
def test_random_network(clnn_device, seed):
    check(clnn_device, seed)


@pytest.mark.parametrize("seed", SEEDS_FOR_GPUS)
def test_random_network_with_the_kernels_of_gpus(clnn_device, as_gpu, seed):
    check(clnn_device, seed)
