"""Cassettes that were made to do harm: each is refused with a sentence; none hangs or floods."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from omnirecord.analysis.listing import EventFilter, event_rows, exchange_rows, session_rows, stream_rows
from omnirecord.analysis.transcript import lines_of
from omnirecord.cassette.framing import Framed, Framer
from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import Store
from omnirecord.errors import BrokenCassette, NewerCassette, UsageError
from omnirecord.model import wall_clock
from omnirecord.wire.content_coding import PIECE
from tests.cassette.jsonl.test_jsonl import everything_made, saved
from tests.support.cassettes import child, conversation, lines
from tests.support.examples import each


def read_all(store: Store) -> None:
    """Everything that a command would ask of a cassette."""
    list(lines(store))
    list(event_rows(store, EventFilter()))
    for rows_of in (exchange_rows, stream_rows, session_rows):
        list(rows_of(store))
    list(session_rows(store, is_brief=True))
    list(lines_of(store, None))
    for exchange in store.exchanges():
        store.lost(exchange.exchange)


UPDATES = [
    *(f"UPDATE exchanges SET request_headers = {value}" for value in (
        "'x'", "'5'", "'[[1,2,3]]'", "'[[1,2]]'", "'{\"a\":1}'", "x'5b5d'", "'[[\"a b\",\"\"]]'",
        "'[[\"a\",\"\\r\\n\"]]'", "'[[\"a\",\"\\ud800\"]]'", "'" + "[" * 100_000 + "'",
    )),
    "UPDATE exchanges SET response_headers = NULL",
    *(f"UPDATE exchanges SET {column} = {value}" for column in ("request_at_ns", "response_at_ns", "end_ns", "status")
      for value in ("'x'", "x'00'", "1.5", "9223372036854775807")),
    *(f"UPDATE exchanges SET status = {value}" for value in (1000, -200)),
    *(f"UPDATE exchanges SET {column} = x'ff'"
      for column in ("method", "target", "kind", "party", "ending", "session_id", "reason")),
    *(f"UPDATE exchanges SET {column} = cast(x'ff' AS TEXT)" for column in ("method", "target", "party", "reason")),
    "UPDATE exchanges SET method = 'GET / HTTP/1.1'",
    "UPDATE exchanges SET method = 'GET' || char(10)",
    "UPDATE exchanges SET target = 'http://elsewhere/'",
    "UPDATE exchanges SET target = '/a' || char(13) || char(10) || 'X: y'",
    "UPDATE exchanges SET reason = 'a' || char(10)",
    "UPDATE exchanges SET kind = 'sse'",
    "UPDATE exchanges SET stream = 'x' WHERE stream = 1",
    "UPDATE exchanges SET stream = NULL",
    "UPDATE exchanges SET ending = 'tired'",
    "UPDATE exchanges SET request_bytes = 'x'",
    "UPDATE exchanges SET recording = 7",
    "UPDATE recordings SET started_at = 'yesterday'",
    "UPDATE recordings SET started_at = '9999-12-31T23:59:59+00:00'",
    "UPDATE recordings SET started_at = x'ff'",
    "UPDATE recordings SET contract = x'ff'",
    "UPDATE recordings SET version = x'ff'",
    "DELETE FROM recordings",
    "ALTER TABLE recordings DROP COLUMN upstream",
    *(f"UPDATE read_blocks SET {column} = {value}" for column in ("start", "size", "offset_ns")
      for value in ("'x'", "x'00'", "1.5", "9223372036854775807")),
    "UPDATE read_blocks SET n = 'x'",
    "UPDATE read_blocks SET data = 'text'",
    "UPDATE read_blocks SET data = 5",
    "UPDATE read_blocks SET data = x'00'",
    "UPDATE read_blocks SET data = CAST(replace(CAST(data AS TEXT), 'data: {', 'data: [') AS BLOB)",
    *(f"UPDATE read_blocks SET reads = {value}"
      for value in ("'{'", "'5'", "'[]'", "'[5]'", "'[[0,1]]'", "'[[0,1.5,9]]'", "'[[0,null,-1]]'", "x'ff'")),
    *(f"UPDATE frame_blocks SET {column} = {value}" for column in ("frames", "start", "read")
      for value in ("'x'", "x'00'", "-1", "9223372036854775807")),
    "UPDATE frame_blocks SET seq = 'x'",
    *(f"UPDATE frame_blocks SET {column} = {value}"
      for column in ("types", "kinds", "verdicts", "ends", "reads", "more")
      for value in ("'{'", "'5'", "'[]'", "'[-1]'", "x'ff'")),
    *(f"UPDATE frame_blocks SET {column} = json_set({column}, '$[0]', {value})" for column in ("ends", "reads")
      for value in ("-1", "10000000000", "1.5", "'x'", "null")),
    "UPDATE frame_blocks SET types = '[5]'",
    *(f"UPDATE frame_blocks SET {column} = json_replace(ends, '$[0]', 99)" for column in ("kinds", "verdicts")),
    *(f"UPDATE frame_blocks SET more = '{value}'"
      for value in ('{"0": 5}', '{"0": {"issues": 5}}', '{"0": {"issues": ["ab"]}}', '{"0": {"issues": [["a", 1]]}}')),
    "DELETE FROM read_blocks",
    "DELETE FROM read_blocks; DELETE FROM frame_blocks",
    "UPDATE chunks SET data = 'text'",
    "UPDATE chunks SET data = 5",
    "UPDATE chunks SET start = 'x'",
    "UPDATE messages SET data = 5",
    "UPDATE messages SET dir = 'left'",
    "UPDATE messages SET opcode = 'x'",
    "UPDATE messages SET at_ns = 'x'",
    "INSERT INTO incidents VALUES (1, 'x', 'y')",
    "INSERT INTO incidents VALUES (1, 1, x'ff')",
    "DELETE FROM read_blocks WHERE n = 0; DELETE FROM frame_blocks",
    "DROP TABLE frame_blocks",
]  # fmt: skip


@cache
def healthy() -> bytes:
    """Return the file of a cassette that can be read."""
    made = everything_made()
    made.stream("u", 8.0, (8.0, child("c")))
    with TemporaryDirectory() as folder:
        path = made.save(Path(folder) / "a.db")
        with closing(open_store(path)) as store:
            read_all(store)
        return path.read_bytes()


@each("script", UPDATES)
def test_a_db_with_anything_in_it_is_damaged_and_no_traceback(tmp_path: Path, script: str) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(healthy())
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)

    with pytest.raises(BrokenCassette, match=r"a\.db is damaged \(.+\): "), closing(open_store(path)) as store:
        read_all(store)


def test_damaged_headers_are_refused_when_they_are_read(tmp_path: Path) -> None:
    path = conversation().save(tmp_path / "a.db")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE exchanges SET response_headers = '[[1, 2]]'")
    with closing(open_store(path)) as store:
        exchange = store.exchanges()[0]
    assert exchange.response is not None
    with pytest.raises(BrokenCassette, match=r"a\.db is damaged \(headers: no list of pairs of text\)"):
        _ = exchange.response.headers


def test_a_recording_that_is_not_there_is_said(tmp_path: Path) -> None:
    with (
        closing(open_store(conversation().save(tmp_path / "a.db"))) as store,
        pytest.raises(BrokenCassette, match="recording 7 is missing"),
    ):
        store.recording(7)


def test_closing_twice_is_harmless_and_a_closed_store_says_so(tmp_path: Path) -> None:
    for path in saved(tmp_path):
        store = open_store(path)
        (exchange, *_) = store.streams()
        begun = store.frames(exchange)
        next(begun)
        store.close()
        store.close()
        with pytest.raises(UsageError, match="this cassette is closed"):
            store.exchanges()
        with pytest.raises(UsageError, match="this cassette is closed"):
            list(begun)


def test_no_path_that_a_cassette_names_is_opened(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    db, text = saved(tmp_path)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)  # to open it would take for ever
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("UPDATE recordings SET contract = ?", (str(fifo),))
        connection.execute("DELETE FROM frame_blocks WHERE stream = 2")  # has to be derived
    text.write_text(text.read_text().replace('"contract": "omnigent"', f'"contract": {json.dumps(str(fifo))}'))

    with caplog.at_level(logging.WARNING, "omnirecord"):
        for path in (db, text):
            with closing(open_store(path)) as store:
                assert all(list(store.frames(stream)) for stream in store.streams())
    (said,) = caplog.messages
    assert said.startswith(f"the contract of this cassette, {str(fifo)!r}, is not read")


def edited(folder: Path, change: Callable[[list[dict[str, Any]]], object]) -> Path:
    _, path = saved(folder)
    found = [json.loads(line) for line in path.read_text().splitlines()]
    change(found)
    path.write_text("".join(json.dumps(line) + "\n" for line in found))
    return path


FORMS: dict[str, Callable[[list[dict[str, Any]]], object]] = {
    **{f"status {n}": lambda f, n=n: f[1]["response"].update(status=n) for n in (1000, -1, 10**18)},  # type: ignore[misc]
    **{f"method {m!r}": lambda f, m=m: f[1]["request"].update(method=m) for m in ("", "G T", "GET\n", "GÉT")},  # type: ignore[misc]
    **{
        f"target {t!r}": lambda f, t=t: f[1]["request"].update(target=t)  # type: ignore[misc]
        for t in ("", "a", "http://a/", "/ b", "/\r\nX: y", "/\0", "/\n", "**")
    },
    "a header's name": lambda f: f[1]["request"]["headers"].append(["a b", ""]),
    "a header's value": lambda f: f[1]["response"]["headers"].append(["a", "b\r\nc: d"]),
    "a reason": lambda f: f[1]["response"].update(reason="OK\r\nX: y"),
    "year 1969": lambda f: f[0]["recordings"][0].update(started_at="1969-12-31T23:59:59+00:00"),
    "year 2263": lambda f: f[0]["recordings"][0].update(started_at="2263-01-01T00:00:00+00:00"),
    "reads of more bytes than there are": lambda f: f[
        next(n for n, x in enumerate(f) if "reads" in x)
    ].update(reads=[[0, None, 2**61]] * 8),
}  # fmt: skip


@each("name", FORMS)
def test_text_that_would_make_another_message_of_it_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BrokenCassette, match=r"a\.jsonl, line \d+: "):
        open_store(edited(tmp_path, FORMS[name]))


@each("target", ["*", "/[a]", "/{a}?{b}", "/a'b\"c<d>|e^f`", "/x?a=%zz", "//host/x", "/\ufffd"])
def test_odd_targets_that_the_proxy_records_are_read(tmp_path: Path, target: str) -> None:
    with closing(open_store(edited(tmp_path, lambda f: f[1]["request"].update(target=target)))) as store:
        assert store.exchanges()[0].request.target == target


def test_a_bomb_is_not_made_into_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(b":\n\n" * 10_000_000)

    def put(found: list[dict[str, Any]]) -> None:
        at = next(n for n, line in enumerate(found) if line.get("stream") == 2 and "request" in line)
        found[at]["response"]["body"] = {"base64": base64.b64encode(bomb).decode()}
        found[at + 1 :] = [
            {"stream": 2, "seq": 1, "raw": ":\n\n"},
            {"stream": 2, "reads": [[0, None, len(bomb)]]},
        ]

    path, fed = edited(tmp_path, put), list[int]()
    take = Framer._feed

    def counting(framer: Framer, read: int, piece: bytes, ends: Sequence[int] = ()) -> list[Framed]:
        fed.append(len(piece))
        return take(framer, read, piece, ends)

    monkeypatch.setattr(Framer, "_feed", counting)
    with pytest.raises(BrokenCassette, match="stream 2 has 1 frames where its bytes make others"):
        open_store(path)
    assert sum(fed) < 2 * PIECE


def test_a_version_of_many_digits_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"omnirecord": 10**400}))
    with pytest.raises(NewerCassette) as error:
        open_store(path)
    assert len(str(error.value)) < len(str(path)) + 200


def test_a_time_that_no_clock_shows_is_the_start() -> None:
    start = "9999-12-31T23:59:59+00:00"
    assert wall_clock(start, 2**62) == wall_clock(start, 0)
