"""Program binaries on disk, on every device: used when they are right, rebuilt when not, never needed."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from clnn import InferenceSession, env
from clnn.errors import BuildError
from clnn.runtime import builders, loader, selection
from clnn.runtime.cachedir import Store
from clnn.runtime.programs import ProgramCache, shared

OPTIONS = ("-D", "WEIGHT=0.5f")
ITEMS = 64


@pytest.fixture
def opened(clnn_device):
    return selection.select(clnn_device)[0]


def launch(opened, program) -> np.ndarray:
    """Run the probe kernel on 0, 1, 2, ..."""
    cl = loader.opencl()
    given = np.arange(ITEMS, dtype=np.float32)
    got = np.zeros_like(given)
    flags = cl.mem_flags
    buffers = (cl.Buffer(opened.context, flags.READ_ONLY | flags.COPY_HOST_PTR, hostbuf=given),
               cl.Buffer(opened.context, flags.WRITE_ONLY, got.nbytes))
    kernel = cl.Kernel(program, "probe")
    kernel.set_args(*buffers, np.int32(ITEMS))
    with cl.CommandQueue(opened.context, opened.device) as queue:
        cl.enqueue_nd_range_kernel(queue, kernel, (ITEMS,), (16,))
        cl.enqueue_copy(queue, got, buffers[1])
    return got


def expected() -> np.ndarray:
    sums = np.arange(ITEMS, dtype=np.float32).reshape(-1, 16).sum(axis=1) * 0.5
    return np.repeat(sums, 16) + 16 * np.arange(ITEMS)


def build_and_store(opened, folder) -> ProgramCache:
    """A new cache on ``folder``, as a new process would have one; checks the program's result."""
    cache = ProgramCache(folder)
    np.testing.assert_array_equal(launch(opened, cache.build(opened, "probe.cl", OPTIONS)), expected())
    cache.store()
    return cache


def entry(folder):
    (path,) = (folder / "programs").iterdir()
    return path


def test_a_binary_is_used_again(opened, tmp_path):
    assert build_and_store(opened, tmp_path).built == 1
    assert build_and_store(opened, tmp_path).built == 0


