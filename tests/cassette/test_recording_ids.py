"""The ids of recordings are unique, and the same in every form of a cassette. So are the labels and the hop."""

from __future__ import annotations

import json
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.analysis.query import query_of
from omnirecord.cassette.export import packed_bytes
from omnirecord.cassette.jsonl import jsonl_bytes
from omnirecord.cassette.open import import_file, open_store
from omnirecord.cassette.recording_ids import derived_id, is_derived, uuid7
from omnirecord.cassette.scrub import scrub
from omnirecord.cassette.sqlite import Writer, rows
from omnirecord.errors import BrokenCassette
from omnirecord.model import Recording
from omnirecord.recorder.recovery import finish_killed
from tests.support.cassettes import Made, conversation, heartbeat
from tests.support.examples import each
from tests.support.older import aged

STARTED = "2026-01-02T03:04:05.678000+00:00"
OLDER = (1, 2, 3, 4)


def recordings(path: str | Path) -> list[Recording]:
    with closing(open_store(path)) as store:
        return store.recordings()


def ids(path: str | Path) -> list[str]:
    return [one.recording_id for one in recordings(path)]


def text_of(path: Path) -> bytes:
    with closing(open_store(path)) as store:
        return b"".join(jsonl_bytes(store))


def forms(db: Path) -> list[Path]:
    """The same cassette in every form, and a copy of it that an import made."""
    folder = Path(mkdtemp(dir=db.parent))
    text, zst, again, copy = (folder / name for name in ("a.jsonl", "b.db.zst", "c.db", "d.db"))
    text.write_bytes(text_of(db))
    with closing(open_store(db)) as store:
        zst.write_bytes(b"".join(packed_bytes(store, db, zst)))
    import_file(text, again)
    copy.write_bytes(db.read_bytes())
    return [db, text, zst, again, copy]


def known(db: Path, **more: Any) -> Path:
    """A cassette with a recording of today."""
    fields: dict[str, Any] = {"recording_id": uuid7(), "run_id": uuid7(), "labels": {"b": "2", "a": "ü"}} | more
    with closing(Writer(db)) as writer:
        writer.write([rows.recording(Recording(1, STARTED, "0", "omnigent", None, **fields))])
        writer.write([rows.request(1, 1, "http", "s", "client", 5, "GET", "/v1/sessions/s?token=x", ())])
        writer.write([rows.end(1, 6, "eof", 0, 0)])
    return db


@freeze_time("2026-01-02 03:04:05.5")
def test_a_new_id_is_a_uuid_of_version_7_with_the_time_in_ms() -> None:
    made = [uuid.UUID(uuid7()) for _ in range(100)]
    assert {(one.version, one.variant, one.int >> 80) for one in made} == {(7, uuid.RFC_4122, 1767323045500)}
    assert len(set(made)) == 100


ASKED = st.lists(st.tuples(st.integers(), st.text(), st.text(), st.none() | st.integers(), st.none() | st.text()))


@given(ASKED)
def test_a_derived_id_is_a_uuid_of_version_8_that_sorts_by_time(asked: list[Any]) -> None:
    made = uuid.UUID(derived_id(STARTED, "omnigent", None, asked))
    assert (made.version, made.variant, made.int >> 80) == (8, uuid.RFC_4122, 1767323045678)
    assert is_derived(str(made))
    assert not is_derived(uuid7())
    assert derived_id(STARTED, "omnigent", None, asked) == str(made)
    assert derived_id(STARTED, "omnigent", None, [*asked, (1, "", "", 1, "")]) != str(made)


@pytest.mark.parametrize("started", ["1970-01-01T00:00:00+14:00", "2262-12-31T23:59:59", "2026-01-02T03:04:05Z"])
def test_every_start_that_a_cassette_may_have_makes_an_id(started: str) -> None:
    assert is_derived(derived_id(started, "omnigent", "http://a", []))


@pytest.mark.parametrize("version", OLDER)
def test_an_older_cassette_has_the_same_id_in_every_form_and_after_its_migration(version: int, tmp_path: Path) -> None:
    made = conversation()
    made.another_recording()
    made.get("/v1/sessions/other", 1.0, "{}")
    older = aged(made.save(tmp_path / "now.db"), tmp_path / "older.db", version)
    found = {tuple(ids(path)) for path in forms(older)}
    Writer(older).close()
    found |= {tuple(ids(path)) for path in forms(older)}
    ((first, second),) = found
    assert is_derived(first)
    assert is_derived(second)
    assert first != second


