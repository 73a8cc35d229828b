"""Curves and links from measured times."""

from __future__ import annotations

import pytest

from clnn.devices.fitting import fit_curve, fit_link, fit_rates
from clnn.devices.model import DeviceModel, Work


def test_a_constant_rate_is_found_whatever_the_sizes() -> None:
    curve = fit_curve((size, size / 50.0) for size in (1.0, 10.0, 12.0, 1e6))
    assert [rate for _, rate in curve.points] == pytest.approx([50.0] * 3)


def test_a_curve_predicts_launches_with_an_overhead_between_the_sizes_measured() -> None:
    def ms(size: float) -> float:
        return 0.01 + size / 1e6

    curve = fit_curve((size, ms(size)) for size in (1e2, 1e3, 1e4, 1e5, 1e6, 1e7))
    for size in (1e2, 5e3, 1e5, 5e6, 1e8):
        assert size / curve.at(size) == pytest.approx(ms(size), rel=0.35)


def test_a_point_is_the_sum_of_its_launches() -> None:
    (point,) = fit_curve([(20.0, 1.0), (30.0, 2.0)]).points
    assert point == pytest.approx((25.0, 50.0 / 3.0))


def test_a_launch_that_was_held_up_does_not_count() -> None:
    (point,) = fit_curve([(20.0, 2.0), (30.0, 3.0), (40.0, 400.0)]).points
    assert point == pytest.approx((25.0, 10.0))


def test_a_time_that_the_clock_cannot_tell_is_not_an_endless_rate() -> None:
    (point,) = fit_curve([(100.0, 0.0)]).points
    assert point == pytest.approx((100.0, 1e6))


def test_each_kind_gets_its_own_rate_and_memory_that_of_launches_without_operations() -> None:
    samples = [
        (Work("gemm", 1e8, 1e5), 1.0),
        (Work("pool", 1e5, 1e6), 0.1),
        (Work("copy", 1e5, 1e6), 0.1),
        (Work("add", 0.0, 4e6), 0.1),
    ]
    rates, bandwidth = fit_rates(samples)
    assert {kind: curve.points[0][1] for kind, curve in rates.items()} == pytest.approx(
        {"gemm": 1e8, "pool": 1e6, "copy": 1e6, "": 1e6}
    )
    model = DeviceModel(rates, bandwidth)
    for work, ms in samples:
        assert model.work_ms(work) == pytest.approx(ms)
    assert model.work_ms(Work("never measured", 2e5, 0.0)) == pytest.approx(0.2)


@pytest.mark.parametrize(("latency_ms", "gbs"), [(0.05, 10.0), (0.0, 0.5), (2.0, 100.0)])
def test_latency_and_bandwidth_of_a_link_are_told_apart(latency_ms: float, gbs: float) -> None:
    samples = [(size, latency_ms + size / (gbs * 1e6)) for size in (4096, 65536, 1 << 20, 1 << 22)]
    link = fit_link("host", "gpu0", samples)
    assert (link.source, link.destination) == ("host", "gpu0")
    assert link.latency_ms == pytest.approx(latency_ms, abs=1e-9)
    assert link.bandwidth_gbs == pytest.approx(gbs)


def test_a_link_measured_with_noise_has_no_negative_latency() -> None:
    link = fit_link("host", "gpu0", [(1e3, 1e-4), (1e6, 0.2), (2e6, 0.5)])
    assert link.latency_ms == 0.0
    assert link.bandwidth_gbs > 0
