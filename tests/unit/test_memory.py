"""Placing tensors in an arena."""

from __future__ import annotations

import random

import pytest

from clnn.plan import memory
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


def random_intervals(seed: int, count: int = 60) -> list[Interval]:
    source = random.Random(seed)
    starts = [source.randrange(50) for _ in range(count)]
    return [Interval(f"t{index}", source.randrange(0, 5000), first, first + source.randrange(0, 8))
            for index, first in enumerate(starts)]


@pytest.mark.parametrize("seed", range(40))
def test_random_lifetimes(seed: int):
    intervals = random_intervals(seed)
    offsets, size = place(intervals, ALIGNMENT)
    assert_valid(intervals, offsets, size)
    assert 1.0 <= size / lower_bound(intervals, ALIGNMENT) <= 1.1
    assert place(intervals[::-1], ALIGNMENT) == (offsets, size), "the same places whatever the order given"


def test_where_the_largest_first_wastes_memory(monkeypatch: pytest.MonkeyPatch):
    # Greedy by size puts a and c at the bottom, b on top of a and d on c; but b and d are alive together.
    blocks = [Interval("a", 512, 0, 1), Interval("b", 384, 2, 4), Interval("c", 512, 4, 5), Interval("d", 384, 0, 2)]
    offsets, size = place(blocks, ALIGNMENT)
    assert_valid(blocks, offsets, size)
    assert size == lower_bound(blocks, ALIGNMENT) == 896
    monkeypatch.setattr(memory, "MOST_TRIES", 1)
    assert place(blocks, ALIGNMENT)[1] == 1280


def test_the_search_is_bounded(monkeypatch: pytest.MonkeyPatch):
    tried = []
    place_in = memory._place_in
    monkeypatch.setattr(memory, "_place_in", lambda *args: tried.append(1) or place_in(*args))
    monkeypatch.setattr(memory, "lower_bound", lambda *args: 0)
    place(random_intervals(0), ALIGNMENT)
    assert len(tried) == memory.MOST_TRIES
    tried.clear()
    crowd = [Interval(f"t{index}", 1, 0, 9) for index in range(500)]
    place(crowd, ALIGNMENT)
    assert len(tried) == 1


@pytest.mark.parametrize(("nbytes", "aligned"), [(0, 128), (1, 128), (128, 128), (129, 256)])
def test_align(nbytes: int, aligned: int):
    assert align(nbytes, ALIGNMENT) == aligned
