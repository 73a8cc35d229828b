"""Machines that platforms.yaml describes: the schema, and what becomes of it."""

from __future__ import annotations

from collections import Counter

import pytest

from clnn.devices import described, platforms
from clnn.devices.model import Work
from clnn.errors import NoDeviceError, UsageError
from clnn.runtime import selection

GOOD = """\
version: 1
platforms:
  mine:
    devices:
      - id: gpu0
        describe: {kind: gpu, compute_units: 8, gflops: 100, bandwidth_gbs: 10, global_mem_gb: 2, host_memory: false,
                   local_mem_kb: 48, launch_us: 5, sync_us: 30, busy_watts: 50, idle_watts: 5,
                   efficiency: {gemm_local: 0.5}}
      - id: cpu0
        describe: {kind: cpu, compute_units: 4, gflops: 60, bandwidth_gbs: 20, global_mem_gb: 8}
    links:
      - {between: [gpu0, host], bandwidth_gbs: 4, latency_us: 10}
      - {from: gpu0, to: cpu0, bandwidth_gbs: 2}
"""
MACHINES = [name for name, entry in platforms.load().platforms.items() if entry.described]


def parse(text: str = GOOD) -> platforms.Entry:
    return platforms.parse(text, "some.yaml").platforms["mine"]


def test_a_description_makes_a_device_to_plan_for():
    info = parse().devices[0].describe.info("gpu0")
    assert (info.id, info.kind, info.compute_units, info.host_memory) == ("gpu0", "gpu", 8, False)
    assert (info.global_mem, info.max_alloc, info.local_mem) == (2_000_000_000, 500_000_000, 48 * 1024)
    assert info.max_work_group_size == 256
    assert info.usable


def test_a_description_makes_a_model():
    entry = parse()
    machine = described.machine({device.id: device.describe for device in entry.devices}, entry.links)
    gpu = machine.devices["gpu0"]
    assert gpu.work_ms(Work("gemm_local", 1e9, 0.0)) == pytest.approx(20.0)
    assert gpu.work_ms(Work("pool", 1e9, 0.0)) == pytest.approx(10.0)
    assert gpu.work_ms(Work("pool", 0.0, 1e9)) == pytest.approx(100.0)
    assert (gpu.launch_ms, gpu.sync_ms, gpu.busy_watts, gpu.idle_watts) == (0.005, 0.03, 50, 5)


def test_links_are_one_way_or_both():
    entry = parse()
    machine = described.machine({device.id: device.describe for device in entry.devices}, entry.links)
    assert machine.transfer_ms("gpu0", "host", 4e6) == pytest.approx(1.01)
    assert machine.transfer_ms("host", "gpu0", 4e6) == pytest.approx(1.01)
    assert machine.transfer_ms("gpu0", "cpu0", 4e6) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("kind: gpu", "kind: tpu"), 6, "kind"),
        (("gflops: 100, ", ""), 6, "gflops: Field required"),
        (("gflops: 100", "gflops: 0"), 6, "gflops"),
        (("compute_units: 8", "compute_units: 8.5"), 6, "compute_units"),
        (("busy_watts: 50", "watts: 50"), 7, "watts: unknown key"),
        (("gemm_local: 0.5", "gemm_local: fast"), 8, "gemm_local"),
        (("id: cpu0\n", "id: cpu0\n        select: pocl\n"), 9, "described takes no 'select'"),
        (("id: cpu0\n", "id: cpu0\n        threads: 2\n"), 9, "described takes no 'threads'"),
        (("describe: {kind: cpu", "select: pocl  # {"), 3, "cannot be mixed"),
        (("[gpu0, host]", "[gpu0, gpu7]"), 3, "ends at 'gpu7'"),
        (("[gpu0, host]", "[gpu0, gpu0]"), 12, "both ends are 'gpu0'"),
        (("[gpu0, host]", "[gpu0]"), 12, "between"),
        (("from: gpu0, to: cpu0", "from: gpu0, to: host"), 3, "two links from 'gpu0' to 'host'"),
        (("from: gpu0, to: cpu0", "from: gpu0"), 13, "give the two ends"),
        (("from: gpu0, to: cpu0", "between: [gpu0, cpu0], to: cpu0"), 13, "give the two ends"),
        (("between: [gpu0, host]", "from: gpu0, to: host"), 3, "no link from host to gpu0"),
    ],
)
def test_a_mistake_is_told_with_its_line(change, line, message):
    assert change[0] in GOOD
    with pytest.raises(UsageError) as raised:
        parse(GOOD.replace(*change))
    told = str(raised.value)
    assert told.startswith(f"some.yaml:{line}: "), told
    assert message in told


def test_what_is_only_described_cannot_be_opened():
    with pytest.raises(NoDeviceError, match="clnn simulate"):
        selection.select(None, "#odroid-xu4")


def test_machines_that_ship():
    assert {"odroid-xu4", "desktop", "two-gpus", "dgx-1"} <= set(MACHINES)


def test_each_gpu_of_a_dgx_1_has_six_nvlinks():
    entry = platforms.load().platforms["dgx-1"]
    links = described.links_by_ends(entry.links)
    nvlinks = Counter()
    for (source, destination), link in links.items():
        if described.HOST not in (source, destination):
            nvlinks[source] += link.bandwidth_gbs / 25
    assert nvlinks == {f"gpu{index}": 6 for index in range(8)}
