"""Checking what a caller feeds."""

from __future__ import annotations

import numpy as np
import pytest

from clnn.errors import InputError
from clnn.feeds import NodeArg, check_feeds
from clnn.graph import Graph, TensorType

GRAPH = Graph((), ("x", "n"), (), {"x": TensorType(("batch", 3), "float32"), "n": TensorType((), "int64")})


def feeds(**changes: object) -> dict:
    return {"x": np.ones((2, 3), np.float32), "n": np.int64(1), **changes}


def test_good_arrays_become_contiguous():
    checked = check_feeds(GRAPH, feeds(x=np.ones((3, 2), np.float32).T))
    assert checked["x"].flags.c_contiguous
    assert checked["n"].shape == ()


def test_lists_take_the_dtype_of_the_input():
    assert check_feeds(GRAPH, feeds(x=[[1, 2, 3]]))["x"].dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.ones((2, 4), np.float32)}, r"'x'.*\(2, 4\).*batch×3"),
        ({"x": np.ones(3, np.float32)}, "'x'.*shape"),
        ({"x": np.ones((2, 3))}, "'x'.*float64.*astype"),
        ({"x": [["a", "b", "c"]]}, "'x'.*float32"),
        ({"y": 1}, "'y'.*no such input"),
    ],
)
def test_bad_arrays(changes: dict, message: str):
    with pytest.raises(InputError, match=message):
        check_feeds(GRAPH, feeds(**changes))


def test_missing_input():
    with pytest.raises(InputError, match="'n' is missing"):
        check_feeds(GRAPH, {"x": np.ones((1, 3), np.float32)})


def test_not_a_dict():
    with pytest.raises(InputError, match="list"):
        check_feeds(GRAPH, [1])


def test_types_are_written_as_onnxruntime_writes_them():
    assert NodeArg.of("x", TensorType(("batch", 3, "?"), "float32")) == NodeArg(
        "x", ["batch", 3, None], "tensor(float)"
    )
    assert NodeArg.of("n", TensorType((), "float16")).type == "tensor(float16)"
