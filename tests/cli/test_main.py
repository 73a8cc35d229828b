"""The command itself: usage, exit codes, streams; and `clnn devices`, `clnn doctor`. Through subprocesses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import pytest

from clnn import env
from clnn.cli import common, main
from clnn.version import VERSION


def clnn(*arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``clnn`` and check its exit code; a failure is one line on stderr."""
    done = subprocess.run([sys.executable, "-m", "clnn", *arguments], capture_output=True, text=True, timeout=300,
                          env={**os.environ, **environment}, check=False)
    assert done.returncode == code, done.stderr
    if code:
        errors = [line for line in done.stderr.splitlines() if line.startswith("clnn: error: ")]
        assert len(errors) == 1, done.stderr
        assert "Traceback" not in done.stderr
    return done


once = cache(clnn)
"""The same, for what is looked at for each device but does not depend on it."""


@pytest.fixture
def no_drivers(tmp_path) -> Iterator[dict[str, str]]:
    """An environment without any OpenCL driver."""
    folder = tmp_path / "vendors"
    folder.mkdir()
    return {"OCL_ICD_VENDORS": str(folder), env.DEVICES.name: ""}


def test_version_and_help():
    assert clnn("--version").stdout == f"clnn {VERSION}\n"
    listed = clnn("--help").stdout
    for name in main.COMMANDS:
        assert name in listed
        assert "--json" in clnn(name, "--help").stdout


@pytest.mark.parametrize("arguments", [("frobnicate",), ("devices", "--frobnicate"), ("devices", "extra"), ("bench",)])
def test_usage_errors(arguments):
    done = clnn(*arguments, code=2)
    assert "--help'" in done.stderr
    assert done.stdout == ""


def test_devices(clnn_device):
    listed = json.loads(once("devices", "--json").stdout)
    (own,) = [device for device in listed if device["id"] == clnn_device]
    assert own["verdict"] == "usable"
    assert own["gflops"] > 0
    assert own["bandwidth_gbs"] > 0
    assert {"kind", "name", "driver", "compute_units", "global_mem", "pipes", "fp16", "subdevices"} <= set(own)
    table = once("devices").stdout
    assert clnn_device in table
    assert "GFLOP/s" in table.splitlines()[0]


def test_independence():
    usable = [info["id"] for info in json.loads(once("devices", "--json").stdout)
              if info["verdict"] == "usable" and not info["interpreter"]]
    if len(usable) < 2:
        pytest.skip("needs two devices")
    pair = usable[:2]
    found = json.loads(clnn("devices", "--independent", ",".join(pair), "--json").stdout)
    assert list(found["alone_ms"]) == pair
    assert found["efficiency"] == max(found["alone_ms"].values()) / found["together_ms"]
    assert found["verdict"] == ("independent" if found["efficiency"] >= found["threshold"] else "time-shared")
    assert found["verdict"] in clnn("devices", "--independent", ",".join(pair)).stdout or found["other_cores"] > 0.1
    clnn("devices", "--independent", pair[0], code=2)
    clnn("devices", "--independent", ",".join(pair), "--device", pair[0], code=2)


def test_devices_that_are_named(clnn_device, tmp_path):
    listed = json.loads(clnn("devices", "--json", "--device", clnn_device).stdout)
    assert [device["id"] for device in listed] == [clnn_device]
    file = tmp_path / "mine.yaml"
    file.write_text(f"version: 1\nplatforms:\n  desk:\n    devices:\n      - {{id: worker, select: '{clnn_device}'}}\n")
    listed = json.loads(clnn("devices", "--json", "--platforms", str(file), "--platform", "desk").stdout)
    assert [(device["id"], device["gflops"] > 0) for device in listed] == [("worker", True)]
    assert f"{file}, entry desk" in clnn("doctor", "--platforms", str(file), "--platform", "desk").stdout


def test_a_platforms_file_with_a_mistake(tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("version: 1\nplatforms:\n  desk:\n    colour: red\n")
    done = clnn("devices", "--platforms", str(file), code=2)
    assert f"{file}:4: platforms.desk.colour: unknown key" in done.stderr
    assert f"BAD  platforms: {file}:4" in clnn("doctor", "--platforms", str(file)).stdout


def test_doctor(clnn_device):
    checkup = json.loads(once("doctor", "--json").stdout)
    assert checkup["ready"]
    assert any(clnn_device in finding["subject"] for finding in checkup["findings"])
    assert "A device is ready." in once("doctor").stdout


def test_without_a_driver(no_drivers, tmp_path):
    assert "no OpenCL driver" in clnn("devices", **no_drivers).stdout
    done = subprocess.run([sys.executable, "-m", "clnn", "doctor", "--json"], capture_output=True, text=True,
                          env={**os.environ, **no_drivers}, check=False, timeout=300)
    assert done.returncode == 4
    checkup = json.loads(done.stdout)
    assert not checkup["ready"]
    assert any("apt-get install pocl-opencl-icd" in finding["remedy"] for finding in checkup["findings"])


def test_a_dead_registration_is_listed_with_its_remedy(no_drivers, tmp_path):
    (tmp_path / "vendors" / "dead.icd").write_text("/opt/gone/libgone.so\n")
    done = clnn("devices", **no_drivers)
    assert "/opt/gone/libgone.so, which does not exist" in done.stdout
    assert "broken" in done.stdout


@pytest.mark.skipif(os.name != "posix", reason="POSIX pipes")
def test_a_reader_that_stops_early_is_no_error():
    piped = f'"{sys.executable}" -m clnn devices --json --quiet | true; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(piped, shell=True, executable="/bin/bash", capture_output=True, text=True, check=False,
                          timeout=300)
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux' device that is always full")
@pytest.mark.parametrize("arguments", [("models",), ("models", "--json")])
def test_results_that_cannot_be_written_are_told(arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "clnn", *arguments], stdout=full, stderr=subprocess.PIPE,
                              text=True, check=False, timeout=300)
    assert done.returncode == 5
    assert "clnn: error: standard output cannot be written" in done.stderr
    assert "Exception" not in done.stderr


def test_a_closed_stdout_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main.run(["models"]) == 0


def test_json_has_no_numbers_that_json_does_not_know(capsys):
    common.say_json({"a": [float("nan"), 1.5], "b": float("-inf")})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {"a": [None, 1.5], "b": None}


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (ValueError("two\nlines"), 1), (MemoryError(), 7)],
)
def test_what_ends_a_command_gives_its_exit_code(monkeypatch, capsys, error, code):
    def fail(*_):
        raise error

    monkeypatch.setattr("clnn.cli.devices.common.start", fail)
    assert main.run(["devices"]) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("clnn: error: ")


def test_every_error_has_its_exit_code(monkeypatch, capsys):
    from clnn import errors

    documented = {"UsageError": 2, "ModelError": 3, "DeviceError": 4, "InputError": 5, "ComparisonError": 6,
                  "ResourceError": 7, "ClnnError": 1}
    for name, code in documented.items():
        for kind in (getattr(errors, name), *getattr(errors, name).__subclasses__()):
            if name == "ClnnError" and kind is not errors.ClnnError:
                continue

            def fail(*_, kind=kind):
                raise kind("what, where\nand why")

            monkeypatch.setattr("clnn.cli.devices.common.start", fail)
            assert main.run(["devices"]) == code
            assert capsys.readouterr().err == "clnn: error: what, where and why\n"
