"""Well-known networks as ONNX models with random weights, for timing and for comparing runtimes.

    python benchmarks/networks.py FOLDER [NAME ...]     writes NAME.onnx for each network into FOLDER

The layers are those of the published networks, as their usual exporters write them; the weights are drawn from a
fixed seed with He et al.'s variance, so that activations stay in a sane range.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13


class Builder:
    """Collects nodes and initialisers; every method appends a layer and returns the name of its output."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(seed)
        self._channels: dict[str, int] = {}

    def node(self, op: str, *inputs: str, outputs: int = 1, channels: int | None = None, **attrs: object):
        names = [f"{op.lower()}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"{op}_{len(self.nodes)}", **attrs))
        for name in names:
            self._channels[name] = channels or self._channels.get(inputs[0] if inputs else "", 0)
        return names[0] if outputs == 1 else names

    def constant(self, value: np.ndarray | list, dtype: type = np.float32) -> str:
        name = f"const_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def input(self, name: str, channels: int) -> str:
        self._channels[name] = channels
        return name

    def random(self, *shape: int, std: float = 1.0, mean: float = 0.0) -> str:
        return self.constant(mean + std * self._random.standard_normal(shape))

    def conv(
        self,
        x: str,
        filters: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: str = "",
        bias: bool = True,
        pad: int | None = None,
    ) -> str:
        channels = self._channels[x] // groups
        weight = self.random(filters, channels, kernel, kernel, std=(2.0 / (channels * kernel * kernel)) ** 0.5)
        inputs = [x, weight] + ([self.random(filters, std=0.05)] if bias else [])
        pads = [kernel // 2 if pad is None else pad] * 4
        y = self.node("Conv", *inputs, channels=filters, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads,
                      group=groups)
        return self.activate(y, act)

    def activate(self, x: str, act: str) -> str:
        if act == "silu":
            return self.node("Mul", x, self.node("Sigmoid", x))
        if act == "relu":
            return self.node("Relu", x)
        if act == "relu6":
            return self.node("Clip", x, self.constant(0.0), self.constant(6.0))
        if act == "leaky":
            return self.node("LeakyRelu", x, alpha=0.1)
        return x

    def batchnorm(self, x: str) -> str:
        n = self._channels[x]
        variance = self.constant(0.5 + self._random.random(n))
        return self.node("BatchNormalization", x, self.random(n, std=0.1, mean=1.0), self.random(n, std=0.1),
                         self.random(n, std=0.1), variance)

    def model(self, inputs: dict[str, list], outputs: dict[str, list]) -> onnx.ModelProto:
        def infos(shapes: dict[str, list]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]

        graph = helper.make_graph(self.nodes, "benchmark", infos(inputs), infos(outputs), self.initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="clnn-benchmarks")
        model.ir_version = 8
        onnx.checker.check_model(model)
        return model


def _rename_output(b: Builder, name: str, new: str) -> None:
    node = next(node for node in b.nodes if name in node.output)
    node.output[list(node.output).index(name)] = new


def resnet50(batch: int = 1, size: int = 224) -> onnx.ModelProto:
    """ResNet-50 v1.5 (He et al. 2015, with the stride in the 3×3), batch norms folded; 8.2 GFLOP at 224."""
    b = Builder()
    x = b.conv(b.input("input", 3), 64, 7, 2, act="relu")
    x = b.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512))):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = b.conv(b.conv(x, width, act="relu"), width, 3, stride, act="relu")
            y = b.conv(y, width * 4)
            shortcut = x if block else b.conv(x, width * 4, 1, stride)
            x = b.node("Relu", b.node("Add", y, shortcut))
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    y = b.node("Gemm", x, b.random(1000, 2048, std=0.02), b.random(1000, std=0.02), transB=1)
    _rename_output(b, y, "output")
    return b.model({"input": [batch, 3, size, size]}, {"output": [batch, 1000]})


def mobilenetv2(batch: int = 1, size: int = 224) -> onnx.ModelProto:
    """MobileNetV2 1.0 (Sandler et al. 2018), batch norms folded; 0.60 GFLOP at 224."""
    b = Builder()
    x = b.conv(b.input("input", 3), 32, 3, 2, act="relu6")
    channels = 32
    for expand, filters, repeats, first_stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):
        for repeat in range(repeats):
            stride = 1 if repeat else first_stride
            hidden = channels * expand
            y = b.conv(x, hidden, act="relu6") if expand > 1 else x
            y = b.conv(b.conv(y, hidden, 3, stride, groups=hidden, act="relu6"), filters)
            x = b.node("Add", x, y) if stride == 1 and channels == filters else y
            channels = filters
    x = b.node("Flatten", b.node("GlobalAveragePool", b.conv(x, 1280, act="relu6")))
    y = b.node("Gemm", x, b.random(1000, 1280, std=0.02), b.random(1000, std=0.02), transB=1)
    _rename_output(b, y, "output")
    return b.model({"input": [batch, 3, size, size]}, {"output": [batch, 1000]})


