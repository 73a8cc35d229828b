"""The model of how fast devices and links are."""

from __future__ import annotations

import pytest

from clnn.devices.model import Curve, DeviceModel, Link, MachineModel, Work


def test_a_curve_interpolates_over_the_logarithm_and_stays_beyond_its_ends() -> None:
    curve = Curve(((10.0, 1.0), (1000.0, 3.0)))
    assert [curve.at(size) for size in (1.0, 10.0, 100.0, 1000.0, 1e9)] == pytest.approx([1.0, 1.0, 2.0, 3.0, 3.0])


def test_work_takes_as_long_as_the_higher_of_its_two_ceilings() -> None:
    model = DeviceModel.roofline(gflops=100.0, bandwidth_gbs=10.0)
    assert model.work_ms(Work("gemm", 1e9, 0.0)) == pytest.approx(10.0)
    assert model.work_ms(Work("gemm", 1e9, 1e9)) == pytest.approx(100.0)
    assert model.work_ms(Work("gemm", 1e9, 1e9).part(0.25)) == pytest.approx(25.0)


def test_a_kind_of_its_own_has_a_rate_of_its_own() -> None:
    model = DeviceModel({"": Curve.flat(1e6), "pool": Curve.flat(2e6)}, Curve.flat(1e9))
    assert model.work_ms(Work("gemm", 1e6, 0.0)) == pytest.approx(1.0)
    assert model.work_ms(Work("pool", 1e6, 0.0)) == pytest.approx(0.5)


def test_a_slowed_device_takes_as_many_times_as_long() -> None:
    model = DeviceModel.roofline(100.0, 10.0)
    for work in (Work("", 1e9, 1e3), Work("", 1e3, 1e9)):
        assert model.slowed(3).work_ms(work) == pytest.approx(3 * model.work_ms(work))


def test_a_transfer_without_a_link_of_its_own_goes_through_the_host() -> None:
    links = {
        (a, b): Link(a, b, 10.0, 0.5) for a, b in (("gpu0", "host"), ("host", "gpu1"), ("gpu0", "gpu2"))
    }
    machine = MachineModel(links=links)
    assert machine.transfer_ms("gpu0", "gpu2", 1e7) == pytest.approx(1.5)
    assert machine.transfer_ms("gpu0", "gpu1", 1e7) == pytest.approx(3.0)
    assert machine.transfer_ms("gpu1", "gpu0", 1e7) == 0.0
