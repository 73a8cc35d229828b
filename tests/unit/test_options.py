"""Options of a session."""

from __future__ import annotations

import pytest

from clnn.errors import UsageError
from clnn.options import Options


def test_defaults_and_dict_agree():
    assert Options.of(None) == Options.of({}) == Options()
    assert Options.of({"threads": 2, "precision": "exact"}) == Options(precision="exact", threads=2)


def test_unknown_key_is_named():
    with pytest.raises(UsageError, match="'thread'.*threads"):
        Options.of({"thread": 2})


@pytest.mark.parametrize(
    "bad",
    [{"precision": "half"}, {"threads": 0}, {"threads": True}, {"threads": "2"}, {"timeout_s": 0}, {"timeout_s": "1"},
     {"timeout_s": True}, {"verify": "on"}, {"verify": None}, {"cache_dir": 5}],
)
def test_bad_values(bad: dict):
    with pytest.raises(UsageError, match=next(iter(bad))):
        Options.of(bad)


def test_neither_options_nor_dict():
    with pytest.raises(UsageError, match="list"):
        Options.of([])