def squeezenet(batch: int = 1, size: int = 224) -> onnx.ModelProto:
    """SqueezeNet 1.0 (Iandola et al. 2016); 1.6 GFLOP at 224."""
    b = Builder()
    x = b.conv(b.input("input", 3), 96, 7, 2, act="relu", pad=0)

    def pool(y: str) -> str:
        return b.node("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)

    x = pool(x)
    for index, squeeze in enumerate((16, 16, 32, 32, 48, 48, 64, 64)):
        s = b.conv(x, squeeze, act="relu")
        x = b.node("Concat", b.conv(s, 4 * squeeze, act="relu"), b.conv(s, 4 * squeeze, 3, act="relu"), axis=1,
                   channels=8 * squeeze)
        if index in (2, 6):
            x = pool(x)
    y = b.node("Softmax", b.node("Flatten", b.node("GlobalAveragePool", b.conv(x, 1000, act="relu"))), axis=1)
    _rename_output(b, y, "output")
    return b.model({"input": [batch, 3, size, size]}, {"output": [batch, 1000]})


def tiny_yolov2(batch: int = 1, size: int = 416) -> onnx.ModelProto:
    """Tiny YOLOv2, VOC (Redmon and Farhadi 2016), batch norms as nodes; 7.0 GFLOP at 416."""
    b = Builder()
    x = b.input("input", 3)
    for index, filters in enumerate((16, 32, 64, 128, 256, 512)):
        x = b.activate(b.batchnorm(b.conv(x, filters, 3, bias=False)), "leaky")
        stride = 2 if index < 5 else 1
        x = b.node("MaxPool", x, kernel_shape=[2, 2], strides=[stride] * 2, auto_pad="SAME_UPPER")
    for filters in (1024, 1024):
        x = b.activate(b.batchnorm(b.conv(x, filters, 3, bias=False)), "leaky")
    _rename_output(b, b.conv(x, 125), "output")
    return b.model({"input": [batch, 3, size, size]}, {"output": [batch, 125, size // 32, size // 32]})


def yolov8n(batch: int = 1, size: int = 640) -> onnx.ModelProto:
    """YOLOv8n (Ultralytics 2023), exported form with decoded boxes; 8.7 GFLOP at 640."""
    b = Builder()

    def cbs(x: str, filters: int, kernel: int = 1, stride: int = 1) -> str:
        return b.conv(x, filters, kernel, stride, act="silu")

    def c2f(x: str, filters: int, repeats: int, shortcut: bool) -> str:
        half = filters // 2
        x = cbs(x, filters)
        parts = b.node("Split", x, b.constant([half, half], np.int64), outputs=2, channels=half, axis=1)
        for _ in range(repeats):
            y = cbs(cbs(parts[-1], half, 3), half, 3)
            parts.append(b.node("Add", parts[-1], y) if shortcut else y)
        return cbs(b.node("Concat", *parts, axis=1, channels=half * len(parts)), filters)

    def up_concat(x: str, skip: str) -> str:
        up = b.node("Resize", x, "", b.constant([1, 1, 2, 2]), mode="nearest", nearest_mode="floor",
                    coordinate_transformation_mode="asymmetric")
        return concat(up, skip)

    def concat(*parts: str) -> str:
        return b.node("Concat", *parts, axis=1, channels=sum(b._channels[part] for part in parts))

    x = cbs(cbs(b.input("images", 3), 16, 3, 2), 32, 3, 2)
    x = c2f(x, 32, 1, True)
    p3 = c2f(cbs(x, 64, 3, 2), 64, 2, True)
    p4 = c2f(cbs(p3, 128, 3, 2), 128, 2, True)
    x = c2f(cbs(p4, 256, 3, 2), 256, 1, True)
    pooled = [cbs(x, 128)]
    for _ in range(3):
        pooled.append(b.node("MaxPool", pooled[-1], kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4))
    p5 = cbs(concat(*pooled), 256)
    n4 = c2f(up_concat(p5, p4), 128, 1, False)
    n3 = c2f(up_concat(n4, p3), 64, 1, False)
    n4 = c2f(concat(cbs(n3, 64, 3, 2), n4), 128, 1, False)
    n5 = c2f(concat(cbs(n4, 128, 3, 2), p5), 256, 1, False)
    cells = sum((size // stride) ** 2 for stride in (8, 16, 32))
    heads = []
    for feature, stride in ((n3, 8), (n4, 16), (n5, 32)):
        box = b.conv(cbs(cbs(feature, 64, 3), 64, 3), 64)
        cls = b.conv(cbs(cbs(feature, 80, 3), 80, 3), 80)
        shape = b.constant([batch, 144, (size // stride) ** 2], np.int64)
        heads.append(b.node("Reshape", concat(box, cls), shape))
    joined = b.node("Concat", *heads, axis=2)
    _rename_output(b, _yolov8_boxes(b, joined, batch, size, cells), "output0")
    return b.model({"images": [batch, 3, size, size]}, {"output0": [batch, 84, cells]})


def _yolov8_boxes(b: Builder, joined: str, batch: int, size: int, cells: int) -> str:
    """The distribution focal loss head: expectation over 16 bins per side, then centre and size in pixels."""
    box, cls = b.node("Split", joined, b.constant([64, 80], np.int64), outputs=2, axis=1)
    bins = b.node("Reshape", box, b.constant([batch, 4, 16, cells], np.int64))
    bins = b.node("Softmax", b.node("Transpose", bins, perm=[0, 2, 1, 3]), axis=1)
    sides = b.node("Conv", bins, b.constant(np.arange(16.0).reshape(1, 16, 1, 1)), kernel_shape=[1, 1])
    sides = b.node("Reshape", sides, b.constant([batch, 4, cells], np.int64))
    left_top, right_bottom = b.node("Split", sides, b.constant([2, 2], np.int64), outputs=2, axis=1)
    grids, strides = [], []
    for stride in (8, 16, 32):
        side = np.arange(size // stride) + 0.5
        grids.append(np.stack(np.meshgrid(side, side), 0).reshape(2, -1))
        strides.append(np.full(grids[-1].shape[1], float(stride)))
    anchors = b.constant(np.concatenate(grids, 1)[None])
    low = b.node("Sub", anchors, left_top)
    high = b.node("Add", anchors, right_bottom)
    centre = b.node("Div", b.node("Add", low, high), b.constant(2.0))
    boxes = b.node("Concat", centre, b.node("Sub", high, low), axis=1)
    boxes = b.node("Mul", boxes, b.constant(np.concatenate(strides)[None]))
    return b.node("Concat", boxes, b.node("Sigmoid", cls), axis=1)


def alexnet(batch: int = 1, size: int = 227) -> onnx.ModelProto:
    """AlexNet as Caffe has it (Krizhevsky et al. 2012), with groups and normalisation; 1.4 GFLOP at 227."""
    b = Builder()

    def pool(y: str) -> str:
        return b.node("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2])

    def normalise(y: str) -> str:
        return b.node("LRN", y, size=5, alpha=1e-4, beta=0.75)

    x = normalise(pool(b.conv(b.input("input", 3), 96, 11, 4, act="relu", pad=0)))
    x = normalise(pool(b.conv(x, 256, 5, groups=2, act="relu")))
    x = b.conv(b.conv(x, 384, 3, act="relu"), 384, 3, groups=2, act="relu")
    x = pool(b.conv(x, 256, 3, groups=2, act="relu"))
    side = (((size - 11) // 4 + 1 - 3) // 2 + 1 - 3) // 2 + 1
    _rename_output(b, _classifier(b, x, (side - 3) // 2 + 1), "output")
    return b.model({"input": [batch, 3, size, size]}, {"output": [batch, 1000]})


def vgg16(batch: int = 1, size: int = 224) -> onnx.ModelProto:
    """VGG-16 (Simonyan and Zisserman 2014); 31 GFLOP at 224."""
    b = Builder()
    x = b.input("input", 3)
    for repeats, filters in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(repeats):
            x = b.conv(x, filters, 3, act="relu")
        x = b.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    _rename_output(b, _classifier(b, x, size // 32), "output")
    return b.model({"input": [batch, 3, size, size]}, {"output": [batch, 1000]})


def _classifier(b: Builder, x: str, side: int) -> str:
    """Three fully connected layers as convolutions, the first over the whole picture, of ``side`` pixels."""
    x = b.conv(b.conv(x, 4096, side, act="relu", pad=0), 4096, act="relu")
    return b.node("Softmax", b.node("Flatten", b.conv(x, 1000)), axis=1)


NETWORKS: dict[str, Callable[..., onnx.ModelProto]] = {
    "mobilenetv2": mobilenetv2,
    "squeezenet": squeezenet,
    "resnet50": resnet50,
    "tiny_yolov2": tiny_yolov2,
    "yolov8n": yolov8n,
}

WRITTEN_BY_NAME: dict[str, Callable[..., onnx.ModelProto]] = {"alexnet": alexnet, "vgg16": vgg16}
"""What FPGA accelerators are compared by; large files (240 and 550 MB), so that they are written only if named."""


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Write networks with random weights as ONNX files.")
    parser.add_argument("folder", type=Path)
    text = f"all of {', '.join(NETWORKS)} by default; also {', '.join(WRITTEN_BY_NAME)}"
    parser.add_argument("names", nargs="*", help=text)
    options = parser.parse_args(arguments)
    known = {**NETWORKS, **WRITTEN_BY_NAME}
    unknown = set(options.names) - set(known)
    if unknown:
        parser.error(f"there is no network {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    target = options.folder
    target.mkdir(parents=True, exist_ok=True)
    for name in options.names or NETWORKS:
        onnx.save(known[name](), target / f"{name}.onnx")
        print(target / f"{name}.onnx")


if __name__ == "__main__":
    main(sys.argv[1:])
