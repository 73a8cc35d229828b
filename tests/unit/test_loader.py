"""Loading OpenCL: settings, thread limits, forks; with a stand-in for pyopencl."""

from __future__ import annotations

import ctypes.util
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from clnn import env
from clnn.errors import DeviceError, ForkError, UsageError
from clnn.runtime import latecomer, loader, scratch
from clnn.runtime.drivers import Driver

VARIABLES = (
    "OCL_ICD_VENDORS",
    "PYOPENCL_HOME",
    "POCL_AFFINITY",
    "POCL_CACHE_DIR",
    "POCL_MAX_PTHREAD_COUNT",
    "CL_CONFIG_CPU_TBB_NUM_WORKERS",
)
POCL = Driver("pocl", "libpocl.so.2", "pocl.icd")
INTEL = Driver("intel-cpu", "libintelocl.so", "intel-cpu.icd")


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A process in which nothing is loaded yet, and a pyopencl that notes the environment in which it is used."""
    module = ModuleType("pyopencl")
    module.Error = RuntimeError
    module.CompilerWarning = UserWarning
    module.seen = {}

    def get_platforms():
        module.seen = {name: os.environ.get(name) for name in VARIABLES}
        return [SimpleNamespace(name="Portable Computing Language", get_devices=lambda: [])]

    module.get_platforms = get_platforms
    monkeypatch.setitem(sys.modules, "pyopencl", module)
    monkeypatch.setenv(env.CACHE_DIR.name, str(tmp_path))
    monkeypatch.setattr(loader, "_loaded", None)
    monkeypatch.setattr(loader, "_limits", {})
    monkeypatch.setattr(scratch, "_current", None)
    monkeypatch.setattr(scratch, "_MEMORY", tmp_path / "nowhere")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return module


def test_before_loading_there_is_nothing(fake):
    assert not loader.loaded()
    loader.check_process()
    with pytest.raises(DeviceError):
        loader.opencl()


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps drivers in the registry")
def test_drivers_see_the_gathered_folder_and_the_environment_is_put_back(fake):
    before = dict(os.environ)
    assert [platform.name for platform in loader.load([POCL])] == ["Portable Computing Language"]
    assert loader.opencl() is fake
    assert dict(os.environ) == before
    folder = Path(fake.seen["OCL_ICD_VENDORS"])
    assert [path.read_text() for path in folder.iterdir()] == ["libpocl.so.2\n"]
    assert fake.seen["POCL_AFFINITY"] == "1"
    assert os.path.isdir(fake.seen["POCL_CACHE_DIR"])
    assert fake.seen["POCL_MAX_PTHREAD_COUNT"] is None


def test_the_users_settings_win(fake, monkeypatch, tmp_path):
    monkeypatch.setenv("POCL_AFFINITY", "0")
    monkeypatch.setenv("POCL_CACHE_DIR", str(tmp_path / "mine"))
    loader.load([POCL])
    if os.name != "nt":
        assert fake.seen["POCL_AFFINITY"] == "0"
    assert loader.pocl_cache() == tmp_path / "mine"


def test_thread_limits_reach_the_drivers(fake):
    loader.limit_threads(3)
    loader.limit_threads(1, "intel")
    loader.load([POCL])
    assert fake.seen["POCL_MAX_PTHREAD_COUNT"] == "3"
    assert fake.seen["CL_CONFIG_CPU_TBB_NUM_WORKERS"] == "1"
    assert (loader.thread_limit("pocl"), loader.thread_limit("nvidia")) == (3, None)
    with loader.settings("pocl"):
        assert os.environ["CL_CONFIG_CPU_TBB_NUM_WORKERS"] == "1"
    assert "CL_CONFIG_CPU_TBB_NUM_WORKERS" not in os.environ


@pytest.mark.parametrize(
    ("driver", "limits", "affinity", "expected"),
    [
        ("intel", {"pocl": 1, "intel": 1}, "1", {1, 2, 3}),
        ("intel", {"pocl": 2, "intel": 2}, "1", {2, 3}),
        ("intel", {"pocl": 2, "intel": 3}, "1", None),
        ("intel", {"pocl": 4, "intel": 1}, "1", None),
        ("intel", {"pocl": 1, "intel": 1}, "0", None),
        ("intel", {"pocl": 1}, "1", None),
        ("intel", {"intel": 1}, "1", None),
        ("pocl", {"pocl": 1, "intel": 1}, "1", None),
    ],
)
def test_limited_drivers_get_cores_of_their_own(fake, monkeypatch, driver, limits, affinity, expected):
    cores = [{0, 1, 2, 3}]
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: cores[-1], raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, chosen: cores.append(chosen), raising=False)
    monkeypatch.setenv("POCL_AFFINITY", affinity)
    for name, threads in limits.items():
        loader.limit_threads(threads, name)
    loader.load([POCL])
    with loader.settings(driver):
        assert cores[-1] == (expected or cores[0])
    assert cores[-1] == cores[0]


def test_another_limit_after_loading_is_refused(fake):
    loader.limit_threads(1)
    loader.load([POCL])
    loader.limit_threads(1)
    with pytest.raises(UsageError, match="already running with 1 threads"):
        loader.limit_threads(2)


def test_all_cores_is_a_limit_that_holds_without_one(fake):
    loader.load([POCL])
    loader.limit_threads(os.cpu_count() or 1)
    with pytest.raises(UsageError, match="already running"):
        loader.limit_threads((os.cpu_count() or 1) + 1)


@pytest.mark.parametrize(("threads", "driver"), [(0, None), (-1, "pocl"), (2, "nvidia")])
def test_a_limit_without_meaning_is_refused(fake, threads, driver):
    with pytest.raises(UsageError):
        loader.limit_threads(threads, driver)


def test_a_driver_is_loaded_once(fake):
    assert loader.load([POCL])
    assert loader.load([POCL]) == []


def test_a_driver_is_added_later_with_its_own_limit(fake, monkeypatch):
    seen = {}

    def note(when):
        seen[when] = os.environ.get("CL_CONFIG_CPU_TBB_NUM_WORKERS")
        return []

    def late(library):
        seen["library"] = library
        note("loaded")
        return [SimpleNamespace(name="Intel(R) OpenCL", get_devices=lambda: note("first asked"))]

    monkeypatch.setattr(latecomer, "platforms", late)
    loader.limit_threads(2, "pocl")
    loader.load([POCL])
    loader.limit_threads(1, "intel")
    assert [platform.name for platform in loader.load([POCL, INTEL])] == ["Intel(R) OpenCL"]
    assert seen == {"library": INTEL.library, "loaded": "1", "first asked": "1"}
    assert loader.load([INTEL]) == []
    with pytest.raises(UsageError, match="intel is already running with 1 threads"):
        loader.limit_threads(2, "intel")
    loader.limit_threads(2, "pocl")


@pytest.mark.skipif(os.name == "nt", reason="loads a library of POSIX systems")
@pytest.mark.parametrize("library", ["no-such-driver.so", ctypes.util.find_library("m") or "libm.so"])
def test_a_library_that_is_no_driver_cannot_be_added(fake, library):
    loader.load([POCL])
    with pytest.raises(DeviceError, match=f"the driver {library} cannot be added"):
        loader.load([Driver("other", library, "other.icd")])
    assert loader.load([POCL]) == []


@pytest.mark.parametrize(
    ("platforms", "code", "told"),
    [([], 0, "no platform"), ([0], -1001, "error -1001"), ([latecomer.TABLE_OF_LOADER], 0, "table of functions")],
)
def test_what_a_latecomer_answers_is_checked(fake, monkeypatch, platforms, code, told):
    # A platform is a pointer to a table, whose first place says whether the loader is to fill it.
    tables = [ctypes.c_void_p(first) for first in platforms]
    handles = [ctypes.c_void_p(ctypes.addressof(table)) for table in tables]

    @ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p)
    def ask(room, found, count):
        if count:
            ctypes.c_uint32.from_address(count).value = len(handles)
        for index in range(room):
            ctypes.c_void_p.from_address(found + 8 * index).value = ctypes.addressof(handles[index])
        return code

    monkeypatch.setattr(latecomer, "_entry", lambda driver: ctypes.cast(ask, ctypes.c_void_p).value)
    with pytest.raises(DeviceError, match=told):
        latecomer.platforms(ctypes.util.find_library("m"))


def test_a_forked_child_gets_a_clear_error(fake, monkeypatch):
    loader.load([POCL])
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert loader.loaded()
    assert not loader.loaded_here()
    for use in (loader.check_process, loader.opencl, lambda: loader.load([POCL])):
        with pytest.raises(ForkError, match="fork"):
            use()


def test_no_pyopencl_is_a_device_error(fake, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyopencl", None)
    with pytest.raises(DeviceError, match="pip install pyopencl"):
        loader.load([POCL])


def test_scratch_folders_of_the_dead_are_swept_and_of_the_living_kept(tmp_path, monkeypatch):
    if scratch.fcntl is None:
        pytest.skip("needs file locks")
    monkeypatch.setenv(env.CACHE_DIR.name, str(tmp_path))
    monkeypatch.setattr(scratch, "_current", None)
    monkeypatch.setattr(scratch, "_MEMORY", tmp_path / "nowhere")
    living = scratch.folder()
    dead = living.parent / "dead"
    young = living.parent / "young"
    for path in (dead, young):
        path.mkdir()
        (path / "lock").touch()
    for path in (dead, living):
        os.utime(path, (0, 0))
    scratch._sweep(living.parent)
    assert living.exists()
    assert young.exists()
    assert not dead.exists()


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX")
def test_scratch_lies_in_memory_where_it_is_private(tmp_path, monkeypatch):
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setenv(env.CACHE_DIR.name, str(tmp_path / "cache"))
    monkeypatch.setattr(scratch, "_MEMORY", memory)

    def folder() -> Path:
        monkeypatch.setattr(scratch, "_current", None)
        return scratch.folder()

    own = memory / f"clnn-{os.geteuid()}"
    assert folder().parent == own
    assert own.stat().st_mode & 0o777 == 0o700
    own.chmod(0o770)
    assert folder().is_relative_to(tmp_path / "cache")
    own.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").chmod(0o700)
    own.symlink_to(tmp_path / "elsewhere")
    assert folder().is_relative_to(tmp_path / "cache"), "a link is not followed"
    own.unlink()
    room = {"f_frsize": 4096, "f_blocks": 1 << 30, "f_bfree": 1 << 30, "f_bavail": 1 << 30}
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_NOEXEC, **room))
    assert folder().is_relative_to(tmp_path / "cache"), "nothing could be loaded from there"


def test_scratch_works_where_the_cache_cannot_be_written(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv(env.CACHE_DIR.name, str(blocked))
    monkeypatch.setattr(scratch, "_current", None)
    monkeypatch.setattr(scratch, "_MEMORY", tmp_path / "nowhere")
    assert scratch.folder().is_dir()


def test_a_missing_pyopencl_is_told_before_drivers_are_blamed(monkeypatch):
    monkeypatch.setattr(loader, "_loaded", None)
    monkeypatch.setattr(loader.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match="pip install pyopencl"):
        loader.check_installed()


def test_a_full_cache_disk_is_not_used_for_scratch(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(env.CACHE_DIR.name, str(tmp_path))
    monkeypatch.setattr(scratch, "_current", None)
    monkeypatch.setattr(scratch, "_MEMORY", tmp_path / "nowhere")
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda path: SimpleNamespace(free=4096))
    assert not scratch.folder().is_relative_to(tmp_path / "scratch")
    assert "No space left" in caplog.text