@pytest.mark.parametrize("version", OLDER)
def test_a_migration_stores_the_derived_id(version: int, tmp_path: Path) -> None:
    older = aged(conversation().save(tmp_path / "now.db"), tmp_path / "older.db", version)
    (before,) = ids(older)
    Writer(older).close()
    with closing(sqlite3.connect(older)) as connection:
        assert connection.execute("SELECT recording_id, run_id, labels FROM recordings").fetchall() == [
            (before, None, None)
        ]


@pytest.mark.parametrize("version", OLDER)
def test_a_recording_that_a_killed_recorder_left_keeps_its_id_when_it_is_finished(version: int, tmp_path: Path) -> None:
    made = Made()
    made.stream("s", 1.0, (1.0, heartbeat()), ending="open")
    made.get("/v1/sessions/s", 2.0, answered=False)
    older = aged(made.save(tmp_path / "now.db"), tmp_path / "older.db", version, framed=0)
    (before,) = ids(older)
    with closing(Writer(older)) as writer:
        assert [one.exchange for one in writer.unfinished()] == [1]
        finish_killed(writer)
    assert {tuple(ids(path)) for path in forms(older)} == {(before,)}


def test_the_text_form_of_an_older_cassette_does_not_change(tmp_path: Path) -> None:
    older = aged(conversation().save(tmp_path / "now.db"), tmp_path / "older.db", 4)
    before = text_of(older)
    assert b"recording_id" not in before.splitlines()[0]
    Writer(older).close()
    assert text_of(older) == before


def test_a_part_of_an_older_cassette_has_the_id_of_the_whole(tmp_path: Path) -> None:
    made = conversation()
    made.get("/v1/sessions/other", 9.0, "{}")
    path = aged(made.save(tmp_path / "now.db"), tmp_path / "older.db", 4)
    assert ids(f"{path}#other") == ids(path)
    import_file(f"{path}#other", tmp_path / "part.db")
    assert [set(ids(one)) for one in forms(tmp_path / "part.db")] == [set(ids(path))] * 5


def test_there_and_back_keeps_ids_labels_hop_and_the_version_of_the_server(tmp_path: Path) -> None:
    db = known(tmp_path / "a.db", server_version="0.19.1", hop="model")
    assert {text_of(path) for path in forms(db)} == {text_of(db)}
    (head,) = json.loads(text_of(db).splitlines()[0])["recordings"]
    assert list(head)[5:] == ["recording_id", "run_id", "labels", "server_version", "hop"]
    assert list(head["labels"].items()) == [("a", "ü"), ("b", "2")]
    (value,) = recordings(db)
    assert (value.labels, value.server_version, value.hop) == ({"a": "ü", "b": "2"}, "0.19.1", "model")


def test_values_that_are_not_known_are_left_out_of_the_text(tmp_path: Path) -> None:
    db = known(tmp_path / "a.db", run_id=None, labels={})
    (head,) = json.loads(text_of(db).splitlines()[0])["recordings"]
    assert list(head)[5:] == ["recording_id"]


def test_a_scrubbed_copy_has_the_ids_and_labels_without_secrets(tmp_path: Path) -> None:
    labels = {"branch": "main", "api_token": "hunter2-hunter2", "note": "ghp_" + "a1B2" * 9}
    db = known(tmp_path / "a.db", labels=labels, hop="model")
    found = scrub(db, tmp_path / "copy.jsonl")
    (safe,) = recordings(tmp_path / "copy.jsonl")
    (value,) = recordings(db)
    assert (safe.recording_id, safe.run_id) == (value.recording_id, value.run_id)
    assert (safe.labels["branch"], safe.hop) == ("main", "model")
    assert safe.labels["api_token"].startswith("omnirecord-redacted-")
    assert "*" in safe.labels["note"]
    assert {(one.place, one.kind) for one in found if one.place == "labels"} >= {("labels", "field api_token")}
    again = tmp_path / "again.db"
    scrub(tmp_path / "copy.jsonl", again)
    assert recordings(again) == [safe]


