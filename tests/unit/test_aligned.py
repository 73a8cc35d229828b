"""Host memory that devices take as it is."""

from __future__ import annotations

import numpy as np
import pytest

from clnn.kernels import aligned
from clnn.kernels.gemm import pack_panels
from clnn.kernels.winograd import transform_weights


@pytest.mark.parametrize("shape", [(), (0,), (1,), (16,), (3, 5), (4, 1024)])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64])
def test_zeros_are_zero_and_begin_on_a_page(shape, dtype):
    array = aligned.zeros(shape, dtype)
    assert (array.shape, array.dtype) == (shape, dtype)
    assert not array.any()
    assert array.ctypes.data % aligned.ALIGNMENT == 0 or not array.size
    array[...] = 1  # it can be written to


def test_an_array_that_fits_stays_where_it_is():
    array = aligned.zeros((2, 16))
    array[1] = 3
    flat = aligned.fitting(array)
    assert np.shares_memory(flat, array)
    assert flat.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "array",
    [
        aligned.zeros((17,)),
        aligned.zeros((33,))[1:],
        aligned.zeros((4, 16)).T,
        np.array(2.5, np.float32),
        np.arange(5),
        np.array([True, False]),
        np.zeros(0, np.float32),
        np.zeros((3, 0), bool),
    ],
    ids=["part of a granule", "off a page", "transposed", "scalar", "small", "bool", "empty", "empty bool"],
)
def test_any_other_is_copied_and_filled_up(array):
    assert not aligned.fits(array)
    flat = aligned.fitting(array)
    assert aligned.fits(flat)
    assert flat[: array.nbytes].tobytes() == array.tobytes()
    assert not flat[array.nbytes :].any()
    assert not np.shares_memory(flat, array)


@pytest.mark.parametrize("channels", [3, 16, 40])
def test_packed_weights_fit(channels):
    random = np.random.default_rng(0)
    assert aligned.fits(pack_panels(random.random((2, 9, 5, channels)), 16))
    assert aligned.fits(transform_weights(random.random((channels, 5, 3, 3), np.float32), 4, 32))
