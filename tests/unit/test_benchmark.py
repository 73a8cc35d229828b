"""When two runtimes agree."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from clnn.errors import ComparisonError
from clnn.tools import benchmark

SESSION = SimpleNamespace(get_outputs=lambda: [SimpleNamespace(name="y")])


def compare(ours: list[float], theirs: list[float]) -> None:
    benchmark._compare("peer", SESSION, [np.array(ours, np.float32)], [np.array(theirs, np.float32)])


@pytest.mark.parametrize("theirs", [[1.0, 2.0], [1.0, 2.001], [0.0, 0.0]])
def test_outputs_that_agree(theirs):
    compare(theirs, theirs)
    compare([value * 1.0005 for value in theirs], theirs)


def test_scores_that_are_nearly_zero_agree():
    compare([6.11e-5, 3e-6], [6.10e-5, 3.1e-6])


@pytest.mark.parametrize("ours", [[1.0, 2.01], [float("nan"), 2.0], [1.0, float("inf")]])
def test_outputs_that_differ(ours):
    with pytest.raises(ComparisonError, match="'y' differs from peer's"):
        compare(ours, [1.0, 2.0])
