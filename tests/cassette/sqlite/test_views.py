"""The views of a .db: what they show is what the cassette holds, readable, and cheap where it is not asked for."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from omnirecord.analysis.listing import EventFilter, event_rows, session_rows, stream_rows
from omnirecord.cassette.open import import_file, open_store
from omnirecord.cassette.sqlite import Store, Writer, datasette_metadata, rows
from omnirecord.cassette.sqlite.schema import SCHEMA_VERSION
from omnirecord.cassette.sqlite.views import HIDDEN
from omnirecord.errors import BrokenCassette, NotACassette
from tests.cassette.sqlite.test_store import begun, received
from tests.support.cassettes import DONE, Made, child, completed, conversation, created, delta, event, heartbeat, zipped
from tests.support.command import invoke
from tests.support.examples import each
from tests.support.older import aged

CASSETTES = sorted((Path(__file__).parent.parent.parent.parent / "cassettes").glob("*.jsonl"))
VIEWS = {"events", "sessions", "streams", "requests", "responses", "websocket_messages", "incident_log"}


def looked_at(path: Path, query: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


@pytest.fixture(params=CASSETTES, ids=lambda path: path.stem)
def shipped(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Store]]:
    """A shipped cassette as a .db, and what our own reader says of it."""
    import_file(request.param, tmp_path / "session.db")
    store = open_store(tmp_path / "session.db")
    yield tmp_path / "session.db", store
    store.close()


def test_events_are_those_that_the_command_shows(shipped: tuple[Path, Store]) -> None:
    path, store = shipped
    shown = looked_at(path, "SELECT * FROM events")
    told = list(event_rows(store, EventFilter()))
    assert len(shown) == len(told)
    for view, row in zip(shown, told, strict=True):
        assert [view[key] for key in ("stream", "seq", "session_id", "type", "verdict", "recording")] == [
            row[key] for key in ("stream", "seq", "session_id", "type", "verdict", "recording")
        ]
        assert view["offset_s"] == row["offset_ns"] / 1e9
        late = datetime.fromisoformat(view["at"]) - datetime.fromisoformat(row["at"])
        assert abs(late.total_seconds()) < 0.002
        assert view["data"] == "[DONE]" if row["verdict"] == "sentinel" else json.loads(view["data"]) == row["data"]


def test_streams_and_sessions_are_those_that_the_command_lists(shipped: tuple[Path, Store]) -> None:
    path, store = shipped
    keys = ("stream", "session_id", "party", "method", "status", "frames", "ending", "duration_s")
    shown = looked_at(path, "SELECT * FROM streams")
    assert [[row[key] for key in keys] for row in shown] == [[row[key] for key in keys] for row in stream_rows(store)]
    assert all((row["pending_bytes"], row["not_valid"]) == (None, 0) for row in shown)
    keys = ("recording", "session_id", "streams", "exchanges", "duration_s", "parent_session_id")
    shown = looked_at(path, "SELECT * FROM sessions")
    listed = [row for row in session_rows(store) if row["session_id"] is not None]
    assert [[row[key] for key in keys] for row in shown] == [[row[key] for key in keys] for row in listed]


def test_a_gap_is_the_time_since_the_frame_before(tmp_path: Path) -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (3.5, created() + delta("a")), (4.0, completed()))
    path = tape.save(tmp_path / "gaps.db")
    assert [row["gap_s"] for row in looked_at(path, "SELECT gap_s FROM events")] == [None, 2.5, 0.0, 0.5]
    assert len(looked_at(path, "SELECT * FROM events WHERE gap_s > '0.4'")) == 2  # Datasette compares with text


@each(("frame", "shown"), [
    (b'event: x\r\ndata: {"type": "x"}\r\n\r\n', '{"type": "x"}'),
    (b'event: x\rdata:{"type": "x"}\r\r', '{"type": "x"}'),
    (b'data: {"type":\ndata: "x"}\n\n', 'data: {"type":\ndata: "x"}\n\n'),
    (b": a comment\n\n", ": a comment\n\n"),
    (DONE, "[DONE]"),
    (b"data: \xff\n\n", b"data: \xff\n\n"),
])  # fmt: skip
def test_data_is_the_json_or_else_the_whole_frame(frame: bytes, shown: str | bytes, tmp_path: Path) -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, frame))
    data = looked_at(tape.save(tmp_path / "one.db"), "SELECT data FROM events")[0]["data"]
    assert data == shown if isinstance(shown, bytes) else data.strip() == shown.strip()


def test_requests_have_their_bodies_where_they_are_text(tmp_path: Path) -> None:
    tape, text = conversation(), (("Content-Type", "application/json"),)
    tape.post("/v1/a", 7.0, body={"say": "Grüße"}, sent=text, answer={"ok": True})
    tape.post("/v1/b", 8.0, body=b"\x1f\x8b", sent=(("content-type", "application/gzip"),))
    tape.get("/v1/c", 9.0, b"zipped", headers=(("Content-Encoding", "gzip"), *text))
    shown = looked_at(tape.save(tmp_path / "bodies.db"), "SELECT * FROM requests WHERE at > '2026-01-02T03:04:11.5'")
    bodies = [(row["target"], row["request_body"], row["response_body"]) for row in shown]
    assert bodies == [
        ("/v1/a", '{"say": "Gr\\u00fc\\u00dfe"}', '{"ok": true}'), ("/v1/b", None, None), ("/v1/c", None, None),
    ]  # fmt: skip


def test_a_response_has_its_usage_and_one_that_is_no_json_is_left_out(tmp_path: Path) -> None:
    tape = Made()
    usage = {"model": "big", "input_tokens": 1, "output_tokens": 2, "cost_usd": 0.5}
    failed = {"id": "r2", "error": {"message": "no"}}
    in_two_lines = (
        b'event: response.completed\ndata: {"type": "response.completed",\ndata: "response": {"id": "x"}}\n\n'
    )
    tape.stream("s", 1.0, (2.0, event("response.completed", response={"id": "r1", "usage": usage})),
                (3.0, event("response.failed", response=failed)), (4.0, in_two_lines))  # fmt: skip
    shown = looked_at(tape.save(tmp_path / "ends.db"), "SELECT * FROM responses")
    assert [(row["response_id"], row["ended"], row["model"], row["cost_usd"], row["error"]) for row in shown] == [
        ("r1", "completed", "big", 0.5, None), ("r2", "failed", None, None, "no"),
    ]  # fmt: skip


def test_websocket_messages_are_told_in_words(tmp_path: Path) -> None:
    tape = Made()
    tape.websocket("/v1/sessions/updates", 1.0, (1.5, "up", {"watch": 1}), (2.0, "down", b"\xff"))
    first, second = looked_at(tape.save(tmp_path / "ws.db"), "SELECT * FROM websocket_messages")
    assert (first["dir"], first["kind"], first["text"], first["at"]) == (
        "up", "text", '{"watch": 1}', "2026-01-02T03:04:06.500Z",
    )  # fmt: skip
    assert (second["text"], second["bytes"]) == (None, 1)


def test_what_is_in_no_frame_yet_is_counted(tmp_path: Path) -> None:
    reads = [heartbeat(), delta("Hello"), delta("world")]
    with closing(Writer(tmp_path / "begun.db")) as writer:
        writer.write(begun() + received(reads))
        (shown,) = looked_at(tmp_path / "begun.db", "SELECT * FROM streams")
        assert (shown["frames"], shown["pending_bytes"], shown["ending"]) == (None, sum(map(len, reads)), None)


def test_a_compressed_stream_keeps_its_bytes_and_nothing_of_it_is_pending(tmp_path: Path) -> None:
    tape = Made()
    headers = (("content-type", "text/event-stream"), ("content-encoding", "gzip"))
    tape.stream("s", 1.0, *zipped([(1.0, heartbeat()), (2.0, delta("a"))]), headers=headers)
    (shown,) = looked_at(tape.save(tmp_path / "coded.db"), "SELECT frames, pending_bytes FROM streams")
    assert shown == {"frames": 2, "pending_bytes": None}


def test_a_facet_over_events_reads_each_row_once_and_a_session_its_children_by_the_index(tmp_path: Path) -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (1.5, child("t")))
    path = tape.save(tmp_path / "plan.db")
    facet = (
        "SELECT type, count(*) AS n FROM (SELECT * FROM events) WHERE type IS NOT NULL GROUP BY type"
        " ORDER BY n DESC, type LIMIT 31"
    )  # Datasette's
    plan = [row["detail"] for row in looked_at(path, f"EXPLAIN QUERY PLAN {facet}")]
    assert [step for step in plan if step.startswith("SCAN")] == ["SCAN p", "SCAN j VIRTUAL TABLE INDEX 1:"]
    assert not [step for step in plan if "SUBQUERY" in step]
    plan = [row["detail"] for row in looked_at(path, "EXPLAIN QUERY PLAN SELECT * FROM sessions")]
    assert "SEARCH l USING PRIMARY KEY (type=?)" in plan


def test_every_foreign_key_leads_to_a_primary_key_as_datasette_takes_it_to(tmp_path: Path) -> None:
    path = conversation().save(tmp_path / "keys.db")
    tables = [row["name"] for row in looked_at(path, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    keys = [key for table in tables for key in looked_at(path, f"PRAGMA foreign_key_list({table})")]
    assert {key["table"] for key in keys} == {"recordings", "exchanges"}
    for key in keys:
        primary = [column["name"] for column in looked_at(path, f"PRAGMA table_info({key['table']})") if column["pk"]]
        assert primary == [key["to"]]
    assert looked_at(path, "PRAGMA foreign_key_check") == []


# Older files.


@pytest.fixture(params=[1, 2, 3, 4])
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A cassette as that version made it."""
    return aged(conversation().save(tmp_path / "now.db"), tmp_path / "older.db", request.param)


