"""From reports on drivers to the list of devices; the reports are made up."""

from __future__ import annotations

import pytest

from clnn import env
from clnn.devices.info import BROKEN, UNUSED
from clnn.errors import NoDeviceError
from clnn.runtime import discovery, drivers, trial
from clnn.runtime.drivers import Driver
from clnn.runtime.trial import Report


def facts(platform="Portable Computing Language", **more):
    return {"kind": "cpu", "name": "a cpu", "platform": platform, "platform_version": "3.1", "driver": "3.1", **more}


SYSTEM_POCL = Report(Driver("pocl", "libpocl.so.2", "/etc/pocl.icd"), [facts()], [""])
PIP_POCL = Report(Driver("pocl", "/pip/libpocl.so", "/pip/pocl.icd"), [facts(platform_version="3.0")], [""])
OLD_POCL = Report(PIP_POCL.driver, PIP_POCL.facts, ["does not build a kernel: error: unknown target CPU 'generic'"])
INTEL = Report(Driver("intel", "/lib/libintelocl.so", "/etc/intel.icd"), [facts("Intel(R) OpenCL", fp16=True)], [""])
NO_TBB = Report(
    Driver("intel-cpu", "/lib/libintelocl.so", "/etc/intel.icd"),
    reason="libtbb.so.12: cannot open shared object file: No such file or directory",
)
HANGING = Report(
    Driver("rusticl", "librusticl.so", "/etc/rusticl.icd"),
    [facts("rusticl", kind="gpu")],
    ["does not finish the probe kernel within 60 s"],
)
OCLGRIND = Report(Driver("oclgrind", "/lib/liboclgrind-rt-icd.so", "/lib"), [facts("Oclgrind")], [""])


@pytest.fixture
def machine(monkeypatch):
    """Sets the reports of the first look, and of each refresh after it."""
    monkeypatch.delenv(env.DEVICES.name, raising=False)
    monkeypatch.setattr(drivers, "find", list)
    monkeypatch.setattr(discovery, "_found", None)

    def use(*reports: Report, mended: tuple[Report, ...] | None = None) -> list[bool]:
        asked: list[bool] = []

        def look(found, refresh):
            asked.append(refresh)
            return list(mended if refresh and mended is not None else reports)

        monkeypatch.setattr(trial, "reports", look)
        return asked

    return use


def listed():
    return [(info.id, info.verdict) for info in discovery.devices()]


def test_pocl_goes_before_intel_and_the_interpreter_is_never_chosen(machine):
    machine(OCLGRIND, INTEL, SYSTEM_POCL)
    assert listed() == [("pocl:0", "usable"), ("intel:0", "usable"), ("oclgrind:0", "usable")]
    assert [info.id for info in discovery.named()] == ["pocl:0"]
    assert discovery.devices()[1].fp16
    machine(OCLGRIND, mended=(OCLGRIND,))
    discovery._found = None
    with pytest.raises(NoDeviceError):
        discovery.named()
    with pytest.raises(NoDeviceError):
        discovery.named("cpu")
    assert [info.id for info in discovery.named("oclgrind")] == ["oclgrind:0"]


def test_the_variable_names_the_default(machine, monkeypatch):
    machine(SYSTEM_POCL, INTEL)
    monkeypatch.setenv(env.DEVICES.name, "intel")
    assert [info.id for info in discovery.named()] == ["intel:0"]
    assert [info.id for info in discovery.named("pocl")] == ["pocl:0"]


def test_a_broken_driver_of_the_same_name_does_not_take_the_id(machine):
    machine(OLD_POCL, SYSTEM_POCL)
    assert listed() == [("pocl:0", "usable"), ("pocl:1", BROKEN)]
    assert "apt-get install pocl-opencl-icd" in discovery.devices()[1].remedy


def test_two_drivers_of_one_name_are_not_loaded_together(machine):
    machine(SYSTEM_POCL, PIP_POCL)
    assert listed() == [("pocl:0", "usable"), ("pocl:1", UNUSED)]
    assert "/pip/pocl.icd" in discovery.devices()[1].remedy


def test_a_driver_without_devices_is_listed_under_its_name(machine):
    machine(NO_TBB, SYSTEM_POCL, mended=(NO_TBB, SYSTEM_POCL))
    assert listed() == [("pocl:0", "usable"), ("intel:0", BROKEN)]
    assert "pip install intel-opencl-rt intel-cmplr-lib-rt" in discovery.devices()[1].remedy
    with pytest.raises(NoDeviceError, match=r"libtbb.*pip install"):
        discovery.named("intel")


def test_a_broken_device_is_tried_again_when_it_is_asked_for(machine):
    asked = machine(NO_TBB, SYSTEM_POCL, mended=(INTEL, SYSTEM_POCL))
    assert [info.id for info in discovery.named("pocl")] == ["pocl:0"]
    assert asked == [False]
    assert [info.id for info in discovery.named("intel")] == ["intel:0"]
    assert asked == [False, True]


def test_a_hanging_device_is_not_tried_again(machine):
    asked = machine(HANGING)
    with pytest.raises(NoDeviceError, match="does not finish"):
        discovery.named()
    assert asked == [False]


def test_no_driver_at_all(machine):
    machine()
    with pytest.raises(NoDeviceError, match="no usable OpenCL device; install a driver"):
        discovery.named()
