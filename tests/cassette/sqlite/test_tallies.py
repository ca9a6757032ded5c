"""How many frames a stream has of each verdict is known without reading them, and is right whoever wrote them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from omnirecord.analysis.listing import session_rows, stream_rows
from omnirecord.cassette.open import import_file
from omnirecord.cassette.sqlite import Store, Writer
from omnirecord.recorder.thread import RecorderThread
from tests.support.cassettes import delta, heartbeat, status
from tests.support.older import aged
from tests.support.wire import event

HEADERS = (("Content-Type", "text/event-stream"),)
TALLIES = "SELECT * FROM tallies ORDER BY 1, 2"
COUNTED = "SELECT stream, verdict, count(*), sum(bytes) FROM events GROUP BY 1, 2 ORDER BY 1, 2"


def asked(path: Path, *queries: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return [connection.execute(query).fetchall() for query in queries]


def recorded(path: Path) -> Path:
    thread = RecorderThread(path, None)
    for _ in range(2):
        recorder = thread.begin_exchange("GET", "/v1/sessions/s/stream", ())
        recorder.respond("sse", 200, "OK", HEADERS)
        for part in (heartbeat(), status("running"), event(1), b": hi\n\n", b"data: {\n\n", delta("x"), status("idle")):
            recorder.receive(part)
        recorder.end("eof")
    thread.stop()
    return path


def listed(path: Path) -> list[Any]:
    with closing(Store.open(path)) as store:
        return [list(stream_rows(store)), list(session_rows(store))]


def changed(path: Path, script: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return path


@pytest.mark.parametrize("by", ["recorder", "import"])
def test_tallies_are_what_counting_would_give(tmp_path: Path, by: str) -> None:
    path = tmp_path / "a.db"
    if by == "recorder":
        recorded(path)
    else:
        import_file(Path(__file__).parent.parent.parent.parent / "cassettes" / "turns.jsonl", path)
    tallies, counted = asked(path, TALLIES, COUNTED)
    assert tallies == counted
    assert tallies


@pytest.mark.parametrize(
    "script",
    ["DELETE FROM tallies", "UPDATE tallies SET frames = 1"],
    ids=["none", "wrong"],
)
def test_where_there_are_no_tallies_or_wrong_ones_frames_are_counted(tmp_path: Path, script: str) -> None:
    path = recorded(tmp_path / "a.db")
    before = listed(path)
    assert listed(changed(path, script)) == before


def test_an_older_cassette_gets_its_tallies_from_the_next_recorder(tmp_path: Path) -> None:
    path = aged(recorded(tmp_path / "a.db"), tmp_path / "older.db", 2)
    Writer(path).close()
    tallies, counted = asked(path, TALLIES, COUNTED)
    assert tallies == counted


def test_a_list_reads_no_frame(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.db")
    with closing(Store.open(path)) as store:
        said: list[str] = []
        store._connection.set_trace_callback(said.append)
        assert list(stream_rows(store))
        plans = [
            row[3]
            for query in said
            if query.startswith("SELECT")
            for row in store._connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
        ]
    assert not [plan for plan in plans if plan.startswith("SCAN") and "pages" in plan]
    assert not [query for query in said if "ends" in query]
