"""Runs the probe (:mod:`clnn.runtime.probe`) on a driver's devices and keeps what it found.

A child process per device, with a time limit: a driver that crashes, hangs, miscounts or cannot compile does so there,
and is never loaded here. What came of it is cached by the driver's files, so that later starts only read it.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clnn.kernels import source
from clnn.runtime import cachedir, drivers, probe, scratch
from clnn.runtime.drivers import Driver

log = logging.getLogger(__name__)

LIMIT_S = 60.0  # a cold build of one kernel takes about a second, and the machine may be busy
_FORMAT = "2"
_HUNG = "does not finish the probe kernel"
_KILLED = "was killed"


@dataclass(frozen=True)
class Report:
    """What is known of a driver: facts of each of its devices and why each is broken (``""``: it works).

    ``reason`` says why there is no device at all.
    """

    driver: Driver
    facts: list[dict[str, Any]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    reason: str = ""

    @property
    def broken(self) -> bool:
        """Whether the driver or one of its devices failed."""
        return bool(self.reason) or any(self.reasons)

    @property
    def hung(self) -> bool:
        """Whether trying again would cost the whole time limit."""
        return any(_HUNG in reason for reason in (self.reason, *self.reasons))


def reports(found: list[Driver], refresh: bool = False, limit_s: float = LIMIT_S) -> list[Report]:
    """A report per driver: from the cache, or from children that run side by side.

    ``refresh`` tries those again that failed, and also those that worked.
    """
    store = cachedir.Store("probe")
    known = {driver: None if refresh else _recall(store, driver) for driver in found}
    fresh = [driver for driver, report in known.items() if report is None]
    if fresh:
        log.info("trying %d OpenCL driver(s): %s", len(fresh), ", ".join(driver.name for driver in fresh))
        with ThreadPoolExecutor(max_workers=min(4, len(fresh))) as pool:
            for report in pool.map(lambda driver: examine(driver, limit_s), fresh):
                known[report.driver] = report
                _remember(store, report)
    return [report for report in known.values() if report is not None]


def examine(driver: Driver, limit_s: float = LIMIT_S) -> Report:
    """Try each device of ``driver`` in a child process of its own."""
    if driver.problem:
        return Report(driver, reason=driver.problem)
    facts: list[dict[str, Any]] = []
    reasons: list[str] = []
    while not reasons or len(reasons) < len(facts):
        answers, death = _child(driver, len(reasons), limit_s)
        listed = next((answer for answer in answers if "devices" in answer), None)
        if listed is None or listed["reason"]:
            return Report(driver, reason=death or (listed["reason"] if listed else "gives no answer"))
        facts = listed["devices"]
        verdict = next((answer["verdict"] for answer in answers if "verdict" in answer), None)
        reasons.append(death or "gives no answer" if verdict is None else verdict)
    return Report(driver, facts, reasons)


def _child(driver: Driver, index: int, limit_s: float) -> tuple[list[dict[str, Any]], str]:
    """The child's answers, and what ended it early or ``""``."""
    # Not in the system's folder for temporary files: PoCL loads what it compiles, which that may forbid.
    with tempfile.TemporaryDirectory(dir=scratch.folder(), ignore_cleanup_errors=True) as folder:
        registers = None
        if driver.name != drivers.REGISTRY:
            registers = folder
            Path(folder, "driver.icd").write_text(driver.library + "\n")
        request = {"path": sys.path, "icd": registers, "library": driver.library,
                   "source": source.read("probe.cl"), "index": index}
        # The driver's own caches go where they are thrown away: the probe must see it compile.
        environment = {**os.environ, "POCL_CACHE_DIR": folder, "PYOPENCL_NO_CACHE": "1"}
        # -I: nothing from the working folder or beside the script is importable.
        command = [sys.executable or "python", "-I", probe.__file__]
        try:
            done = subprocess.run(command, input=json.dumps(request).encode(), capture_output=True,
                                  timeout=limit_s, env=environment, check=False)
        except subprocess.TimeoutExpired as error:
            return _answers(error.stdout or b""), f"{_HUNG} within {limit_s:g} s"
        except OSError as error:
            return [], f"cannot be tried: {command[0]} does not start ({error.strerror})"
    answers = _answers(done.stdout)
    failed = next((answer["failed"] for answer in answers if "failed" in answer), "")
    if failed:
        return answers, f"fails: {failed}"
    return answers, _death(done.returncode, done.stderr.decode(errors="replace"))


def _answers(output: bytes) -> list[dict[str, Any]]:
    lines = output.decode(errors="replace").splitlines()
    return [json.loads(line[len(probe.MARK):]) for line in lines if line.startswith(probe.MARK)]


def _death(code: int, errors: str) -> str:
    """What ``code``, a child's exit code, says; POSIX gives minus the signal that ended it."""
    if code == 0:
        return ""
    # The last line comes as the driver aborts, those before may be warnings that it survived.
    line = probe.telling_line(errors, otherwise=-1)
    said = f": {line}" if line else ""
    if code == -getattr(signal, "SIGKILL", 9):
        return f"{_KILLED} while running the probe kernel, perhaps for lack of memory"
    if code < 0:
        return f"crashes on the probe kernel ({signal.Signals(-code).name}){said}"
    return f"ends the process with code {code} on the probe kernel{said}"


def _key(driver: Driver) -> str:
    return cachedir.digest("probe", _FORMAT, driver.signature(), source.read("probe.cl"))


def _recall(store: cachedir.Store, driver: Driver) -> Report | None:
    if driver.problem:
        return None  # seen from the files, at no cost
    kept = store.get_json(_key(driver))
    return None if kept is None else Report(driver, **kept)


def _remember(store: cachedir.Store, report: Report) -> None:
    # Being killed says more about the machine than about the driver, a missing pyopencl says nothing about it.
    passing = any(_KILLED in reason or probe.UNTRIED in reason for reason in (report.reason, *report.reasons))
    if not report.driver.problem and not passing:
        store.put_json(_key(report.driver), {"facts": report.facts, "reasons": report.reasons, "reason": report.reason})
