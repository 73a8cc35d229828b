"""Speed of single convolutions and matrix products: the kernel alone, beside onnxruntime and the processor's peak.

    python benchmarks/gemm.py [--device NAME] [--only TEXT] [--seconds S] [--threads N]

Prints GFLOP/s of each layer on the OpenCL device (arguments bound, data on the device, several launches per wait), its
share of the peak, and GFLOP/s of onnxruntime's session for the same layer, run in turn with it. The peak is that of a C
loop of fused multiply-adds on as many threads, compiled with the system's C compiler and run before and after; without
one it is the device's own calibration. The least of many times counts, which other programs disturb least.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

# Unpinned, both threads of PoCL often land on one core. Set before a driver is loaded.
os.environ.setdefault("POCL_AFFINITY", "1")

from clnn import frontend
from clnn.kernels import Local
from clnn.plan import Run
from clnn.planning import plan_graph
from clnn.runtime import calibration, programs, selection
from clnn.runtime.discovery import OpenDevice
from clnn.runtime.loader import opencl
from clnn.runtime.memory import ArenaBuffers, upload

FMA_LOOP = Path(__file__).with_name("fma.c")
WINDOW_FLOPS = 200_000_000
"""Work between two waits for the device, about 1 ms: a network does not wait after each small layer."""


@dataclass(frozen=True)
class Layer:
    """A convolution with Relu over ``size``² pixels, padded by half its kernel, or a matrix product."""

    size: int
    channels_in: int
    channels_out: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1

    @property
    def flops(self) -> int:
        out = (self.size + self.stride - 1) // self.stride
        return 2 * out**2 * self.channels_out * self.channels_in // self.groups * self.kernel**2

    def model(self) -> onnx.ModelProto:
        weights = (self.channels_out, self.channels_in // self.groups, self.kernel, self.kernel)
        attrs = {"strides": [self.stride] * 2, "pads": [self.kernel // 2] * 4, "group": self.groups}
        nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], **attrs), helper.make_node("Relu", ["c"], ["y"])]
        return _model(nodes, (1, self.channels_in, self.size, self.size), {"w": weights, "b": weights[:1]})


@dataclass(frozen=True)
class Matrices:
    """A product of ``rows`` × ``depth`` and a constant ``depth`` × ``columns``."""

    rows: int
    columns: int
    depth: int

    @property
    def flops(self) -> int:
        return 2 * self.rows * self.columns * self.depth

    def model(self) -> onnx.ModelProto:
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
        return _model(nodes, (self.rows, self.depth), {"w": (self.depth, self.columns)})


LAYERS = {
    "GEMM 1024³": Matrices(1024, 1024, 1024),
    "GEMM 64×6400×576": Matrices(6400, 64, 576),
    "GEMM 128×1600×1152": Matrices(1600, 128, 1152),
    "GEMM 256×400×2304": Matrices(400, 256, 2304),
    "GEMM 16×102400×27": Matrices(102400, 16, 27),
    "GEMM 128×1600×128": Matrices(1600, 128, 128),
    "3×3 64→64 80²": Layer(80, 64, 64, 3),
    "3×3 128→128 40²": Layer(40, 128, 128, 3),
    "3×3 256→256 20²": Layer(20, 256, 256, 3),
    "3×3 s2 3→16 640²": Layer(640, 3, 16, 3, 2),
    "3×3 3→16 416²": Layer(416, 3, 16, 3),
    "7×7 s2 3→64 224²": Layer(224, 3, 64, 7, 2),
    "3×3 512→512 7²": Layer(7, 512, 512, 3),
    "3×3 512→1024 13²": Layer(13, 512, 1024, 3),
    "1×1 256→64 56²": Layer(56, 256, 64),
    "1×1 64→256 56²": Layer(56, 64, 256),
    "1×1 2048→512 7²": Layer(7, 2048, 512),
    "depthwise 3×3 32 112²": Layer(112, 32, 32, 3, 1, 32),
    "depthwise 3×3 s2 96 112²": Layer(112, 96, 96, 3, 2, 96),
    "depthwise 3×3 576 14²": Layer(14, 576, 576, 3, 1, 576),
    "depthwise 5×5 240 14²": Layer(14, 240, 240, 5, 1, 240),
    "groups 3: 1×1 240→240 28²": Layer(28, 240, 240, 1, 1, 3),
}


def _model(nodes: list, x: tuple[int, ...], constants: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    random = np.random.default_rng(0)
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(random.standard_normal(shape, np.float32), name) for name, shape in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def on_device(model: onnx.ModelProto, opened: OpenDevice, launches: int) -> tuple[Callable[[], None], str]:
    """A function that runs the layer ``launches`` times and waits, and how the layer is computed."""
    cl = opencl()
    plan = plan_graph(frontend.load(model), {"x": _shape(model)}, [opened.info])
    arena = ArenaBuffers(plan.arenas[opened.info.id], {opened.info.id: opened})
    buffers = dict(arena.of[opened.info.id])
    for name, array in plan.constants[opened.info.id].items():
        buffers[name] = upload(opened.context, array, opened.info.host_memory)
    queue = cl.CommandQueue(opened.context, opened.device)
    (node,) = [node for node in plan.graph.nodes if node.op in ("Conv", "MatMul")]
    (launch,) = [step.launch for step in plan.steps if isinstance(step, Run) and step.node == node.name]
    program = programs.shared().build(opened, launch.kernel.source, launch.options)
    kernel = cl.Kernel(program, launch.kernel.name)
    for index, arg in enumerate(launch.args):
        local = isinstance(arg, Local)
        convert = {str: buffers.get, int: np.int32, float: np.float32}.get(type(arg), lambda none: None)
        kernel.set_arg(index, cl.LocalMemory(arg.nbytes) if local else convert(arg))
    source = np.random.default_rng(1).standard_normal(np.prod(_shape(model))).astype(np.float32)
    cl.enqueue_copy(queue, buffers[launch.args[0]], source)

    def run(keep_alive: object = buffers) -> None:  # a kernel does not hold the buffers that are its arguments
        for _ in range(launches):
            cl.enqueue_nd_range_kernel(queue, kernel, launch.global_size, launch.local_size)
        queue.finish()

    return run, plan.lowered.lowered[node.name].choice


def in_onnxruntime(model: onnx.ModelProto, threads: int) -> Callable[[], None]:
    """A function that runs the layer once in onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    x = onnxruntime.OrtValue.ortvalue_from_numpy(np.ones(_shape(model), np.float32))
    return lambda: session.run_with_ort_values(None, {"x": x})


