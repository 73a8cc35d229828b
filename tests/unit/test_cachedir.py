"""The cache on disk: what it returns is what was stored, or nothing."""

from __future__ import annotations

import logging
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from clnn import env
from clnn.runtime import cachedir
from clnn.runtime.cachedir import Store, digest

KEY = digest("key")
POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX")


@pytest.fixture
def store(tmp_path):
    return Store("kind", tmp_path)


def test_an_entry_comes_back(store):
    assert store.put(KEY, b"payload\nwith lines\x00")
    assert store.get(KEY) == b"payload\nwith lines\x00"
    store.drop(KEY)
    assert store.get(KEY) is None
    assert store.put_json(KEY, {"a": [1, "b"]})
    assert store.get_json(KEY) == {"a": [1, "b"]}


def test_whether_there_is_an_entry_and_whether_there_can_be_one(store, tmp_path, caplog):
    assert not store.has(KEY)
    assert store.prepare()
    assert not store.has(KEY)
    store.put(KEY, b"payload")
    assert store.has(KEY)
    blocked = tmp_path / "file"
    blocked.write_text("")
    elsewhere = Store("kind", blocked)
    assert not elsewhere.prepare()
    assert not elsewhere.prepare()
    assert not elsewhere.writable
    assert caplog.text.count("cannot cache") == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: b"",
        lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
        lambda raw: raw.replace(b"clnn-cache 1", b"clnn-cache 0"),
        lambda raw: raw + b"x",
        lambda raw: os.urandom(len(raw)),
    ],
    ids=["one byte short", "half", "empty", "a flipped bit", "another format", "longer", "garbage"],
)
def test_a_damaged_entry_reads_as_absent(store, damage):
    store.put(KEY, b"payload")
    path = store.folder / KEY
    path.write_bytes(damage(path.read_bytes()))
    assert store.get(KEY) is None
    assert store.put(KEY, b"anew")
    assert store.get(KEY) == b"anew"


def test_an_entry_under_another_key_reads_as_absent(store):
    store.put(KEY, b"payload")
    other = digest("other")
    os.replace(store.folder / KEY, store.folder / other)
    assert store.get(other) is None


def test_a_folder_in_the_place_of_an_entry_reads_as_absent(store):
    (store.folder / KEY).mkdir(parents=True)
    assert store.get(KEY) is None
    assert not store.put(KEY, b"payload")


@POSIX
def test_entries_are_private(store):
    store.put(KEY, b"payload")
    assert stat.S_IMODE((store.folder / KEY).stat().st_mode) == 0o600
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


@POSIX
def test_a_folder_that_others_may_write_to_is_not_used(store, caplog):
    store.put(KEY, b"payload")
    store.folder.chmod(0o777)
    assert store.get(KEY) is None
    assert not store.put(KEY, b"payload")
    assert "others may write" in caplog.text


def test_an_unwritable_folder_costs_one_warning(tmp_path, caplog):
    blocked = tmp_path / "file"  # not by permissions, which do not stop root
    blocked.write_text("")
    with caplog.at_level(logging.WARNING):
        for kind in ("one", "two"):
            store = Store(kind, blocked)
            assert not store.put(KEY, b"payload")
            assert not store.writable
            assert store.get(KEY) is None
    assert len(caplog.records) == 1
    assert "CLNN_CACHE_DIR" in caplog.text


def test_a_full_disk_leaves_no_rubbish(store, monkeypatch):
    store.put(KEY, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert not store.put(KEY, b"new")
    assert [path.name for path in store.folder.iterdir()] == [KEY]
    assert store.get(KEY) == b"old"


def test_writers_at_once_leave_a_whole_entry(store):
    payloads = [bytes([number]) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda payload: store.put(KEY, payload), payloads * 4))
    assert store.get(KEY) in payloads
    assert len(list(store.folder.iterdir())) == 1


def test_the_folder_is_the_option_then_the_variable_then_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv(env.CACHE_DIR.name, str(tmp_path / "variable"))
    assert cachedir.root(tmp_path / "option") == tmp_path / "option"
    assert cachedir.root() == tmp_path / "variable"
    monkeypatch.delenv(env.CACHE_DIR.name)
    assert cachedir.root().name.lower() in ("clnn", "cache")


def test_a_digest_knows_where_parts_end():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("ab") != digest("ab", "")
    assert digest("a") == digest(b"a")
