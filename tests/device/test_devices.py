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


LIMITED = """
import json, os, sys
from clnn.runtime import selection
opened = selection.select(sys.argv[1], threads=1)[0]
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
