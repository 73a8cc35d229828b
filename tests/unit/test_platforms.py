"""platforms.yaml: found, checked, overlaid; mistakes are told with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from clnn import env
from clnn.devices import platforms
from clnn.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]

GOOD = """\
version: 1
platforms:
  mine:
    description: two devices
    devices:
      - {id: gpu0, select: "gpu:0"}
      - id: cpu0
        select: pocl
        threads: 2
        hint: {gflops: 220, bandwidth_gbs: 20.5}
"""
APART = GOOD.replace("threads: 2", "isolate: true\n        cores: [1, 3]")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(env.PLATFORMS.name, raising=False)


def write(text, name="platforms.yaml"):
    Path(name).write_text(text)
    return name


def test_a_good_file():
    mine = platforms.parse(GOOD, "f").platforms["mine"]
    assert [device.id for device in mine.devices] == ["gpu0", "cpu0"]
    assert (mine.devices[1].threads, mine.devices[1].hint.gflops) == (2, 220)
    assert mine.pick(["cpu0"]) == [mine.devices[1]]
    assert mine.pick([]) == mine.devices
    assert mine.pick(["cpu0", "pocl"]) is None


def test_an_isolated_device():
    device = platforms.parse(APART, "f").platforms["mine"].devices[1]
    assert (device.isolate, device.cores) == (True, [1, 3])
    assert not platforms.parse(GOOD, "f").platforms["mine"].devices[1].isolate


def test_shipped_entries_and_the_example_are_good():
    assert {"auto", "pocl", "intel", "pocl-one-thread", "bed-two-drivers"} <= set(platforms.load().platforms)
    example = platforms.parse((ROOT / "platforms.yaml").read_text(), "platforms.yaml")
    assert example.default is None, "the example lies in the folder in which people try things out"


PARTS = """\
version: 1
platforms:
  bed:
    devices:
      - {id: cpu0, select: pocl, subdevice: 0, threads: 2}
      - {id: cpu1, select: pocl, subdevice: 1, threads: 2, slowdown: 4, memory: separate}
      - {id: cpu2, select: intel, threads: 3}
"""


def test_parts_of_a_device_that_pretend():
    first, second, whole = platforms.parse(PARTS, "f").platforms["bed"].devices
    assert (first.slowdown, first.memory, second.slowdown, second.memory) == (1, None, 4, "separate")
    assert (first.subdevice_units, first.thread_limit) == (2, None), "of a sub-device, threads are its units"
    assert whole.thread_limit == 3


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (PARTS.replace("subdevice: 1", "subdevice: -1"), 6, "subdevice"),
        (PARTS.replace("subdevice: 1", "subdevice: 0"), 4, "'cpu0' and 'cpu1' are both pocl, sub-device 0"),
        (PARTS.replace("subdevice: 1, ", ""), 4, "'cpu0' and 'cpu1' are both pocl, which only its sub-devices can"),
        (PARTS.replace("subdevice: 1, threads: 2", "subdevice: 1"), 4, "the same number of threads"),
        (PARTS.replace("slowdown: 4", "slowdown: 0"), 6, "slowdown"),
        (PARTS.replace("slowdown: 4", "slowdown: 1.5"), 6, "slowdown"),
        (PARTS.replace("separate", "own"), 6, "memory"),
        (GOOD + "extra: 1\n", 11, "extra: unknown key"),
        (GOOD.replace("threads", "treads"), 9, "treads: unknown key"),
        (GOOD.replace("gflops: 220", "library: /tmp/evil.so"), 10, "library: unknown key"),
        (GOOD.replace("threads: 2", "threads: 0"), 9, "threads"),
        (GOOD.replace("threads: 2", "threads: two"), 9, "threads"),
        (GOOD.replace("threads: 2", "threads: yes"), 9, "threads"),
        (GOOD.replace("20.5", "-1"), 10, "bandwidth_gbs"),
        (GOOD.replace("select: pocl", "select: pocl,intel"), 8, "more than one device"),
        (GOOD.replace("select: pocl", "select: /usr/lib/x.so"), 8, "is not a device name"),
        (GOOD.replace("id: cpu0", "id: gpu0"), 5, "two devices have the id 'gpu0'"),
        (GOOD.replace("        select: pocl\n", ""), 7, "give 'select', or 'describe'"),
        (GOOD.replace("version: 1", "version: 2"), 1, "version"),
        (GOOD.replace("version: 1\n", ""), 1, "version: Field required"),
        (APART.replace("isolate: true", "isolate: false"), 7, "only a device with 'isolate: true'"),
        (APART.replace("[1, 3]", "[]"), 10, "cores"),
        (APART.replace("[1, 3]", "[-1]"), 10, "cores.0"),
        (GOOD + "version: 1\n", 11, "there twice"),
        (GOOD.replace("    description: two devices\n", "    devices: []\n"), 5, "there twice"),
        ("version: 1\nplatforms: [\n", 3, "not YAML"),
        ("version: 1\nx: !!python/object/apply:os.system [id]\n", 2, "not YAML"),
        ("- 1\n", 1, ""),
        ("", 1, ""),
        ("version: 1\nplatforms:\n  mine: 3\n", 3, "mine"),
        ("1: 2\n", 1, ""),
    ],
)
def test_a_mistake_is_told_with_its_line(text, line, message):
    with pytest.raises(UsageError) as raised:
        platforms.parse(text, "some.yaml")
    told = str(raised.value)
    assert told.startswith(f"some.yaml:{line}: "), told
    assert message in told


def test_a_bomb_is_refused_quickly():
    layers = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))
    with pytest.raises(UsageError):
        platforms.parse(f"a0: &a0 [x]\n{layers}\n", "f")
    with pytest.raises(UsageError):
        platforms.parse("[" * 5000, "f")


def test_a_file_is_found_by_argument_then_variable_then_folder(monkeypatch):
    assert platforms.find() is None
    assert platforms.pick() is None
    write(GOOD)
    assert platforms.find() == Path("platforms.yaml")
    write(GOOD, "variable.yaml")
    monkeypatch.setenv(env.PLATFORMS.name, "variable.yaml")
    assert platforms.find() == Path("variable.yaml")
    write(GOOD, "argument.yaml")
    assert platforms.find("argument.yaml") == Path("argument.yaml")
    with pytest.raises(UsageError, match=r"gone\.yaml"):
        platforms.find("gone.yaml")


def test_the_users_entries_overlay_those_that_ship():
    write(GOOD.replace("mine:", "pocl:"))
    merged = platforms.load()
    assert merged.platforms["pocl"].description == "two devices"
    assert "intel" in merged.platforms


def test_the_default_entry_is_used_when_none_is_picked():
    write(GOOD)
    assert platforms.pick() is None
    write(GOOD + "default: mine\n")
    picked = platforms.pick()
    assert picked is not None
    assert picked.description == "two devices"
    write(GOOD + "default: yours\n")
    with pytest.raises(UsageError, match="there is no platform 'yours'"):
        platforms.pick()


def test_an_unknown_entry_names_the_others():
    with pytest.raises(UsageError, match=r"no platform 'nope'; there are arria10, auto, .*pocl"):
        platforms.pick("nope")


def test_an_unreadable_file_is_a_usage_error():
    Path("platforms.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        platforms.load()
