"""Test beds: sub-devices, slowed devices, memory apart, drivers side by side, and the measure of independence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import clnn
from clnn import env
from clnn.errors import NoDeviceError, UsageError
from clnn.runtime import calibration, discovery, independence, loader, selection
from clnn.runtime.programs import ProgramCache
from tests.device.test_session import picture, small_network


def network() -> onnx.ModelProto:
    """A convolution of 8 channels, a ReLU and a matrix product."""
    random = np.random.default_rng(0)
    weights = [numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
               for name, shape in (("w", (8, 3, 3, 3)), ("m", (14, 5)))]
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["r"]),
             helper.make_node("MatMul", ["r", "m"], ["y"])]
    graph = helper.make_graph(nodes, "small", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def run(device: str, platforms: str | None = None) -> np.ndarray:
    x = np.random.default_rng(1).random((1, 3, 16, 16), np.float32)
    with clnn.InferenceSession(network(), device, platforms=platforms) as session:
        return session.run(None, {"x": x})[0]


@pytest.fixture
def bed(clnn_device, tmp_path):
    """Writes an entry with devices that are made of the one under test; a reference to it."""

    def write(*devices: str) -> str:
        lines = [f"      - {{id: cpu{index}, select: '{clnn_device}', {keys}}}\n" for index, keys in enumerate(devices)]
        file = tmp_path / "bed.yaml"
        file.write_text("version: 1\nplatforms:\n  bed:\n    devices:\n" + "".join(lines))
        return f"{file}#bed"

    return write


@pytest.fixture
def whole(clnn_device):
    return selection.select(clnn_device)[0]


@pytest.fixture
def halves(bed, whole):
    """A reference to an entry with two sub-devices."""
    if not whole.info.subdevices or whole.info.compute_units < 2:
        pytest.skip("this device cannot be cut")
    return bed("subdevice: 0", "subdevice: 1")


def test_sub_devices_share_a_context_and_compute_the_same(halves, whole):
    first, second = selection.select(platforms=halves)
    assert first.context is second.context
    assert first.context is not whole.context
    assert first.device != second.device
    assert [opened.info.compute_units for opened in (first, second)] == [1, 1]
    assert second.info.name == f"{whole.info.name}, sub-device 1 of {whole.info.compute_units}"
    assert selection.select("cpu1", halves)[0].device == second.device
    np.testing.assert_allclose(run("cpu0", halves), run(whole.info.id), rtol=1e-5, atol=1e-5)  # sums of 72 products
    np.testing.assert_array_equal(run("cpu0", halves), run("cpu1", halves))


def test_sub_devices_share_binaries(halves, tmp_path):
    opened = selection.select(platforms=halves)
    for built in (1, 0):
        cache = ProgramCache(tmp_path / "cache")
        for each in opened:
            program = cache.build(each, "calibrate.cl", ("-D", "CHAINS=1"))
            calibrate(each, program)
        assert cache.built in (built, 2 * built), "a driver that compiles at the first launch may do so for each"
        assert cache.store() <= 1
        assert cache.store() == 0


def calibrate(opened, program):
    cl = loader.opencl()
    out = cl.Buffer(opened.context, cl.mem_flags.WRITE_ONLY, 4)
    kernel = cl.Kernel(program, "peak")
    kernel.set_args(out, np.float32(0.5), np.int32(1))
    with cl.CommandQueue(opened.context, opened.device) as queue:
        cl.enqueue_nd_range_kernel(queue, kernel, (1,), (1,))


def test_a_device_that_cannot_be_cut_so_says_it(whole):
    with pytest.raises(NoDeviceError, match="cannot be cut into sub-devices"):
        discovery.open_subdevice(replace(whole.info, subdevices=False), 0, 1)
    if whole.info.subdevices:
        units = whole.info.compute_units
        with pytest.raises(NoDeviceError, match=f"no sub-device {units} of 1 compute unit"):
            discovery.open_subdevice(whole.info, units, 1)


def test_two_names_of_one_device_clash(clnn_device, bed):
    reference = bed("hint: {}")
    file = reference.removesuffix("#bed")
    driver, _, index = clnn_device.partition(":")
    if index != "0":
        pytest.skip("has one name only")
    with open(file, "a", encoding="utf-8") as text:
        text.write(f"      - {{id: cpu1, select: {driver}}}\n")
    with pytest.raises(UsageError, match=f"'cpu0' and 'cpu1' are both {clnn_device}"):
        selection.select(platforms=reference)


def test_a_slowdown_divides_the_figures(bed, whole, tmp_path):
    (opened,) = selection.select(platforms=bed("slowdown: 4, hint: {gflops: 8, bandwidth_gbs: 2}"))
    assert (opened.info.slowdown, opened.info.gflops, opened.info.bandwidth_gbs) == (4, 2, 0.5)
    measured = calibration.measure(whole, refresh=True, cache_dir=tmp_path)
    slowed = calibration.measure(opened, cache_dir=tmp_path)
    assert (slowed.gflops, slowed.bandwidth_gbs) == (measured.gflops / 4, measured.bandwidth_gbs / 4)


def test_a_stream_overlaps_copies_where_memory_is_apart(bed, whole):
    pictures = [picture() for _ in range(12)]
    with clnn.InferenceSession(small_network(), policy="batch", platforms=bed("memory: separate")) as session:
        results = list(session.run_many(None, ({"x": each} for each in pictures)))
        for each, (got,) in zip(pictures, results, strict=True):
            np.testing.assert_array_equal(got, session.run(None, {"x": each})[0])


def test_memory_can_be_kept_apart(bed, whole):
    apart = bed("memory: separate")
    assert not selection.select(platforms=apart)[0].info.host_memory
    np.testing.assert_array_equal(run("cpu0", apart), run(whole.info.id))
    shared = bed("memory: shared")
    if whole.info.host_memory:
        assert selection.select(platforms=shared)[0].info.host_memory
    else:
        with pytest.raises(UsageError, match="memory of its own"):
            selection.select(platforms=shared)


THREADS = """
import json, os
from clnn.runtime import selection
before = set(os.listdir("/proc/self/task"))
cores = os.sched_getaffinity(0)
opened = selection.select(platforms="#bed-two-drivers")
assert os.sched_getaffinity(0) == cores
print(json.dumps([sorted(os.sched_getaffinity(int(task))) for task in set(os.listdir("/proc/self/task")) - before]))
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or (os.cpu_count() or 1) < 2, reason="needs cores to choose")
def test_limited_drivers_do_not_share_cores():
    usable = {info.id for info in clnn.devices() if info.usable}
    if not {"pocl:0", "intel:0"} <= usable:
        pytest.skip("needs the drivers of the bed")
    environment = {name: value for name, value in os.environ.items() if name != "POCL_AFFINITY"}
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=False,
                          env={**environment, env.DEVICES.name: ""}, timeout=300)
    assert done.returncode == 0, done.stderr
    threads = json.loads(done.stdout)
    assert [0] in threads, "PoCL's"
    threads.remove([0])
    assert threads, "Intel's"
    assert all(0 not in cores for cores in threads)


def test_independence_is_measured(clnn_device, monkeypatch):
    monkeypatch.setattr(independence, "_ROUNDS", 1)
    (opened,) = selection.select(clnn_device)
    twin = replace(opened, info=replace(opened.info, id="twin"))
    found = independence.measure([opened, twin])
    assert list(found.alone_ms) == [clnn_device, "twin"]
    assert min(found.alone_ms.values()) > 0
    assert found.together_ms > 0
    assert found.other_cores >= 0
