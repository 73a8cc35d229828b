"""Devices in child processes: results, deaths, hangs, and that nothing is left behind."""

from __future__ import annotations

import concurrent.futures
import gc
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import clnn
from clnn import env, frontend, schedule
from clnn.planning import plan_graph
from clnn.runtime import discovery, isolated, scratch, selection
from clnn.runtime.isolated import IsolatedWorker
from tests.device.test_session import picture, small_network
from tests.support import node_model

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there are no isolated devices on Windows")


def network() -> onnx.ModelProto:
    model = small_network()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    return model


NETWORK = network().SerializeToString()


def write(folder: Path, device: str) -> str:
    """A platforms.yaml with two isolated entries of one device, the first pinned where this system can."""
    cores = f", cores: [{min(os.sched_getaffinity(0))}]" if hasattr(os, "sched_setaffinity") else ""
    file = folder / "mine.yaml"
    file.write_text("version: 1\ndefault: two\nplatforms:\n  two:\n    devices:\n"
                    f"      - {{id: apart0, select: '{device}', isolate: true{cores}}}\n"
                    f"      - {{id: apart1, select: '{device}', isolate: true}}\n"
                    "  nowhere:\n    devices:\n"
                    f"      - {{id: apart0, select: '{device}', isolate: true, cores: [0, 99999]}}\n")
    return str(file)


@pytest.fixture(scope="module")
def platforms(tmp_path_factory) -> str:
    """Entries of the first device: what the processes do does not depend on it."""
    try:
        device = discovery.named(env.TEST_DEVICES.get())[0].id
    except clnn.NoDeviceError as error:
        pytest.skip(str(error))
    return write(tmp_path_factory.mktemp("isolated"), device)


@pytest.fixture(scope="module")
def session(platforms):
    with clnn.InferenceSession(NETWORK, "apart0", platforms=platforms) as opened:
        yield opened


@pytest.fixture
def doomed(platforms):
    with clnn.InferenceSession(NETWORK, "apart1", platforms=platforms) as opened:
        yield opened


def worker_of(session: clnn.InferenceSession) -> IsolatedWorker:
    (worker,) = session._plans.values()
    assert isinstance(worker, IsolatedWorker)
    return worker


def child_of(session: clnn.InferenceSession) -> int:
    return worker_of(session)._child._process.pid


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_results_are_those_of_a_session_in_this_process(clnn_device, tmp_path):
    x = picture(2)
    with clnn.InferenceSession(NETWORK, clnn_device) as here:
        (expected,) = here.run(None, {"x": x})
    with clnn.InferenceSession(NETWORK, "apart1", platforms=write(tmp_path, clnn_device)) as apart:
        for _ in range(2):
            (actual,) = apart.run(None, {"x": x})
            np.testing.assert_array_equal(actual, expected)
            actual[:] = 0  # the caller's
        assert apart.get_devices()[0].isolated
        assert apart.used_devices() == ["apart1"]
        assert apart.memory_report().arena_bytes > 0


def test_two_processes_run_one_device(platforms, session, doomed):
    x = picture(2)
    assert [device.info.id for device in selection.select(platforms=platforms)] == ["apart0", "apart1"]
    assert child_of(session) != child_of(doomed)
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], doomed.run(None, {"x": x})[0])


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin processes")
def test_the_process_is_pinned(platforms, session):
    (device,) = selection.select("apart0", platforms)
    assert device.threads in (1, None)
    tasks = Path(f"/proc/{child_of(session)}/task").iterdir()
    assert {tuple(os.sched_getaffinity(int(task.name))) for task in tasks} == {device.cores}
    with pytest.raises(clnn.UsageError, match="apart0: cores: .* 99999; there are 0"):
        clnn.InferenceSession(NETWORK, platforms=f"{platforms}#nowhere")