def _shape(model: onnx.ModelProto) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim)


def peak_gflops(opened: OpenDevice, threads: int) -> float:
    """GFLOP/s of the C loop on ``threads`` threads, or the device's calibration where it cannot be compiled."""
    compiler = shutil.which("cc")
    if compiler is None:
        return opened.info.gflops
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder, "fma"))
        try:
            flags = ["-O2", "-march=native", "-pthread"]
            subprocess.run([compiler, *flags, str(FMA_LOOP), "-o", program], check=True, capture_output=True)
            return float(subprocess.run([program, str(threads)], check=True, capture_output=True, text=True).stdout)
        except subprocess.CalledProcessError:
            return opened.info.gflops


def least_seconds(*runs: Callable[[], None], seconds: float) -> list[float]:
    """The least time of each function, called in turn for ``seconds``."""
    best = [float("inf")] * len(runs)
    for run in runs:
        run()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for index, run in enumerate(runs):
            start = time.perf_counter()
            run()
            best[index] = min(best[index], time.perf_counter() - start)
    return best


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", help="as clnn's --device")
    parser.add_argument("--only", default="", help="layers whose name holds this text")
    parser.add_argument("--seconds", type=float, default=2.0, help="per layer")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of onnxruntime and of the C loop")
    options = parser.parse_args(arguments)
    opened = selection.select(options.device, None, options.threads)[0]
    peak = peak_gflops(opened, options.threads)
    calibrated = calibration.measure(opened, refresh=True).gflops
    print(
        f"{opened.info.id} ({opened.info.name}), {options.threads} threads; peak {peak:.0f} GFLOP/s, "
        f"of which the device's calibration reaches {calibrated / peak:.0%}"
    )
    print(f"{'layer':26}{'GFLOP/s':>9}{'of peak':>9}{'µs':>8}   {'onnxruntime':>11}{'µs':>8}{'ratio':>7}   algorithm")
    for name, layer in LAYERS.items():
        if options.only not in name:
            continue
        model = layer.model()
        launches = max(1, WINDOW_FLOPS // layer.flops)
        run, choice = on_device(model, opened, launches)
        ours, peer = least_seconds(run, in_onnxruntime(model, options.threads), seconds=options.seconds)
        ours /= launches
        rate, peer_rate = layer.flops / ours / 1e9, layer.flops / peer / 1e9
        print(
            f"{name:26}{rate:9.1f}{rate / peak:9.0%}{ours * 1e6:8.0f}   "
            f"{peer_rate:11.1f}{peer * 1e6:8.0f}{ours / peer:7.2f}   {choice}",
            flush=True,
        )
    print(f"peak again: {peak_gflops(opened, options.threads):.0f} GFLOP/s")


if __name__ == "__main__":
    main(sys.argv[1:])
