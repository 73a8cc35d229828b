"""The session: results, threads, shapes, memory, failures."""

from __future__ import annotations

import concurrent.futures
import ctypes
import os
from unittest.mock import Mock

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import clnn
from clnn.kernels import aligned
from clnn.plan import Host
from clnn.runtime import discovery, memory
from tests.support import relative_error

RANDOM = np.random.default_rng(0)


def small_network(height: int | str = 12, width: int | str = 10, extra: list | None = None) -> onnx.ModelProto:
    """Conv, Relu, MaxPool, Conv on N×3×H×W."""
    def constant(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(RANDOM.standard_normal(shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2"], ["y"]),
        *(extra or []),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, height, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [constant("w1", 7, 3, 3, 3), constant("b1", 7), constant("w2", 5, 7, 1, 1)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def picture(n: int = 1, height: int = 12, width: int = 10) -> np.ndarray:
    return RANDOM.random((n, 3, height, width), np.float32)


@pytest.fixture
def session(clnn_device):
    with clnn.InferenceSession(small_network(), devices=clnn_device) as opened:
        yield opened


def check(session: clnn.InferenceSession, model: onnx.ModelProto, x: np.ndarray) -> None:
    (actual,) = session.run(None, {"x": x})
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
    assert actual.shape == expected.shape
    assert relative_error(actual, expected) < 1e-5  # fp32, sums of at most 27 products


def test_each_shape_gets_a_plan_and_old_ones_go(clnn_device):
    model = small_network("h", "w")
    with clnn.InferenceSession(model, devices=clnn_device) as session:
        with pytest.raises(clnn.UsageError, match="symbolic"):
            session.plan()
        for size in range(4, 16):
            check(session, model, picture(1 + size % 3, size, size + 1))
        check(session, model, picture(2, 4, 5))
        assert len(session._plans) == 8


def test_model_as_path_and_bytes(clnn_device, tmp_path):
    model = small_network()
    path = tmp_path / "small.onnx"
    onnx.save(model, path)
    for source in (path, str(path), path.read_bytes()):
        with clnn.InferenceSession(source, devices=clnn_device) as session:
            check(session, model, picture())


def test_inputs_and_outputs_are_told_as_onnxruntime_tells_them(session):
    (x,), (y,) = session.get_inputs(), session.get_outputs()
    assert (x.name, x.shape, x.type) == ("x", ["n", 3, 12, 10], "tensor(float)")
    assert (y.name, y.type) == ("y", "tensor(float)")
    assert y.shape[1:] == [5, 6, 5]


def test_results_belong_to_the_caller(session):
    x = picture()
    (first,) = session.run(None, {"x": x})
    kept = first.copy()
    session.run(None, {"x": picture()})
    np.testing.assert_array_equal(first, kept)
    first[:] = 0
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], kept)


def test_many_threads_each_get_their_own_result(session):
    pictures = [picture() for _ in range(40)]
    alone = [session.run(None, {"x": x})[0] for x in pictures]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda x: session.run(None, {"x": x})[0], pictures))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_run_async(session):
    pictures = [picture() for _ in range(6)]
    futures = [session.run_async(["y"], {"x": x}) for x in pictures]
    for x, future in zip(pictures, futures, strict=True):
        np.testing.assert_array_equal(future.result(timeout=60)[0], session.run(None, {"x": x})[0])


