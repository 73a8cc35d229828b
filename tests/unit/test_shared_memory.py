"""Memory that two processes share; here both are this one, which maps it twice."""

from __future__ import annotations

import os

import numpy as np
import pytest

from clnn.graph import TensorType
from clnn.kernels import aligned
from clnn.runtime import shared_memory

TYPES = {
    "a": TensorType((2, 3), "float32"),
    "scalar": TensorType((), "int64"),
    "empty": TensorType((0, 4), "uint8"),
    "open": TensorType(("n", 2), "float32"),
    "text": TensorType((2,), "string"),
    "last": TensorType((5000,), "bool"),
}


@pytest.fixture
def handle():
    opened = shared_memory.allocate(TYPES)
    yield opened
    os.close(opened)


def test_what_is_written_on_one_side_is_read_on_the_other(handle):
    ours, theirs = (shared_memory.arrays(handle, TYPES) for _ in range(2))
    assert set(ours) == {"a", "scalar", "empty", "last"}, "texts and open shapes have no place"
    for name, array in ours.items():
        assert (array.shape, array.dtype) == (TYPES[name].shape, np.dtype(TYPES[name].dtype))
        value = np.random.default_rng(0).integers(0, 2, array.shape).astype(array.dtype)
        assert shared_memory.put(array, value)
        np.testing.assert_array_equal(theirs[name], value)


@pytest.mark.parametrize("other", [np.zeros((1, 3), np.float32), np.zeros((2, 3)), np.zeros((3, 2), np.float32)])
def test_an_array_of_another_size_is_not_put_in_place(handle, other):
    place = shared_memory.arrays(handle, TYPES)["a"]
    assert not shared_memory.put(place, other)
    assert not shared_memory.put(None, other)


def test_memory_that_is_too_small_is_refused(handle):
    with pytest.raises(ValueError, match="size"):
        shared_memory.arrays(handle, {**TYPES, "more": TensorType((1 << 20,), "uint8")})


def test_packed_arrays_lie_in_the_memory_itself():
    value = {"w": np.arange(6000, dtype=np.float32).reshape(2, -1), "none": np.zeros(0), "name": "x"}
    handle, spans = shared_memory.pack(value)
    unpacked = shared_memory.unpack(handle, spans)
    os.close(handle)
    assert unpacked["name"] == "x"
    np.testing.assert_array_equal(unpacked["w"], value["w"])
    assert unpacked["w"].ctypes.data % aligned.ALIGNMENT == 0
    assert not unpacked["w"].flags.writeable