def test_a_scrubbed_copy_of_an_older_cassette_has_its_id(tmp_path: Path) -> None:
    made = Made()
    made.get("/v1/sessions/s?token=hunter2-hunter2", 1.0, "{}")
    older = aged(made.save(tmp_path / "now.db"), tmp_path / "older.db", 4)
    scrub(older, tmp_path / "copy.db")
    assert b"hunter2" not in (tmp_path / "copy.db").read_bytes()
    assert [set(ids(path)) for path in forms(tmp_path / "copy.db")] == [set(ids(older))] * 5


@each("version", [*OLDER, None])
def test_query_reads_the_ids_of_every_version(version: int | None, tmp_path: Path) -> None:
    path = conversation().save(tmp_path / "now.db")
    if version is not None:
        path = aged(path, tmp_path / "older.db", version)
    with closing(open_store(path)) as store:
        query = query_of(store)
        assert {"recording_id", "run_id", "labels", "server_version", "hop"} < set(query.names["recordings"])
        if version is not None:
            assert list(query.run("SELECT recording_id, hop FROM recordings").rows) == [
                (one, None) for one in ids(path)
            ]
        assert list(query.run("SELECT sum(frames) > 5 FROM frame_blocks").rows) == [(1,)]
        assert list(query.run("SELECT count(*) > 0 FROM read_blocks").rows) == [(1,)]
        assert list(query.run("SELECT count(*) > 5 FROM events").rows) == [(1,)]
        query.close()


def test_a_reader_of_version_4_goes_on_when_a_recorder_migrates_the_file(tmp_path: Path) -> None:
    older = aged(conversation().save(tmp_path / "now.db"), tmp_path / "older.db", 4)
    with closing(open_store(older)) as store:
        before = store.recordings(), store.exchanges()
        store._connection.rollback()
        Writer(older).close()
        store.refresh()
        assert (store.recordings(), store.exchanges()) == before


@each(
    "change",
    ["recording_id = 'x'", "recording_id = '../../etc/passwd'", "run_id = 5", "labels = '[]'", "labels = '{\"a\": 1}'",
     "labels = '{'", "labels = '{\"a\": \"\\ud800\"}'", "server_version = x'00'", "hop = ''", "hop = 'a b'",
     "hop = x'00'"],
)  # fmt: skip
def test_an_invalid_identity_is_a_damaged_file(change: str, tmp_path: Path) -> None:
    db = known(tmp_path / "a.db")
    with closing(sqlite3.connect(db)) as connection:
        connection.execute(f"UPDATE recordings SET {change}")
        connection.commit()
    with closing(open_store(db)) as store, pytest.raises(BrokenCassette):
        store.recordings()


@each(
    "more",
    [{"recording_id": "x"}, {"run_id": "A" * 36}, {"labels": {"a": 1}}, {"labels": []}, {"server_version": 5},
     {"hop": ""}, {"hop": "a b"}, {"hop": "a" * 33}, {"hop": 5}],
)  # fmt: skip
def test_an_invalid_identity_in_text_is_refused(more: dict[str, Any], tmp_path: Path) -> None:
    head = {"recording": 1, "started_at": STARTED, "version": "0", "contract": "omnigent", "upstream": None, **more}
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"omnirecord": 1, "recordings": [head]}) + "\n")
    with pytest.raises(BrokenCassette, match="line 1"):
        open_store(path)


def test_an_invalid_hop_in_text_is_one_sentence(tmp_path: Path) -> None:
    head = {"recording": 1, "started_at": STARTED, "version": "0", "contract": "none", "upstream": None, "hop": "a/b"}
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"omnirecord": 1, "recordings": [head]}) + "\n")
    with pytest.raises(BrokenCassette) as error:
        open_store(path)
    assert str(error.value) == (
        f"{path}, line 1: recordings.0.hop: value error, is no name of a hop: take letters, digits, - and _, at most 32"
        " characters; nothing was read from it"
    )


def test_query_names_the_hop_of_events_and_requests(tmp_path: Path) -> None:
    db = known(tmp_path / "a.db", hop="model")
    with closing(open_store(db)) as store:
        query = query_of(store)
        assert list(query.run("SELECT exchange, hop FROM requests").rows) == [(1, "model")]
        assert {"hop"} < set(query.names["events"]) & set(query.names["streams"]) & set(query.names["responses"])
        query.close()


# Labels.
