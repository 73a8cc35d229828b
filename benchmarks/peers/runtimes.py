"""How each runtime loads and runs a network in single precision, in a process of its own.

Imported by every worker, so nothing but NumPy and the one runtime is loaded here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers.jobs import Job, PeerError

Run = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]
"""Runs a network once: arrays by input name in, arrays of the caller's own out, in the order of the outputs."""


@dataclass(frozen=True)
class Runtime:
    """A runtime: how it is named in tables, the pip package and module it comes in, and how it loads a network.

    ``load`` gives the function that runs the network, and a version. ``opencl`` marks those that run on an OpenCL
    device and find it by the environment; clnn finds its own.
    """

    title: str
    package: str
    module: str
    load: Callable[[Job], tuple[Run, str]]
    opencl: bool = False


def load_clnn(job: Job) -> tuple[Run, str]:
    import clnn

    session = clnn.InferenceSession(job.model, devices=job.device, options={"threads": job.threads})
    return lambda feeds: session.run(None, feeds), clnn.__version__


def load_onnxruntime(job: Job) -> tuple[Run, str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    session = onnxruntime.InferenceSession(job.model, options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds), onnxruntime.__version__


def load_openvino(job: Job) -> tuple[Run, str]:
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # it would choose bf16 on processors that have it
        "INFERENCE_NUM_THREADS": job.threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    request = openvino.Core().compile_model(job.model, "CPU", settings).create_infer_request()

    def run(feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        request.infer(dict(feeds), share_inputs=True)
        return [request.get_tensor(name).data.copy() for name in job.outputs]

    return run, openvino.__version__.split("-")[0]


def ncnn_files(model: str) -> tuple[str, str]:
    """Where pnnx writes what it makes of an ONNX file: the layers, and the weights."""
    stem = str(Path(model).with_suffix(""))
    return f"{stem}.ncnn.param", f"{stem}.ncnn.bin"


def load_ncnn(job: Job) -> tuple[Run, str]:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = job.threads
    for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):
        if hasattr(net.opt, f"use_{name}"):
            setattr(net.opt, f"use_{name}", False)
    layers, weights = ncnn_files(job.model)
    if net.load_param(layers) or net.load_model(weights):
        raise PeerError("cannot load what pnnx made of the network")
    inputs = dict(zip(job.inputs, net.input_names(), strict=True))
    outputs = net.output_names()
    if len(outputs) != len(job.outputs):
        raise PeerError(f"pnnx made {len(outputs)} outputs of {len(job.outputs)}")

    def run(feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        extractor = net.create_extractor()
        for name, array in feeds.items():
            extractor.input(inputs[name], ncnn.Mat(array, batch_index=0))
        results = []
        for name in outputs:
            status, mat = extractor.extract(name)
            if status:
                raise PeerError(f"extracting '{name}' fails with {status}")
            results.append(np.array(mat.numpy(batch_index=0)))
        return results

    return run, ncnn.__version__


def load_opencv(job: Job) -> tuple[Run, str]:
    import cv2

    if not cv2.ocl.haveOpenCL():
        raise PeerError("cv2 finds no OpenCL")
    cv2.setNumThreads(job.threads)
    # The newer engine knows no OpenCL.
    engine = {"engine": cv2.dnn.ENGINE_CLASSIC} if hasattr(cv2.dnn, "ENGINE_CLASSIC") else {}
    net = cv2.dnn.readNetFromONNX(job.model, **engine)
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.setPreferableTarget(cv2.dnn.DNN_TARGET_OPENCL)
    checked = False

    def run(feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        nonlocal checked
        for name, array in feeds.items():
            net.setInput(array, name)
        results = [np.array(result) for result in net.forward(list(job.outputs))]
        if not checked:  # it may go over to the processor without a word, and does so in the first run
            targets = {net.getLayer(net.getLayerId(name)).preferableTarget for name in net.getLayerNames()}
            if targets != {cv2.dnn.DNN_TARGET_OPENCL}:
                raise PeerError("cv2.dnn does not run the network on OpenCL")
            checked = True
        return results

    return run, cv2.__version__


def load_tinygrad(job: Job) -> tuple[Run, str]:
    from importlib.metadata import version

    from tinygrad import Device, Tensor, TinyJit
    from tinygrad.nn.onnx import OnnxRunner

    if Device.DEFAULT not in ("CL", "GPU"):
        raise PeerError(f"tinygrad chose its device {Device.DEFAULT} in place of OpenCL")
    runner = OnnxRunner(job.model)

    @TinyJit
    def network(*tensors: Tensor) -> list[Tensor]:
        results = runner(dict(zip(job.inputs, tensors, strict=True)))
        return [results[name] for name in job.outputs]

    def run(feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return [tensor.numpy() for tensor in network(*[Tensor(feeds[name]).realize() for name in job.inputs])]

    return run, version("tinygrad")


RUNTIMES: dict[str, Runtime] = {
    "clnn": Runtime("clnn", "clnn", "clnn", load_clnn),
    "onnxruntime": Runtime("onnxruntime", "onnxruntime", "onnxruntime", load_onnxruntime),
    "openvino": Runtime("OpenVINO f32", "openvino", "openvino", load_openvino),
    "ncnn": Runtime("ncnn", "ncnn", "ncnn", load_ncnn),
    "opencv": Runtime("OpenCV OpenCL", "opencv-python-headless", "cv2", load_opencv, opencl=True),
    "tinygrad": Runtime("tinygrad OpenCL", "tinygrad", "tinygrad", load_tinygrad, opencl=True),
}


def peak_rss_bytes() -> int:
    """The most memory that this process has had resident."""
    try:
        # Not getrusage: what it gives begins at the peak of the process that started this one.
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            (line,) = [line for line in file if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    except OSError:
        import resource
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
