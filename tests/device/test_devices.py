"""Discovery, selection and calibration on the devices of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import clnn
from clnn import env
from clnn.errors import NoDeviceError, UsageError
from clnn.runtime import calibration, discovery, drivers, loader, selection, trial


def test_every_device_runs_the_probe(clnn_device):
    (info,) = [info for info in clnn.devices() if info.id == clnn_device]
    assert info.usable
    assert info.compute_units >= 1
    assert info.alignment >= 16
    assert info.global_mem >= info.local_mem > 0


def test_a_device_opens_once(clnn_device):
    first, second = (selection.select(clnn_device)[0] for _ in range(2))
    assert first.context is second.context
    assert first.device in first.context.devices
    assert first.info.id == clnn_device


def test_platforms_do_not_share_a_context(clnn_device):
    for info in clnn.devices():
        if info.usable and not info.interpreter:
            opened = discovery.open_device(info)
            assert {device.platform.name for device in opened.context.devices} == {opened.device.platform.name}


def test_an_entry_of_platforms_yaml_renames_and_hints(clnn_device, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("version: 1\ndefault: one\nplatforms:\n  one:\n    devices:\n"
                    f"      - {{id: brick, select: '{clnn_device}', hint: {{gflops: 7, bandwidth_gbs: 3}}}}\n"
                    "  none: {}\n")
    for reference in (f"{file}", f"{file}#one"):
        (opened,) = selection.select(platforms=reference)
        assert (opened.info.id, opened.info.gflops, opened.info.bandwidth_gbs) == ("brick", 7, 3)
        assert selection.select("brick", reference)[0].info.id == "brick"
        assert selection.select(clnn_device, reference)[0].info.id == clnn_device
    assert selection.select(platforms=f"{file}#none")
    with pytest.raises(UsageError, match="there is no platform 'two'"):
        selection.select(platforms=f"{file}#two")
    with pytest.raises(NoDeviceError):
        selection.select("brick", f"{file}#none")


def test_calibration_is_kept(clnn_device, tmp_path):
    (opened,) = selection.select(clnn_device)
    measured = calibration.measure(opened, refresh=True, cache_dir=tmp_path)
    assert measured.gflops > 0.1
    assert measured.bandwidth_gbs > 0.1
    kept = calibration.measure(opened, cache_dir=tmp_path)
    assert (kept.gflops, kept.bandwidth_gbs) == (measured.gflops, measured.bandwidth_gbs)
    (entry,) = (tmp_path / "calibration").iterdir()
    entry.write_bytes(entry.read_bytes()[:-5])
    assert calibration.known(opened.info, tmp_path).gflops == opened.info.gflops


def test_threads_cannot_change_once_a_driver_runs(clnn_device):
    selection.select(clnn_device)
    with pytest.raises(UsageError, match="already running"):
        loader.limit_threads(97)


def test_a_child_that_may_not_take_any_time_is_a_verdict():
    driver = next(driver for driver in drivers.find() if not driver.problem)
    assert "does not finish" in trial.examine(driver, limit_s=0.01).reason


IN_TURN = """
import sys, threading
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
import clnn

random = np.random.default_rng(0)
weights = numpy_helper.from_array(random.standard_normal((4, 3, 3, 3)).astype(np.float32), "w")
graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "one",
                          [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
                          [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [weights])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
x = random.random((1, 3, 8, 8), np.float32)
results, sessions = [], []
for device in sys.argv[1:]:
    sessions.append(clnn.InferenceSession(model, device))
    count = 1 if device.startswith("oclgrind") else 2  # it does not bear kernels that run at once
    threads = [threading.Thread(target=lambda: results.append(sessions[-1].run(None, {"x": x})[0]))
               for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results += [session.run(None, {"x": x})[0] for session in sessions]  # the earlier ones go on
    clnn.devices()
for result in results:
    np.testing.assert_allclose(result, results[0], rtol=1e-5, atol=1e-5)  # fp32, sums of 27 products
libraries = {line.split("/")[-1].split(".")[0] for line in open("/proc/self/maps") if "/" in line}
print(len(results), *sorted({"libpocl", "libintelocl", "liboclgrind-rt-icd"} & libraries))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere all drivers are loaded at once")
def test_drivers_are_loaded_one_by_one_in_any_order():
    usable = {info.id.split(":")[0]: info.id for info in clnn.devices() if info.usable}
    known = [usable[name] for name in ("pocl", "intel", "oclgrind") if name in usable]
    if len(known) < 2:
        pytest.skip("needs two drivers")
    environment = {**os.environ, env.DEVICES.name: "", env.TEST_DEVICES.name: ""}
    for order in (known, known[::-1], known[:1], known[1:2]):
        done = subprocess.run([sys.executable, "-c", IN_TURN, *order], capture_output=True, text=True, check=False,
                              env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        count, *libraries = done.stdout.split()
        assert int(count) >= len(order)
        assert len(libraries) == len(order), "only the drivers of the devices asked for"


LIMITED = """
import json, os, sys
from clnn.runtime import selection
opened = [selection.select(name, threads=1)[0] for name in sys.argv[1:]][-1]
print(json.dumps([opened.info.compute_units, opened.device.max_compute_units, "POCL_AFFINITY" in os.environ]))
"""


def test_a_thread_limit_holds_and_does_not_leak(clnn_device, tmp_path):
    if clnn_device.split(":")[0] not in loader.THREAD_VARIABLES:
        pytest.skip("this driver has no thread limit")
    environment = {name: value for name, value in os.environ.items() if name != "POCL_AFFINITY"}
    done = subprocess.run([sys.executable, "-c", LIMITED, clnn_device], capture_output=True, text=True, check=False,
                          env={**environment, env.DEVICES.name: ""}, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[::2] == [1, False]


def test_a_thread_limit_holds_for_a_driver_that_is_added_later():
    usable = {info.id for info in clnn.devices() if info.usable}
    if not {"pocl:0", "intel:0"} <= usable:
        pytest.skip("needs PoCL, which reads its limit late, and another driver")
    done = subprocess.run([sys.executable, "-c", LIMITED, "intel", "pocl"], capture_output=True, text=True, check=False,
                          env={**os.environ, env.DEVICES.name: ""}, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[1] == 1