def test_closing_waits_for_the_runs_that_were_started(clnn_device):
    session = clnn.InferenceSession(small_network("h", "w"), devices=clnn_device)
    pictures = [picture(1, 8 + size, 8) for size in range(6)]
    futures = [session.run_async(None, {"x": x}) for x in pictures]
    session.close()
    assert [future.result(0)[0].shape[2] for future in futures] == [(8 + size) // 2 for size in range(6)]


def test_devices_that_are_not_used_are_not_said_to_be():
    usable = [info.id for info in clnn.devices() if info.usable and not info.interpreter]
    if len(usable) < 2:
        pytest.skip("needs two devices")
    with clnn.InferenceSession(small_network(), devices=usable) as session:
        assert session.used_devices() == usable
        session.run(None, {"x": picture()})
        assert session.used_devices() == list(session.plan().used_devices)
        assert len(session.used_devices()) == 1  # the policy "single"


def test_outputs_are_a_list_of_names(session):
    with pytest.raises(clnn.UsageError, match="list of names"):
        session.run("y", {"x": picture()})


def test_closed_session(clnn_device):
    session = clnn.InferenceSession(small_network(), devices=clnn_device)
    session.close()
    session.close()
    for call in (session.run, session.run_async):
        with pytest.raises(clnn.UsageError, match="closed"):
            call(None, {"x": picture()})


def test_wrong_output_and_wrong_input(session):
    with pytest.raises(clnn.UsageError, match="'z'.*y"):
        session.run(["z"], {"x": picture()})
    with pytest.raises(clnn.InputError, match="'x'"):
        session.run(None, {"x": picture()[:, :2]})


def test_memory_report(session):
    session.run(None, {"x": picture()})
    report = session.memory_report()
    assert report.weights_bytes >= 4 * (7 * 27 + 7 + 35)
    assert 0 < report.lower_bound_bytes <= report.arena_bytes


def test_weights_are_in_memory_once(session, monkeypatch):
    if not session.get_devices()[0].host_memory:
        pytest.skip("the device has memory of its own")
    session.run(None, {"x": picture()})
    constants = [array for arrays in session.plan().constants.values() for array in arrays.values()]
    packed = [array for array in constants if array.size >= 7 * 27]
    placed = []
    monkeypatch.setattr(aligned, "zeros", lambda *args: placed.append(args))
    assert packed
    context = discovery.open_device(session.get_devices()[0]).context
    for array in packed:
        memory.upload(context, array, host_memory=True)
    assert not placed


def test_a_network_of_static_shapes_keeps_its_weights_in_the_plan_only(clnn_device):
    model = small_network()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    with clnn.InferenceSession(model, devices=clnn_device) as session:
        assert not session._source.constants
        assert not session.plan().graph.constants
        for _ in range(2):
            check(session, model, picture(2))
        assert session.get_outputs()[0].shape == [2, 5, 6, 5]
        assert str(session.plan())


def test_without_glibc_nothing_is_given_back(monkeypatch):
    for library in (OSError, TypeError):
        monkeypatch.setattr(ctypes, "CDLL", Mock(side_effect=library))
        memory.return_to_system()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    memory.return_to_system()


def test_host_operator_in_the_middle(clnn_device, caplog):
    # The device writes y, the host sorts out where it is not zero, in a shape nobody can tell beforehand.
    model = small_network(extra=[helper.make_node("NonZero", ["y"], ["nz"]), helper.make_node("Neg", ["nz"], ["z"])])
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.INT64, None))
    x = picture(2)
    with clnn.InferenceSession(model, devices=clnn_device) as session:
        y, z = session.run(None, {"x": x})
        y_expected, z_expected = ReferenceEvaluator(model).run(None, {"x": x})
        assert relative_error(y, y_expected) < 1e-5
        np.testing.assert_array_equal(z, z_expected)
        assert sum(isinstance(step, Host) for step in session.plan().steps) == 2
    assert any("2 of" in record.message and "host" in record.message for record in caplog.records)


def test_outputs_that_are_inputs_constants_and_repeats(clnn_device):
    model = small_network(extra=[helper.make_node("Identity", ["y"], ["again"])])
    model.graph.output.append(helper.make_tensor_value_info("again", TensorProto.FLOAT, None))
    model.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, None))
    model.graph.output.append(helper.make_tensor_value_info("b1", TensorProto.FLOAT, [7]))
    x = picture()
    with clnn.InferenceSession(model, devices=clnn_device) as session:
        y, again, same_x, bias = session.run(["y", "again", "x", "b1"], {"x": x})
    np.testing.assert_array_equal(y, again)
    assert not np.shares_memory(y, again)
    np.testing.assert_array_equal(same_x, x)
    assert not np.shares_memory(same_x, x)
    np.testing.assert_array_equal(bias, numpy_helper.to_array(model.graph.initializer[1]))


def test_deadline(clnn_device):
    with clnn.InferenceSession(small_network("h", "w"), devices=clnn_device, options={"timeout_s": 1e-6}) as session:
        for _ in range(3):
            with pytest.raises(clnn.DeadlineError, match="timeout_s"):
                session.run(None, {"x": picture(8, 256, 256)})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_fork_there_is_a_clear_error(session):
    session.run(None, {"x": picture()})
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            session.run(None, {"x": picture()})
            message = "no error"
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"
        os.write(writer, message.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        message = pipe.read()
    os.waitpid(child, 0)
    assert message.startswith("ForkError")
    session.run(None, {"x": picture()})  # the parent is as it was
