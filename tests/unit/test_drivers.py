"""Finding drivers: every place they register in, dead registrations, the user's own choice."""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from clnn.runtime import drivers

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows keeps drivers in the registry")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """An empty machine: a system folder, a Python environment, pyopencl's libraries."""
    monkeypatch.delenv("OCL_ICD_VENDORS", raising=False)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    for folder in ("system", "env/etc/OpenCL/vendors", "env/lib", "pyopencl/.libs"):
        (tmp_path / folder).mkdir(parents=True)
    spec = ModuleSpec("pyopencl", None, origin=str(tmp_path / "pyopencl" / "__init__.py"))
    monkeypatch.setattr(drivers, "SYSTEM_VENDORS", tmp_path / "system")
    monkeypatch.setattr(drivers, "SYSTEM_OCLGRIND", (tmp_path / "oclgrind" / "liboclgrind-rt-icd.so",))
    monkeypatch.setattr(drivers.importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    monkeypatch.setattr(drivers.site, "USER_BASE", None)
    return tmp_path


def library(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x7fELF")
    return path


def test_an_empty_machine_has_none(machine):
    assert drivers.find() == []


def test_every_place_is_gathered(machine):
    (machine / "system" / "pocl.icd").write_text("libpocl.so.2.10.0\n")
    pip_pocl = library(machine / "pyopencl" / ".libs" / "libpocl-1234.so")
    (machine / "pyopencl" / ".libs" / "pocl.icd").write_text(f"{pip_pocl}\n")
    intel = library(machine / "env" / "lib" / "libintelocl.so")
    (machine / "env" / "etc" / "OpenCL" / "vendors" / "intel-cpu.icd").write_text("/opt/build/lib/libintelocl.so\n")
    oclgrind = library(machine / "oclgrind" / "liboclgrind-rt-icd.so")
    found = drivers.find()
    assert [driver.library for driver in found] == ["libpocl.so.2.10.0", str(pip_pocl), str(intel), str(oclgrind)]
    assert [driver.interpreter for driver in found] == [False, False, False, True]
    assert not any(driver.problem for driver in found)


def test_a_dead_path_in_the_system_folder_is_a_problem(machine):
    (machine / "system" / "dead.icd").write_text("/opt/gone/libgone.so\n")
    (driver,) = drivers.find()
    assert "/opt/gone/libgone.so" in driver.problem
    assert driver.origin.endswith("dead.icd")


def test_an_empty_registration_is_a_problem(machine):
    (machine / "system" / "empty.icd").write_text("\n")
    (driver,) = drivers.find()
    assert "empty" in driver.problem


def test_a_package_that_registers_more_than_it_ships_is_no_problem(machine):
    (machine / "env" / "etc" / "OpenCL" / "vendors" / "fpga.icd").write_text("/opt/build/lib/libfpga.so\n")
    assert drivers.find() == []


def test_a_library_registered_twice_is_one_driver(machine):
    target = library(machine / "lib" / "libpocl.so.2")
    link = machine / "lib" / "libpocl.so"
    link.symlink_to(target)
    (machine / "system" / "a.icd").write_text(f"{target}\n")
    (machine / "system" / "b.icd").write_text(f"{link}\n")
    assert [driver.name for driver in drivers.find()] == ["a"]


def test_the_users_choice_is_all_there_is(machine, monkeypatch):
    (machine / "system" / "pocl.icd").write_text("libpocl.so.2\n")
    own = machine / "own"
    own.mkdir()
    (own / "mine.icd").write_text("libmine.so\n")
    monkeypatch.setenv("OCL_ICD_VENDORS", str(own))
    assert [driver.library for driver in drivers.find()] == ["libmine.so"]
    monkeypatch.setenv("OCL_ICD_VENDORS", str(own / "mine.icd"))
    assert [driver.library for driver in drivers.find()] == ["libmine.so"]
    named = library(machine / "libnamed.so.1")
    monkeypatch.setenv("OCL_ICD_VENDORS", str(named))
    assert [(driver.name, driver.library) for driver in drivers.find()] == [("named", str(named))]
    monkeypatch.setenv("OCL_ICD_VENDORS", str(machine / "nothing"))
    assert "does not exist" in drivers.find()[0].problem


def test_a_chosen_folder_without_drivers_is_told(machine, monkeypatch):
    (machine / "system" / "pocl.icd").write_text("libpocl.so.2\n")
    monkeypatch.setenv("OCL_ICD_VENDORS", str(machine / "env"))
    (driver,) = drivers.find()
    assert driver.chosen
    assert "registers no OpenCL driver" in driver.problem


def test_a_folder_that_may_not_be_read_holds_no_driver(machine, monkeypatch):
    (machine / "system" / "pocl.icd").write_text("libpocl.so.2\n")
    home = machine / "env"
    glob = Path.glob

    def forbidding(folder, pattern):
        if folder.is_relative_to(home):
            raise PermissionError(13, "Permission denied")
        return glob(folder, pattern)

    monkeypatch.setattr(Path, "glob", forbidding)
    assert [driver.library for driver in drivers.find()] == ["libpocl.so.2"]


def test_a_signature_changes_with_the_library(machine):
    path = library(machine / "libmine.so")
    driver = drivers.Driver("mine", str(path), "mine.icd")
    before = driver.signature()
    assert before == driver.signature()
    os.utime(path, ns=(1, 1))
    assert driver.signature() != before
