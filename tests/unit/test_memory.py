"""Placing tensors in an arena."""

from __future__ import annotations

import random

import pytest

from clnn.plan.memory import Interval, align, lower_bound, place

ALIGNMENT = 128


def assert_valid(intervals: list[Interval], offsets: dict[str, int], size: int) -> None:
    for a in intervals:
        assert offsets[a.name] % ALIGNMENT == 0
        assert offsets[a.name] + a.nbytes <= size
        for b in intervals:
            if a.name < b.name and a.first <= b.last and b.first <= a.last:
                a_start, b_start = offsets[a.name], offsets[b.name]
                assert a_start + a.nbytes <= b_start or b_start + b.nbytes <= a_start, (a, b)


def test_tensors_that_never_meet_share_memory():
    chain = [Interval("a", 1000, 0, 1), Interval("b", 1000, 1, 2), Interval("c", 1000, 2, 3)]
    offsets, size = place(chain, ALIGNMENT)
    assert offsets["a"] == offsets["c"] != offsets["b"]
    assert size == 2 * 1024 == lower_bound(chain, ALIGNMENT)


def test_empty_tensor_still_has_a_place():
    offsets, size = place([Interval("empty", 0, 0, 0)], ALIGNMENT)
    assert offsets == {"empty": 0}
    assert size == ALIGNMENT


def test_nothing_to_place():
    assert place([], ALIGNMENT) == ({}, 0)
    assert lower_bound([], ALIGNMENT) == 0


@pytest.mark.parametrize("seed", range(20))
def test_random_lifetimes(seed: int):
    source = random.Random(seed)
    intervals = []
    for index in range(60):
        first = source.randrange(50)
        intervals.append(Interval(f"t{index}", source.randrange(0, 5000), first, first + source.randrange(0, 8)))
    offsets, size = place(intervals, ALIGNMENT)
    assert_valid(intervals, offsets, size)
    assert size >= lower_bound(intervals, ALIGNMENT)


@pytest.mark.parametrize(("nbytes", "aligned"), [(0, 128), (1, 128), (128, 128), (129, 256)])
def test_align(nbytes: int, aligned: int):
    assert align(nbytes, ALIGNMENT) == aligned
