"""A closed cassette can be marked as shipped to a lake; a writer removes the mark."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from omnirecord.cassette.export import packed_bytes
from omnirecord.cassette.jsonl import jsonl_bytes
from omnirecord.cassette.open import import_file, open_store
from omnirecord.cassette.sqlite import Writer
from omnirecord.cassette.sqlite.writer import mark, mark_shipped, number_made, shipped_to
from omnirecord.errors import NotACassette
from tests.support.cassettes import conversation
from tests.support.older import aged

LAKE = "s3://bucket/lake"


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    return conversation().save(tmp_path / "a.db")


def test_a_cassette_is_marked_for_each_lake_and_keeps_its_modification_time(closed: Path) -> None:
    os.utime(closed, (1, 1))
    assert shipped_to(closed) == frozenset()
    assert mark_shipped(closed, LAKE)
    assert mark_shipped(closed, LAKE)
    assert mark_shipped(closed, "/lakes/other")
    assert shipped_to(closed) == {LAKE, "/lakes/other"}
    assert closed.stat().st_mtime == 1
    assert [path.name for path in closed.parent.iterdir()] == ["a.db"]


def test_a_mark_changes_nothing_else(closed: Path) -> None:
    with closing(Writer(closed)) as writer:
        mark(writer.connection, "a.db", 7)
    with closing(open_store(closed)) as store:
        before = b"".join(jsonl_bytes(store))
    assert mark_shipped(closed, LAKE)
    assert number_made(closed) == 7
    with closing(open_store(closed)) as store:
        assert b"".join(jsonl_bytes(store)) == before


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_an_older_cassette_is_marked_without_a_migration(version: int, closed: Path) -> None:
    older = aged(closed, closed.with_name("older.db"), version)
    assert mark_shipped(older, LAKE)
    assert shipped_to(older) == {LAKE}
    with closing(sqlite3.connect(older)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (version,)


def test_a_writer_removes_the_marks(closed: Path, tmp_path: Path) -> None:
    (tmp_path / "b.sse").write_bytes(b"data: [DONE]\n\n")
    assert mark_shipped(closed, LAKE)
    import_file(tmp_path / "b.sse", closed)
    assert shipped_to(closed) == frozenset()


def test_a_file_that_cannot_be_marked_stays_as_it_is(closed: Path, tmp_path: Path) -> None:
    text, packed, empty = (tmp_path / name for name in ("a.jsonl", "a.db.zst", "empty.db"))
    with closing(open_store(closed)) as store:
        text.write_bytes(b"".join(jsonl_bytes(store)))
        packed.write_bytes(b"".join(packed_bytes(store, closed, packed)))
    empty.touch()
    for path in (text, packed, empty):
        before = path.read_bytes()
        assert not mark_shipped(path, LAKE)
        assert (shipped_to(path), path.read_bytes()) == (frozenset(), before)
    assert shipped_to(tmp_path / "none.db") == frozenset()
    with pytest.raises(NotACassette):
        mark_shipped(tmp_path / "none.db", LAKE)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_file_is_not_marked(closed: Path) -> None:
    closed.chmod(0o400)
    assert not mark_shipped(closed, LAKE)
    assert shipped_to(closed) == frozenset()


def test_a_cassette_that_is_being_recorded_is_not_marked(closed: Path) -> None:
    with closing(Writer(closed)):
        assert not mark_shipped(closed, LAKE)
    assert shipped_to(closed) == frozenset()
    assert mark_shipped(closed, LAKE)


def test_a_cassette_that_a_killed_recorder_left_is_not_marked(closed: Path) -> None:
    log = closed.with_name("a.db-wal")
    log.write_bytes(b"")
    assert not mark_shipped(closed, LAKE)
    log.unlink()
    assert mark_shipped(closed, LAKE)


def test_a_cassette_that_a_reader_has_open_is_not_marked(closed: Path) -> None:
    with closing(open_store(closed)) as store:
        assert store.recordings()
        assert not mark_shipped(closed, LAKE)
    assert mark_shipped(closed, LAKE)


def test_a_foreign_database_is_not_marked(tmp_path: Path) -> None:
    path = tmp_path / "foreign.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB)")
    with pytest.raises(NotACassette):
        mark_shipped(path, LAKE)
    assert shipped_to(path) == frozenset()


def test_a_trigger_of_the_file_does_not_run(closed: Path) -> None:
    with closing(sqlite3.connect(closed)) as connection:
        connection.execute("CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM exchanges; END")
    with pytest.raises(NotACassette, match="cannot be appended to"):
        mark_shipped(closed, LAKE)