def schema(path: Path) -> set[str]:
    said = looked_at(path, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {" ".join(row["sql"].split()) for row in said}


def test_an_older_cassette_is_read_as_it_is_and_not_written(older: Path) -> None:
    before = older.read_bytes()
    now, then = open_store(older.parent / "now.db"), open_store(older)
    assert list(event_rows(then, EventFilter())) == list(event_rows(now, EventFilter()))
    assert list(session_rows(then)) == list(session_rows(now))
    now.close()
    then.close()
    assert older.read_bytes() == before


def test_an_older_cassette_is_migrated_when_it_is_written_and_is_then_like_a_new_one(older: Path) -> None:
    path, new = older, older.parent / "now.db"
    assert schema(path) != schema(new)
    Writer(path).close()
    assert schema(path) == schema(new)
    assert looked_at(path, "PRAGMA user_version") == [{"user_version": SCHEMA_VERSION}]
    assert looked_at(path, "PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    assert looked_at(path, "SELECT * FROM events") == looked_at(new, "SELECT * FROM events")


def test_a_migration_is_all_or_nothing(older: Path) -> None:
    path = older
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("DROP VIEW events; CREATE TABLE events (mine); INSERT INTO events VALUES (1)")
    before = schema(path)
    with pytest.raises(BrokenCassette):
        Writer(path)
    assert schema(path) == before
    assert looked_at(path, "SELECT * FROM events") == [{"mine": 1}]


def test_somebodys_own_view_of_that_name_is_left_to_them(tmp_path: Path) -> None:
    path = aged(conversation().save(tmp_path / "now.db"), tmp_path / "older.db", 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE VIEW streams AS SELECT 'mine' AS whose")
    Writer(path).close()
    assert looked_at(path, "SELECT * FROM streams") == [{"whose": "mine"}]


@pytest.mark.parametrize("script", [
    "CREATE TRIGGER t AFTER INSERT ON incidents BEGIN DELETE FROM frames; END",
    "CREATE INDEX i ON frames(length)",
    "DROP INDEX frames_of_family",
])  # fmt: skip
def test_an_older_one_that_is_not_as_we_made_it_is_neither_migrated_nor_written(older: Path, script: str) -> None:
    path = older
    if looked_at(path, "PRAGMA user_version") == [{"user_version": 4}]:
        script = script.replace("frames_of_family", "pages_by_seq").replace("frames", "pages")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    before = path.read_bytes()
    with pytest.raises(NotACassette, match="cannot be appended to"):
        Writer(path)
    assert path.read_bytes() == before


def test_a_file_that_says_no_version_is_no_cassette(tmp_path: Path) -> None:
    path = conversation().save(tmp_path / "none.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 0")
    for use in (open_store, Writer):
        with pytest.raises(NotACassette):
            use(path)


# What Datasette is told, and what it makes of it.


def test_each_view_is_explained_with_columns_and_facets_that_it_has(tmp_path: Path) -> None:
    path = conversation().save(tmp_path / "session.db")
    tables = datasette_metadata("session")["databases"]["session"]["tables"]
    made = {
        row["name"]: row["type"]
        for row in looked_at(path, "SELECT name, type FROM sqlite_master WHERE type != 'index'")
    }
    assert {name for name, type_ in made.items() if type_ == "view"} == VIEWS
    assert set(tables) == set(made)
    assert {name for name, told in tables.items() if told.get("hidden")} == set(HIDDEN)
    for view in VIEWS:
        columns = [column["name"] for column in looked_at(path, f"PRAGMA table_info({view})")]
        assert set(tables[view]["columns"]) | set(tables[view]["facets"]) <= set(columns)
        assert tables[view]["description"]


def test_the_page_has_the_views_that_there_are() -> None:
    page = (CASSETTES[0].parent.parent / "docs" / "datasette.md").read_text()
    assert {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")} == VIEWS


def test_export_writes_what_datasette_is_told_of_a_db_and_says_what_to_do_with_a_jsonl(tmp_path: Path) -> None:
    path = conversation().save(tmp_path / "run.db")
    done = invoke("export", path, "--format", "datasette")
    assert json.loads(done.stdout) == datasette_metadata("run")
    done = invoke("export", CASSETTES[0], "--format", "datasette")
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"omnirecord import {CASSETTES[0]} --db {CASSETTES[0].stem}.db" in done.stderr


ASKED = """
import asyncio, json, sys
from datasette.app import Datasette

async def ask(path, metadata, *addresses):
    server = Datasette([path], metadata=json.loads(metadata), settings={"facet_time_limit_ms": 9000})
    await server.invoke_startup()
    for address in addresses:
        answer = await server.client.get(address)
        print(json.dumps(answer.json()) if answer.status_code == 200 else answer.text)

asyncio.run(ask(*sys.argv[1:]))
"""


def datasette(path: Path, *addresses: str) -> list[Any]:
    """What Datasette answers, asked in a process of its own and without a socket."""
    if find_spec("datasette") is None and not os.environ.get("CI"):
        pytest.skip("datasette is not there: make test installs it")
    metadata = json.dumps(datasette_metadata(path.stem))
    command = [sys.executable, "-W", "ignore", "-c", ASKED, str(path), metadata, *addresses]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_datasette_shows_each_view_with_its_facets_and_answers_the_queries(tmp_path: Path) -> None:
    path, views = tmp_path / "session.db", sorted(VIEWS)
    import_file(CASSETTES[0].parent / "subagent.jsonl", path)
    told = datasette_metadata("session")["databases"]["session"]
    addresses = [f"/session/{view}.json" for view in views] + [f"/session/{q}.json?stream=1" for q in told["queries"]]
    answers = datasette(path, *addresses)
    for view, answer in zip(views, answers, strict=False):
        assert [column["name"] for column in looked_at(path, f"PRAGMA table_info({view})")] == answer["columns"]
        assert set(answer["facet_results"]) == set(told["tables"][view]["facets"])
    assert all(answer["rows"] for answer in answers[len(views) :])


@pytest.mark.slow
def test_datasette_shows_a_cassette_that_is_being_recorded_and_compares_seconds_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "killed.db"
    reads = [heartbeat(), delta("Hello")]
    with closing(Writer(path)) as left:
        left.write([*begun(), *received(reads)])
        left.write([rows.incident(1, 2_000_000_000, "the disk was full")])
        addresses = "/killed/streams.json?_shape=array", "/killed/incident_log.json?_shape=array&offset_s__gt=1.5"
        (shown,), (said,) = datasette(path, *addresses)
        assert (shown["pending_bytes"], shown["ending"]) == (sum(map(len, reads)), None)
        assert said["message"] == "the disk was full"
