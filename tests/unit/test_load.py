"""Models that cannot be read."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from clnn import env, frontend
from clnn.errors import ModelError, ModelFormatError, UsageError


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("nothing.onnx", ModelError, "nothing.onnx.*check the path"),
        ("a\0b.onnx", ModelError, "not a path"),
        (b"", ModelFormatError, "not an ONNX file"),
        (b"\xff" * 20, ModelFormatError, "damaged or cut short"),
        (5, UsageError, "int"),
        (None, UsageError, "NoneType"),
    ],
)
def test_what_is_no_model(model, error, message):
    with pytest.raises(error, match=message):
        frontend.load(model)


@pytest.mark.parametrize("limit", ["much", "inf", "nan"])
def test_a_limit_that_is_no_number(monkeypatch, limit):
    monkeypatch.setenv(env.MODEL_LIMIT_MB.name, limit)
    with pytest.raises(UsageError, match=env.MODEL_LIMIT_MB.name):
        frontend.load(b"")


def test_names_that_are_not_utf8():
    node = helper.make_node("Relu", ["x"], ["y"], name="node")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in "xy")
    good = helper.make_model(helper.make_graph([node], "g", [x], [y])).SerializeToString()
    assert frontend.load(good).inputs == ("x",)
    for name in (b"\x01x", b"\x01y", b"node", b"batch"):
        with pytest.raises(ModelFormatError, match="UTF-8"):
            frontend.load(good.replace(name, name[:-1] + b"\x88"))
