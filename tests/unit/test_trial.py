"""Trying drivers in child processes: children that crash, hang, lie or answer; no OpenCL."""

from __future__ import annotations

import json
import os
import time

import pytest

from clnn import env
from clnn.runtime import probe, scratch, trial
from clnn.runtime.drivers import Driver

FACTS = {"name": "a device", "platform": "Portable Computing Language", "platform_version": "1", "driver": "1"}
DRIVER = Driver("fake", "libfake.so", "fake.icd")

PRELUDE = f"""
import json, os, sys, time
request = json.load(sys.stdin)
def say(**answer): print({probe.MARK!r} + json.dumps(answer), flush=True)
def devices(count): say(devices=[{FACTS!r}] * count, reason="")
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Replaces the probe by a script; returns how to set it and a count of how often it ran."""
    monkeypatch.setenv(env.CACHE_DIR.name, str(tmp_path / "cache"))
    monkeypatch.setattr(scratch, "_current", None)
    runs = tmp_path / "runs"
    script = tmp_path / "probe.py"
    monkeypatch.setattr(probe, "__file__", str(script))

    def use(body: str) -> None:
        runs.write_text("")
        script.write_text(f"{PRELUDE}\nopen({str(runs)!r}, 'a').write('x')\n{body}\n")

    use.count = lambda: len(runs.read_text())
    return use


def examine(limit_s: float = 30.0) -> trial.Report:
    return trial.examine(DRIVER, limit_s)


def test_a_good_device(child):
    child("print('driver chatter'); devices(1); say(verdict='')")
    report = examine()
    assert (report.reasons, report.reason, report.broken) == ([""], "", False)
    assert report.facts == [FACTS]


def test_each_device_has_a_child_of_its_own(child):
    child("devices(3); say(verdict='' if request['index'] != 1 else 'computes a wrong result')")
    assert examine().reasons == ["", "computes a wrong result", ""]
    assert child.count() == 3


def test_a_crash_breaks_one_device_only(child):
    child("devices(2)\nif request['index'] == 0: os.abort()\nsay(verdict='')")
    first, second = examine().reasons
    assert second == ""
    assert ("SIGABRT" if os.name == "posix" else "ends the process") in first


def test_a_crash_while_listing_breaks_the_driver(child):
    child("print('cannot go on', file=sys.stderr); sys.stderr.flush(); os.abort()")
    report = examine()
    assert report.facts == []
    assert "cannot go on" in report.reason


def test_a_hang_ends_at_the_limit(child):
    child("devices(1); time.sleep(600)")
    start = time.monotonic()
    report = examine(limit_s=1.0)
    assert time.monotonic() - start < 20
    assert report.reasons == ["does not finish the probe kernel within 1 s"]
    assert report.hung


def test_an_exit_code_and_silence_are_verdicts(child):
    child("devices(1); sys.exit(7)")
    assert "code 7" in examine().reasons[0]
    child("devices(1)")
    assert "gives no answer" in examine().reasons[0]
    child("")
    assert "gives no answer" in examine().reason


def test_no_platform_and_an_exception_are_told(child):
    child("say(devices=[], reason='libtbb.so: cannot open shared object file')")
    assert "libtbb" in examine().reason
    child("devices(1); say(failed='MemoryError: ')")
    assert examine().reasons == ["fails: MemoryError: "]


def test_no_interpreter_to_start_is_told(child, monkeypatch):
    monkeypatch.setattr(trial.sys, "executable", os.path.join("no", "such", "python"))
    assert "cannot be tried" in examine().reason


def test_a_driver_with_a_problem_is_not_tried(child):
    child("devices(1); say(verdict='')")
    report = trial.examine(Driver("dead", "/gone.so", "dead.icd", "names /gone.so, which does not exist"))
    assert "does not exist" in report.reason
    assert child.count() == 0


def test_a_verdict_is_kept_until_the_driver_changes_or_a_refresh(child):
    child("devices(1); say(verdict='hangs')")
    first = trial.reports([DRIVER])
    assert trial.reports([DRIVER]) == first
    assert child.count() == 1
    trial.reports([Driver("fake", "libfake.so", "elsewhere.icd")])
    assert child.count() == 2
    child("devices(1); say(verdict='')")
    assert trial.reports([DRIVER], refresh=True)[0].reasons == [""]
    assert trial.reports([DRIVER])[0].reasons == [""]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_being_killed_is_not_held_against_a_driver(child):
    child("devices(1); os.kill(os.getpid(), 9)")
    assert "was killed" in trial.reports([DRIVER])[0].reasons[0]
    child("devices(1); say(verdict='')")
    assert trial.reports([DRIVER])[0].reasons == [""]


def test_a_damaged_verdict_is_taken_again(child, tmp_path):
    child("devices(1); say(verdict='')")
    trial.reports([DRIVER])
    (entry,) = (tmp_path / "cache" / "probe").iterdir()
    entry.write_bytes(entry.read_bytes().replace(b'""', b'"x"'))
    assert trial.reports([DRIVER])[0].reasons == [""]
    assert child.count() == 2


def test_the_child_sees_one_driver_and_throw_away_caches(child, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/nonexistent")
    child(
        "devices(1); say(verdict=json.dumps([os.listdir(request['icd']) if request['icd'] else None,"
        " os.environ['POCL_CACHE_DIR'], sys.flags.isolated, request['source'][:2]]))"
    )
    listed, cache, isolated, source = json.loads(examine().reasons[0])
    assert listed == ["driver.icd"]
    assert not os.path.exists(cache)
    assert (isolated, source) == (1, "/*")


def test_without_pyopencl_nothing_is_held_against_the_driver(child):
    child("say(devices=[], reason=f'{UNTRIED}: No module named pyopencl')".replace("{UNTRIED}", probe.UNTRIED))
    for asked in (1, 2):
        (report,) = trial.reports([DRIVER])
        assert report.reason.startswith(probe.UNTRIED)
        assert child.count() == asked
