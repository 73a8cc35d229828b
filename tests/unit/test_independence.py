"""The verdict on made-up times."""

from __future__ import annotations

import pytest

from clnn.errors import UsageError
from clnn.runtime import independence
from clnn.runtime.independence import Independence


@pytest.mark.parametrize(
    ("alone_ms", "together_ms", "efficiency", "independent"),
    [((50.0, 50.0), 50.0, 1.0, True), ((50.0, 50.0), 100.0, 0.5, False), ((48.0, 60.0), 80.0, 0.75, True)],
)
def test_taking_turns_is_told_from_independence(alone_ms, together_ms, efficiency, independent):
    found = Independence(dict(zip("ab", alone_ms, strict=True)), together_ms, 0.0)
    assert (found.efficiency, found.independent) == (efficiency, independent)


@pytest.mark.parametrize("count", [1, 3])
def test_it_takes_two(count):
    with pytest.raises(UsageError, match=f"between two devices, not {count}"):
        independence.measure([None] * count)
