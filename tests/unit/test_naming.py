"""Device names: what each means among made-up devices."""

from __future__ import annotations

import pytest

from clnn.devices import naming
from clnn.devices.info import BROKEN, DeviceInfo
from clnn.errors import NoDeviceError, UsageError


def machine(*infos: DeviceInfo) -> list[DeviceInfo]:
    return naming.number(naming.order(infos))


POCL = DeviceInfo("pocl", "cpu")
INTEL = DeviceInfo("intel", "cpu")
GPU = DeviceInfo("nvidia", "gpu", name="first")
SECOND_GPU = DeviceInfo("nvidia", "gpu", name="second")
FPGA = DeviceInfo("xilinx", "accelerator")
OCLGRIND = DeviceInfo("oclgrind", "cpu", interpreter=True)
BROKEN_POCL = DeviceInfo("pocl", "cpu", name="old", verdict=BROKEN, reason="hangs", remedy="remove it")

ALL = machine(OCLGRIND, INTEL, BROKEN_POCL, POCL, FPGA, GPU, SECOND_GPU)


def ids(spec, infos=ALL):
    return [info.id for info in naming.match(spec, infos)]


def test_ids_are_in_order_of_preference():
    assert [info.id for info in ALL] == [
        "nvidia:0",
        "nvidia:1",
        "xilinx:0",
        "pocl:0",
        "intel:0",
        "oclgrind:0",
        "pocl:1",
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (None, ["nvidia:0"]),
        ("gpu", ["nvidia:0"]),
        ("gpu:1", ["nvidia:1"]),
        ("accelerator", ["xilinx:0"]),
        ("cpu", ["pocl:0"]),
        ("CPU:1", ["intel:0"]),
        ("pocl", ["pocl:0"]),
        ("Intel:0", ["intel:0"]),
        ("pocl, intel", ["pocl:0", "intel:0"]),
        (["intel", "gpu:1"], ["intel:0", "nvidia:1"]),
        (["intel,gpu:1", "pocl"], ["intel:0", "nvidia:1", "pocl:0"]),
        ("oclgrind", ["oclgrind:0"]),
    ],
)
def test_a_name_means(spec, expected):
    assert ids(spec) == expected


@pytest.mark.parametrize("spec", ["gpu:2", "amd", "intel:1", "cpu:2"])
def test_a_device_that_is_not_there(spec):
    with pytest.raises(NoDeviceError, match="there is no device|is not usable") as raised:
        ids(spec)
    assert spec in str(raised.value)


def test_what_there_is_instead_is_said():
    with pytest.raises(NoDeviceError, match="usable: nvidia:0, nvidia:1, xilinx:0, pocl:0, intel:0"):
        ids("amd")


def test_a_broken_device_says_why():
    with pytest.raises(NoDeviceError, match="pocl:1 .*hangs; remove it"):
        ids("pocl:1")
    with pytest.raises(NoDeviceError, match="hangs; remove it"):
        ids("cpu", machine(BROKEN_POCL))


def test_a_kind_passes_over_broken_devices():
    assert ids("cpu:0", machine(BROKEN_POCL, INTEL)) == ["intel:0"]


@pytest.mark.parametrize("infos", [[], [OCLGRIND], [BROKEN_POCL]])
def test_nothing_usable_gives_the_install_commands(infos):
    with pytest.raises(NoDeviceError, match="apt-get install pocl-opencl-icd.*pip install intel-opencl-rt"):
        ids(None, machine(*infos))


@pytest.mark.parametrize("spec", [5, "gpu 0", "gpu:", "gpu:x", ",", "cpu,,gpu", "a/b", "../x", "cpu,cpu", "cpu,pocl"])
def test_a_bad_name_is_a_usage_error(spec):
    with pytest.raises(UsageError):
        ids(spec)


@pytest.mark.parametrize(
    ("platform", "name"),
    [
        ("Portable Computing Language", "pocl"),
        ("Intel(R) OpenCL", "intel"),
        ("Intel(R) OpenCL Graphics", "intel"),
        ("NVIDIA CUDA", "nvidia"),
        ("AMD Accelerated Parallel Processing", "amd"),
        ("Some New Thing (R)", "some-new-thing-r"),
        ("", "unknown"),
    ],
)
def test_alias_of_a_platform(platform, name):
    assert naming.alias(platform) == name