def test_options_make_another_program(opened, tmp_path):
    cache = build_and_store(opened, tmp_path)
    other = launch(opened, cache.build(opened, "probe.cl", ("-D", "WEIGHT=1.0f")))
    assert not np.array_equal(other, expected())
    assert cache.built == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[:-9] + b"corrupted",
        lambda raw: b"",
        lambda raw: b"\x00" * 5000,
    ],
    ids=["truncated", "altered", "empty", "zeros"],
)
def test_a_damaged_entry_is_rebuilt(opened, tmp_path, damage):
    build_and_store(opened, tmp_path)
    path = entry(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert build_and_store(opened, tmp_path).built == 1
    assert build_and_store(opened, tmp_path).built == 0


@pytest.mark.parametrize("payload", [b"", b"no program binary" * 100], ids=["empty", "text"])
def test_an_entry_that_the_driver_refuses_is_rebuilt(opened, tmp_path, payload):
    build_and_store(opened, tmp_path)
    Store("programs", tmp_path).put(entry(tmp_path).name, payload)
    assert build_and_store(opened, tmp_path).built == 1


def test_a_cache_that_cannot_be_written_is_done_without(opened, tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert build_and_store(opened, blocked).built == 1
    assert caplog.text.count("cannot cache") == 1


def test_a_kernel_that_does_not_build_names_everything(opened, tmp_path):
    with pytest.raises(BuildError) as raised:
        ProgramCache(tmp_path).build(opened, "probe.cl", ("-D", "WEIGHT=no_such_thing"))
    told = str(raised.value)
    assert "\n" not in told
    for part in ("probe.cl", opened.info.id, "no_such_thing"):
        assert part in told


def test_threads_at_once_build_once(opened, tmp_path):
    cache = ProgramCache(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        programs = list(pool.map(lambda _: cache.build(opened, "probe.cl", OPTIONS), range(16)))
    assert cache.built == 1
    np.testing.assert_array_equal(launch(opened, programs[-1]), expected())


def test_the_stored_binary_follows_new_work_group_sizes(opened, tmp_path):
    if opened.info.platform != "Portable Computing Language":
        pytest.skip("only PoCL compiles at launch")
    cl = loader.opencl()
    cache = ProgramCache(tmp_path)
    program, other = (cache.build(opened, name) for name in ("calibrate.cl", "probe.cl"))
    assert cache.store([other]) == 1
    Store("programs", tmp_path).drop(entry(tmp_path).name)
    kernel = cl.Kernel(program, "peak")
    out = cl.Buffer(opened.context, cl.mem_flags.WRITE_ONLY, 4 * 64)
    kernel.set_args(out, np.float32(0.5), np.int32(1))
    sizes = []
    with cl.CommandQueue(opened.context, opened.device) as queue:
        for group in (3, 5):
            cl.enqueue_nd_range_kernel(queue, kernel, (15,), (group,))
            queue.finish()
            assert cache.store([other]) == 0
            assert cache.store([program]) == 1
            sizes.append(entry(tmp_path).stat().st_size)
            assert cache.store() == 0, "nothing new, nothing to write"
    assert sizes[1] > sizes[0]


STORE_AT_EXIT = """
import sys
from clnn.runtime import programs, scratch, selection
opened = selection.select(sys.argv[1])[0]
programs.shared().build(opened, "probe.cl")
print(programs.shared().built)
import os
open(os.path.join(os.environ["CLNN_CACHE_DIR"], "scratch.txt"), "w").write(str(scratch.folder()))
if len(sys.argv) > 2:
    pid = os.fork()
    if not pid:
        try:
            programs.shared().build(opened, "probe.cl")
        except Exception as error:
            print(type(error).__name__)
        sys.exit(0)
    os.waitpid(pid, 0)
    programs.shared().build(opened, "probe.cl")
    print("the parent goes on")
"""


def run(tmp_path, *arguments: str) -> str:
    environment = {**os.environ, env.CACHE_DIR.name: str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", STORE_AT_EXIT, *arguments], capture_output=True, text=True,
                          env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_another_process_uses_the_binary_and_leaves_nothing_behind(clnn_device, tmp_path):
    assert run(tmp_path, clnn_device).split() == ["1"]
    assert not os.path.exists((tmp_path / "scratch.txt").read_text())
    assert run(tmp_path, clnn_device).split() == ["0"]
    everything = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert everything
    for path in everything:
        path.write_bytes(b"garbage")
    assert run(tmp_path, clnn_device).split() == ["1"]


LAUNCH_SIZE = """
import sys
import numpy as np
from clnn.runtime import loader, programs, selection
opened = selection.select(sys.argv[1])[0]
cl = loader.opencl()
kernel = cl.Kernel(programs.shared().build(opened, "calibrate.cl"), "peak")
got = np.zeros(15, np.float32)
out = cl.Buffer(opened.context, cl.mem_flags.WRITE_ONLY, got.nbytes)
kernel.set_args(out, np.float32(0.5), np.int32(3))
with cl.CommandQueue(opened.context, opened.device) as queue:
    cl.enqueue_nd_range_kernel(queue, kernel, (15,), (int(sys.argv[2]),))
    cl.enqueue_copy(queue, got, out)
print(programs.shared().built, set(got.tolist()))
"""


def test_a_stored_binary_serves_other_work_group_sizes(clnn_device, tmp_path):
    environment = {**os.environ, env.CACHE_DIR.name: str(tmp_path)}
    told = [subprocess.run([sys.executable, "-c", LAUNCH_SIZE, clnn_device, group], capture_output=True, text=True,
                           env=environment, timeout=300, check=True).stdout for group in ("3", "5", "1")]
    assert [line[0] for line in told] == ["1", "0", "0"]
    assert len({line[1:] for line in told}) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_gets_an_error_and_harms_nothing(clnn_device, tmp_path):
    assert run(tmp_path, clnn_device, "fork").splitlines()[1:] == ["ForkError", "the parent goes on"]


LAYERS = 7


def chain(tmp_path) -> str:
    """The path of a network of ``LAYERS`` layers that need a program each."""
    ops = ("Relu", "Abs", "Neg", "Exp", "Floor", "Sigmoid")
    names = ["x", *(f"t{index}" for index in range(LAYERS - 1)), "y"]
    nodes = [helper.make_node(op, [a], [b]) for op, a, b in zip(ops, names, names[1:-1], strict=False)]
    nodes.append(helper.make_node("Conv", [names[-2], "w"], ["y"], pads=[1, 1, 1, 1]))
    shape = [1, 3, 9, 7]
    weights = numpy_helper.from_array(np.random.default_rng(0).random((4, 3, 3, 3), np.float32), "w")
    # What is an output stays in memory, so that no two operations become one kernel.
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names[1:]]
    graph = helper.make_graph(nodes, "chain", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                              outputs, [weights])
    path = tmp_path / "chain.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return str(path)


# No `if __name__ == "__main__"`, as in many a user's script.
LOAD = """
import sys
import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
import clnn
from clnn.runtime import builders, programs

if len(sys.argv) > 3:
    builders._CHILD = sys.argv[3]
told = []
x = np.random.default_rng(1).random((1, 3, 9, 7), np.float32)
with builders.listening(lambda done, total: told.append((done, total))):
    with clnn.InferenceSession(sys.argv[1], sys.argv[2]) as session:
        (y,) = session.run(["y"], {"x": x})
(expected,) = ReferenceEvaluator(onnx.load(sys.argv[1])).run(["y"], {"x": x})
np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)  # fp32, sums of 27 products
children = open(f"/proc/self/task/{__import__('os').getpid()}/children").read() if sys.platform == "linux" else ""
print(programs.shared(None).built, len(told), children.split())
"""


def load(model: str, device: str, cache, *child: str) -> tuple[int, int, str]:
    """Load and run ``model`` in a new process; programs built in it and by its children, and children left."""
    environment = {name: value for name, value in os.environ.items() if name != "POCL_CACHE_DIR"}
    done = subprocess.run([sys.executable, "-c", LOAD, model, device, *child], capture_output=True, text=True,
                          env={**environment, env.CACHE_DIR.name: str(cache)}, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    here, children, left = line.split(maxsplit=2)
    return int(here), int(children), left


# So that what a child leaves behind can be told from what other processes have.
ON_DISK = "from clnn.runtime import scratch; scratch._MEMORY = scratch.Path('/nowhere'); "


@pytest.fixture
def pocl(opened) -> str:
    if opened.info.platform != "Portable Computing Language" or (os.cpu_count() or 1) < 2:
        pytest.skip("only with PoCL, and two cores, are programs built by children")
    return opened.info.id


def test_many_programs_are_built_by_children(pocl, tmp_path):
    model, cache = chain(tmp_path), tmp_path / "cache"
    here, children, left = load(model, pocl, cache, builders._CHILD.replace("from clnn", ON_DISK + "from clnn"))
    assert (here, left) == (0, "[]")
    assert list((cache / "scratch").iterdir()) == []
    stored = sorted((cache / "programs").iterdir())
    assert len(stored) == children >= LAYERS
    assert load(model, pocl, cache) == (0, 0, "[]")
    for path in stored[:2]:
        path.unlink()
    assert load(model, pocl, cache) == (2, 0, "[]"), "few are built where they are needed"


@pytest.fixture
def without_children(pocl, tmp_path, monkeypatch):
    """Checks that a network loads and is right here though no child built a program; the cache folder may be named."""
    monkeypatch.delenv("POCL_CACHE_DIR", raising=False)
    started, start = [], builders._start

    def noted():
        started.append(start())
        return started[-1]

    monkeypatch.setattr(builders, "_start", noted)

    def check(cache=tmp_path / "cache") -> int:
        model, told = chain(tmp_path), []
        feeds = {"x": np.random.default_rng(1).random((1, 3, 9, 7), np.float32)}
        with (builders.listening(lambda *counts: told.append(counts)),
              InferenceSession(model, pocl, options={"cache_dir": str(cache)}) as session):
            actual = session.run(None, feeds)
        for got, want in zip(actual, ReferenceEvaluator(onnx.load(model)).run(None, feeds), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)  # fp32, sums of 27 products
        assert shared(str(cache)).built >= LAYERS
        assert told == []
        assert all(child.poll() is not None for child in started)
        return len(started)

    return check


@pytest.mark.parametrize("child", ["import os; os.abort()", "print('nonsense')"])
def test_children_that_fail_are_done_without(without_children, monkeypatch, child):
    monkeypatch.setattr(builders, "_CHILD", child)
    assert without_children() > 0


def test_children_need_a_folder_for_what_they_build(without_children, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert without_children(blocked) == 0


def test_no_child_can_be_started(without_children, monkeypatch):
    monkeypatch.setattr(builders, "_start", Mock(side_effect=OSError(11, "Resource temporarily unavailable")))
    without_children()
    assert builders._start.called


def test_a_child_that_hangs_is_ended(without_children, monkeypatch):
    monkeypatch.setattr(builders, "JOB_LIMIT_S", 0.5)
    monkeypatch.setattr(builders, "_CHILD", "import time; time.sleep(600)")
    assert without_children() > 0