def test_texts_and_sizes_that_only_a_run_tells(platforms):
    model = small_network("h", "w", extra=[helper.make_node("NonZero", ["y"], ["nz"]),
                                           helper.make_node("Identity", ["s"], ["t"])])
    model.graph.input.append(helper.make_tensor_value_info("s", TensorProto.STRING, [2]))
    model.graph.output.append(helper.make_tensor_value_info("nz", TensorProto.INT64, None))
    model.graph.output.append(helper.make_tensor_value_info("t", TensorProto.STRING, [2]))
    texts = np.array(["a", "bc"], object)
    with clnn.InferenceSession(model, "apart1", platforms=platforms) as session:
        y, nonzero, text, again = session.run(["y", "nz", "t", "y"], {"x": picture(1, 8, 6), "s": texts})
    np.testing.assert_array_equal(nonzero, np.nonzero(y))
    np.testing.assert_array_equal(text, texts)
    np.testing.assert_array_equal(y, again)
    assert not np.shares_memory(y, again)


def test_a_network_that_needs_no_device(platforms):
    model = node_model("NonZero", [np.zeros((2, 3), np.float32)])
    x = np.eye(2, 3, dtype=np.float32)
    with clnn.InferenceSession(model, "apart1", platforms=platforms) as session:
        np.testing.assert_array_equal(session.run(None, {"x0": x})[0], np.nonzero(x))
        assert session.used_devices() == []


@pytest.mark.parametrize("policy", schedule.policies())
def test_devices_in_different_processes_share_no_inference(platforms, policy):
    infos = [device.info for device in selection.select(platforms=platforms)]
    here = replace(infos[0], id="here", isolated=False)
    graph = frontend.load(NETWORK)
    for devices, best in (((here, *infos), 2), ((*infos, here), 0), ((*infos, here), 2)):
        rated = [replace(device, gflops=20.0 if number == best else 10.0, bandwidth_gbs=10.0)
                 for number, device in enumerate(devices)]
        plan = plan_graph(graph, {"x": (2, 3, 12, 10)}, rated, policy)
        assert plan.used_devices == (devices[best].id,)
        assert f"fastest of {len(devices)} processes" in plan.schedule.reason


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_that_dies_in_a_run_is_told_at_once(doomed, number):
    session = doomed
    session.run(None, {"x": picture(2)})
    child = child_of(session)
    os.kill(child, signal.SIGSTOP)  # so that the run does not end before the child does
    run = session.run_async(None, {"x": picture(2)})
    time.sleep(0.1)
    assert not run.done()
    os.kill(child, number)
    os.kill(child, signal.SIGCONT)
    with pytest.raises(clnn.DeviceError, match=f"apart1.*{number.name}"):
        run.result(isolated.LEAST_LIMIT_S / 2)
    with pytest.raises(clnn.DeviceError, match=number.name):
        session.run(None, {"x": picture(2)})
    assert is_gone(child)


@pytest.mark.parametrize("timeout_s", [0.3, None])
def test_a_child_that_freezes_is_ended(platforms, monkeypatch, timeout_s):
    monkeypatch.setattr(isolated, "LEAST_LIMIT_S", 0.3)
    before = leftovers()
    with clnn.InferenceSession(NETWORK, "apart1", options={"timeout_s": timeout_s},
                               platforms=platforms) as session:
        for _ in range(3):
            session.run(None, {"x": picture(2)})
        child = child_of(session)
        os.kill(child, signal.SIGSTOP)
        with pytest.raises(clnn.DeadlineError, match="apart1 did not answer within"):
            session.run(None, {"x": picture(2)})
        assert is_gone(child)
        with pytest.raises(clnn.DeviceError, match="did not answer"):
            session.run(None, {"x": picture(2)})
    del session
    assert leftovers() == before


