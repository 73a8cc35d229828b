"""The environment a runtime's process is started with, and the machine it is measured on."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import platform
import subprocess
from pathlib import Path

from benchmarks.peers.jobs import Job, PeerError
from benchmarks.peers.runtimes import RUNTIMES, Runtime, ncnn_files
from clnn.devices import naming
from clnn.devices.info import DeviceInfo
from clnn.runtime import discovery, drivers, loader, trial

CONVERSION_LIMIT_S = 300


def installed(runtime: Runtime) -> bool:
    """Whether the module can be found; it is not imported."""
    return importlib.util.find_spec(runtime.module) is not None


def device(name: str) -> DeviceInfo:
    """The one OpenCL device that ``name`` names, as clnn's ``--device`` does."""
    return discovery.named(name)[0]


def variables(runtime: Runtime, info: DeviceInfo, threads: int, folder: Path) -> dict[str, str]:
    """Environment variables that let ``runtime`` find the OpenCL device and use ``threads`` threads.

    ``folder`` is for the file that registers the device's driver, so that no other one is loaded.

    Raises:
        PeerError: the runtime could not use that device.
    """
    if not runtime.opencl:
        return {}
    driver = naming.driver_of(info)
    if info.id != f"{driver}:0":
        raise PeerError(f"it is only timed on a driver's first device, not on {info.id}")
    vendors = folder / "vendors"
    vendors.mkdir(exist_ok=True)
    (vendors / f"{driver}.icd").write_text(_driver_library(driver) + "\n")
    library = _opencl_library()
    settings = {
        "OCL_ICD_VENDORS": str(vendors),
        "PYOPENCL_HOME": str(vendors),  # pyopencl's loader would add the drivers beside its own libraries
        "POCL_AFFINITY": os.environ.get("POCL_AFFINITY", "1"),  # as clnn has it
        "OPENCV_OPENCL_RUNTIME": library,
        "OPENCV_OPENCL_DEVICE": f":{info.kind.upper()}:",
        "OPENCV_DNN_OPENCL_ALLOW_ALL_DEVICES": "1",  # on a CPU device it would go over to its own code
        "OPENCL_PATH": library,
        "DEV": "CL",
    }
    if driver in loader.THREAD_VARIABLES:
        settings[loader.THREAD_VARIABLES[driver]] = str(threads)
    return settings


def _driver_library(driver: str) -> str:
    for report in trial.reports(drivers.find()):
        if any(naming.alias(facts["platform"]) == driver for facts in report.facts):
            return report.driver.library
    raise PeerError(f"the library of the driver {driver} is not known")


def _opencl_library() -> str:
    """The ICD loader: that of pyopencl's wheel, else the system's."""
    spec = importlib.util.find_spec("pyopencl")
    bundled = sorted(Path(spec.origin).parent.glob(".libs/libOpenCL*")) if spec and spec.origin else []
    library = str(bundled[0]) if bundled else ctypes.util.find_library("OpenCL")
    if not library:
        raise PeerError("no OpenCL loader is found")
    return library


def convert(name: str, job: Job) -> None:
    """Make what the runtime ``name`` loads of the ONNX file, beside it, where it cannot load ONNX.

    Raises:
        PeerError: the converter is not there, or fails.
    """
    if RUNTIMES[name].module != "ncnn":
        return
    spec = importlib.util.find_spec("pnnx")
    program = Path(spec.origin).parent / "pnnx" if spec and spec.origin else None
    if program is None or not program.is_file():
        raise PeerError("its converter is not installed; run: pip install --no-deps pnnx (it works without torch)")
    command = [str(program), job.model, "fp16=0"]
    folder = Path(job.model).parent
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=CONVERSION_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"pnnx takes longer than {CONVERSION_LIMIT_S} s") from error
    if done.returncode or not all(Path(file).is_file() for file in ncnn_files(job.model)):
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise PeerError(f"pnnx fails: {lines[-1]}")


def machine(info: DeviceInfo) -> str:
    """Processor, cores and the OpenCL device, in one line."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{processor}, {os.cpu_count()} cores; OpenCL device {info.id} ({info.name}), {info.platform} {info.driver}"