def leftovers() -> tuple[list[str], list[str], int]:
    """What is in this process's scratch folder and in /dev/shm, and how many files this process has open."""
    gc.collect()
    shared = sorted(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else []
    return sorted(os.listdir(scratch.folder())), shared, len(os.listdir("/proc/self/fd"))


def test_a_session_that_is_dropped_leaves_nothing(platforms):
    before = leftovers()
    session = clnn.InferenceSession(NETWORK, "apart1", platforms=platforms)
    session.run(None, {"x": picture(2)})
    child = child_of(session)
    assert leftovers() != before
    del session  # without closing it
    assert is_gone(child)
    assert leftovers() == before


def test_the_answer_to_an_interrupted_run_is_passed_over(session):
    x = picture(2)
    (expected,) = session.run(None, {"x": x})
    worker_of(session)._child._channel.send((-1, ("y",), {}))
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], expected)


def test_what_the_child_says_is_the_reason(doomed, capfd):
    with pytest.raises(clnn.DeviceError, match="ended with code 1: .*Error"):
        worker_of(doomed)._child.ask("nonsense", 30.0)
    assert capfd.readouterr() == ("", "")


def test_errors_of_the_child_keep_their_type(platforms, session):
    (device,) = selection.select("apart1", platforms)
    with pytest.raises(clnn.NoDeviceError, match="nope:0"):
        IsolatedWorker(session.plan(), replace(device, found=replace(device.found, id="nope:0")))


def test_a_closed_worker_says_so(doomed):
    worker = worker_of(doomed)
    child = child_of(doomed)
    worker.close()
    assert is_gone(child)
    with pytest.raises(clnn.UsageError, match="closed"):
        worker.run({}, [])


def test_memory_stays_as_it_is(session):
    def resident_pages() -> np.ndarray:
        return np.array([int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in ("self", child_of(session))])

    x = picture(2)
    for _ in range(300):
        session.run(None, {"x": x})
    before, files = resident_pages(), len(os.listdir("/proc/self/fd"))
    for _ in range(1000):
        session.run(None, {"x": x})
    # A leak of the tensors alone would be 1000 × 4.6 kB, 1100 pages.
    assert (resident_pages() - before < 256).all()
    assert len(os.listdir("/proc/self/fd")) == files


SCRIPT = """
import os, sys
print("main", flush=True)
import clnn
session = clnn.InferenceSession(sys.argv[1], "apart1", platforms=sys.argv[2])
session.run(None, {"x": __import__("numpy").ones((2, 3, 12, 10), "float32")})
(worker,) = session._plans.values()
print(worker._child._process.pid, "pyopencl" in sys.modules, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("killed", [False, True], ids=["exits", "is-killed"])
def test_the_child_ends_with_its_parent_and_knows_nothing_of_its_program(platforms, tmp_path, killed):
    (tmp_path / "small.onnx").write_bytes(NETWORK)
    (tmp_path / "program.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "small.onnx"), platforms]
    environment = {**os.environ, env.DEVICES.name: ""}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=environment, text=True) as parent:
        assert parent.stdout.readline() == "main\n"
        child, loaded = parent.stdout.readline().split()
        assert loaded == "False"
        if killed:
            parent.kill()
        said = parent.communicate("")
    assert said == ("", "")
    for _ in range(100):
        if is_gone(int(child)):
            return
        time.sleep(0.05)
    pytest.fail("the child lives on")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_fork_there_is_a_clear_error(session):
    reader, writer = os.pipe()
    forked = os.fork()
    if forked == 0:
        try:
            session.run(None, {"x": picture(2)})
            message = "no error"
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"
        os.write(writer, message.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read().startswith("ForkError")
    os.waitpid(forked, 0)
    session.run(None, {"x": picture(2)})  # the parent is as it was


def test_threads_take_turns(session):
    pictures = [picture(2) for _ in range(20)]
    alone = [session.run(None, {"x": x})[0] for x in pictures]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda x: session.run(None, {"x": x})[0], pictures))
    np.testing.assert_array_equal(alone, together)
