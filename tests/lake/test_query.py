"""SQL over a lake: complete recordings only, read-only, mistakes as sentences; split sessions are whole again."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import Schema

from omnirecord.cassette.open import open_store
from omnirecord.errors import UsageError
from omnirecord.lake.commits import Commits
from omnirecord.lake.damage import damaged
from omnirecord.lake.extract import extracted
from omnirecord.lake.files import files_of
from omnirecord.lake.layout import SCHEMAS
from omnirecord.lake.location import Lake
from omnirecord.lake.query import NAMES, LakeQuery
from omnirecord.lake.sessions import Wanted, sessions
from omnirecord.lake.sql import DERIVED
from tests.support.cassettes import HEALTHY, TROUBLED
from tests.support.lakes import shipped, split
from tests.support.stores import bucket_url, lake_url, shared_moto

__all__ = ["lake_url"]
SHOWN = (HEALTHY["turns"], HEALTHY["tool"], HEALTHY["subagent"], TROUBLED["tool_hangs"])


def ask(lake: Lake, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
    with LakeQuery(lake) as query:
        return list(query.run(sql, parameters).rows)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return shipped(str(tmp_path_factory.mktemp("some") / "lake"), *SHOWN, labels={"team": "blue"})


@pytest.fixture
def query(lake: Lake) -> Iterator[LakeQuery]:
    with LakeQuery(lake) as made:
        yield made


def test_each_table_and_view_has_the_columns_that_are_listed(query: LakeQuery) -> None:
    for name, columns in NAMES.items():
        assert query.run(f"SELECT * FROM {name} LIMIT 0").columns == columns, name


def test_a_bucket_gives_the_answers_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = [HEALTHY["subagent"], TROUBLED["tool_hangs"]]
    folder, bucket = (shipped(url, *some) for url in (str(tmp_path / "lake"), bucket_url(shared_moto(), monkeypatch)))
    with LakeQuery(folder) as local, LakeQuery(bucket) as remote:
        for name in NAMES:
            sql = f"SELECT * EXCLUDE (shipped_at) FROM {name}" if name == "recordings" else f"FROM {name}"
            found, expected = ([repr(row) for row in one.run(sql).rows] for one in (remote, local))
            assert sorted(found) == sorted(expected), name
        assert list(remote.run("SELECT count(*) FROM events WHERE day < '2026-01-01'").rows) == [(0,)]
        monkeypatch.setattr("omnirecord.lake.scan.WHOLE", 0)  # each object is a large one
        assert Counter(map(repr, remote.scan("events").to_pylist())) == Counter(
            map(repr, local.scan("events").to_pylist())
        )
        lost = files_of(bucket, "turns")[0][0].path
        bucket.objects.delete(f"turns/{lost}")
        assert remote.scan("turns").num_rows < local.scan("turns").num_rows
        assert bucket.missing.files() == [("turns", lost)]
        assert len(list(sessions(remote, Wanted(findings=["tool-without-output"])))) == 1


def test_an_empty_lake_has_all_tables_without_rows(lake_url: str) -> None:
    lake = shipped(lake_url)
    with LakeQuery(lake) as query:
        for name, columns in NAMES.items():
            result = query.run(f"FROM {name}")
            assert (result.columns, list(result.rows)) == (columns, []), name
        assert list(sessions(query, Wanted())) == []


def test_a_recording_without_its_last_commit_is_not_seen(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), HEALTHY["text"])
    with closing(open_store(HEALTHY["tool"])) as store:
        extract = extracted(store, store.recordings()[0])
    extract.files.pop("recordings")
    with closing(Commits(lake)) as commits:
        commits.add([extract])
    assert ask(lake, "SELECT count(*), count(DISTINCT recording_id) FROM events") == [(73, 1)]
    assert len(lake.table("events").file_uris()) == 2


def test_a_file_with_several_recordings_gives_the_complete_ones(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), HEALTHY["text"], HEALTHY["tool"])
    before = every_row(lake)
    for name in SCHEMAS:
        lake.table(name).optimize.compact()
    assert len(lake.table("events").file_uris()) == 1
    assert every_row(lake) == before


def every_row(lake: Lake) -> dict[str, list[str]]:
    with LakeQuery(lake) as query:
        return {name: sorted(map(repr, query.run(f"FROM {name}").rows)) for name in NAMES}


def test_recordings_of_an_older_version_have_null_in_a_new_column(lake_url: str) -> None:
    lake = shipped(lake_url, HEALTHY["text"])
    mood = Schema.from_arrow(pa.schema([("mood", pa.string())])).fields
    lake.table("turns").alter.add_columns(mood)
    assert ask(lake, "SELECT DISTINCT mood FROM turns") == [(None,)]
    with_mood(lake, HEALTHY["tool"])
    shipped(lake_url, HEALTHY["tool"], HEALTHY["approval"])
    assert sorted(ask(lake, "SELECT DISTINCT mood FROM turns"), key=repr) == [("calm",), (None,)]
    assert ask(lake, "SELECT count(*) FROM whole_turns") == [(3,)]


def with_mood(lake: Lake, cassette: Path) -> None:
    """Add a cassette to the lake; its turns are as a newer omnirecord would write them."""
    with closing(open_store(cassette)) as store:
        extract = extracted(store, store.recordings()[0])
    rows, sink = pq.read_table(pa.BufferReader(extract.files["turns"])), pa.BufferOutputStream()
    pq.write_table(rows.append_column("mood", pa.array(["calm"] * rows.num_rows)), sink)
    extract.files["turns"] = sink.getvalue().to_pybytes()
    with closing(Commits(lake)) as commits:
        commits.add([extract])


READS_A_FILE = [
    "FROM read_csv('{file}')", "FROM read_text('{file}')", "FROM '{file}'", "FROM \"read_blob\"('{file}')",
    "FROM glob('{folder}/*')", "SELECT * FROM query('FROM read_text(''{file}'')')", "FROM sniff_csv('{file}')",
    "FROM read_parquet('{folder}/*.parquet')", "FROM parquet_metadata('{file}')",
    "SELECT * FROM turns WHERE text IN (SELECT content FROM read_text('{file}'))", "FROM query/**/('SELECT 1')",
    "FROM arrow_scan--\n(1, 2, 3)", "FROM \"query\" /* a */ ('SELECT 1')",
]  # fmt: skip
WRITES = [
    "COPY turns TO '{folder}/out.csv'", "COPY (SELECT 1) TO '{lake}/events/out.parquet'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{lake}/events/out.csv'", "ATTACH '{folder}/out.db'",
    "EXPORT DATABASE '{folder}/out'", "CREATE TABLE t AS SELECT 1", "DROP VIEW turns", "INSERT INTO turns SELECT 1",
    "INSTALL httpfs", "LOAD httpfs", "PRAGMA enable_profiling", "SET threads = 1", "RESET threads", "CALL checkpoint()",
    "SELECT * FROM enable_logging(storage='file')", "CREATE SECRET s (TYPE s3)", "USE memory", "SELECT 1; SELECT 2",
    "/* EXPLAIN */ EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/out.csv'", "DETACH memory", "UPDATE turns SET turn = 1",
]  # fmt: skip


@pytest.mark.parametrize("sql", [*READS_A_FILE, *WRITES])
def test_a_query_neither_writes_nor_reads_another_file(sql: str, lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    before = sorted(os.walk(lake.url))
    sql = sql.format(file=tmp_path / "secret.csv", folder=tmp_path, lake=lake.url)
    with pytest.raises(UsageError), LakeQuery(lake) as query:
        list(query.run(sql).rows)
    assert [one.name for one in tmp_path.iterdir()] == ["secret.csv"]
    assert sorted(os.walk(lake.url)) == before


def test_the_engine_itself_refuses_other_files_and_settings(query: LakeQuery, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    for sql in (f"FROM read_csv('{tmp_path}/secret.csv')", f"COPY (SELECT 1) TO '{tmp_path}/out.csv'"):
        with pytest.raises(UsageError, match="no other file"):
            list(query.rows(sql).rows)
    with pytest.raises(UsageError, match="locked"):
        list(query.rows("SET enable_external_access = true").rows)


def test_no_credential_is_in_a_setting(monkeypatch: pytest.MonkeyPatch, lake: Lake) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    assert ask(lake, "SELECT * FROM duckdb_settings() WHERE value LIKE '%very-secret%'") == []
    assert ask(lake, "FROM duckdb_secrets()") == []
    with pytest.raises(UsageError, match="DuckDB has no function getenv"):
        ask(lake, "SELECT getenv('AWS_SECRET_ACCESS_KEY')")


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT * FROM turn", "there is no table or view turn: did you mean turns? There are whole_sessions, "),
        ("SELECT modl FROM turns", "there is no column modl: did you mean model? turns has day, recording_id, "),
        ("SELECT t.modl FROM turns t", "there is no column modl: did you mean model? turns has "),
        ("SELEC 1", "the SQL begins with 'SELEC', which is no statement: did you mean SELECT?"),
        ("SELECT count(* FROM turns", "the SQL has a syntax error near 'FROM'"),
        ("SELECT at, type FROM events", "the SQL has a syntax error near ',': at is a keyword, so write the column as"),
        ("SELECT occurd_at FROM events", "there is no column occurd_at: did you mean occurred_at? events has day, "),
        ("SELECT lowr('A')", "DuckDB has no function lowr: did you mean lower?"),
        ("SELECT * FROM turns WHERE turn = :n", "the SQL has :n, and it has no value: add -p n VALUE"),
        ("SELECT $n", "the SQL has $n, and it has no value: add -p n VALUE"),
        ("turns", 'turns is a table or view, and no SQL: write "SELECT * FROM turns"'),
        ("", "the SQL is empty: begin it with SELECT, or leave it out for a list of tables and views"),
        ("SELECT sum(asked) FROM turns", "DuckDB cannot run this query: Binder Error: No function matches"),
        ("SELECT '\ud800'", "the SQL is not UTF-8: write it in UTF-8"),
    ],
)
def test_a_mistake_is_one_sentence(sql: str, said: str, query: LakeQuery) -> None:
    with pytest.raises(UsageError) as error:
        query.run(sql)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_parameters_have_either_mark_and_other_colons_stay(query: LakeQuery) -> None:
    sql = "SELECT :n::VARCHAR, $n + 1, [1, 2, 3][1:2], 'a:n', :b"
    assert list(query.run(sql, {"n": 1, "b": "x"}).rows) == [("1", 2, [1, 2], "a:n", "x")]
    with pytest.raises(UsageError, match="the SQL has no :m: it has :n"):
        query.run("SELECT :n", {"n": 1, "m": 2})


def test_values_are_those_of_json(query: LakeQuery) -> None:
    sql = """SELECT TIMESTAMPTZ '2026-11-27 10:00:00+01:00', DATE '2026-11-27', 1.5::DECIMAL(9, 2), 'NaN'::DOUBLE,
             MAP {'a': 1}, [DATE '2026-01-01'], INTERVAL 90 SECOND, 'ab'::BLOB, 9223372036854775807::HUGEINT + 1"""
    (row,) = query.run(sql).rows
    assert row == (
        "2026-11-27T09:00:00.000000Z", "2026-11-27", 1.5, None, {"a": 1}, ["2026-01-01"], 90.0, b"ab", 2**63
    )  # fmt: skip


def test_an_event_has_its_text_its_type_and_its_day(lake_url: str) -> None:
    lake = shipped(lake_url, HEALTHY["text"], HEALTHY["tool"])
    of = "SELECT string_agg({}, '' ORDER BY exchange, seq) FROM events WHERE event_type = 'response.output_text.delta'"
    (parsed,), (raw,) = (ask(lake, of.format(name))[0] for name in ("text", "raw"))
    assert len(parsed) > 100
    assert parsed == "".join(json.loads(f'"{one}"') for one in re.findall(r'"delta": ?"((?:[^"\\\\]|\\\\.)*)"', raw))
    names = "occurred_at, event_type, day_of_event"
    assert ask(lake, f"SELECT {names} FROM events") == ask(lake, "SELECT events.at, type, events.at::DATE FROM events")
    for table in ("exchanges", "messages", "incidents"):
        assert ask(lake, f"SELECT occurred_at FROM {table}") == ask(lake, f'SELECT "at" FROM {table}')


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ('data: {"choices": [{"delta": {"content": "a"}}]}\n\n', "a"),
        ('event: x\ndata: {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "b"}}\n\n', "b"),
        ('data:{"candidates": [{"content": {"parts": [{"text": "c"}]}}]}\r\n\r\n', "c"),
        ('event: response.output_text.delta\ndata: {"delta": "d"}\n\n', "d"),
        ('event: response.function_call_arguments.delta\ndata: {"delta": "{"}\n\n', None),
        ("data: [DONE]\n\n", None),
        (": a comment\n\n", None),
        (None, None),
    ],
)
def test_the_text_of_an_event_of_each_api(raw: str | None, text: str | None) -> None:
    type_ = raw.split("\n")[0].removeprefix("event: ") if raw and raw.startswith("event: ") else None
    sql = f"SELECT {DERIVED['events']['text']} FROM (SELECT $raw::VARCHAR AS raw, $type::VARCHAR AS type)"
    assert duckdb.execute(sql, {"raw": raw, "type": type_}).fetchall() == [(text,)]


def test_the_delta_schema_of_a_new_lake_has_comments(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"))
    comments = {one.name: one.metadata.get("comment") for one in lake.table("turns").schema().fields}
    assert comments["turn"] == "Number of the turn in the session, from 1"
    assert comments["day"] == "UTC day on which the recording began"
    assert all(comments.values())


def test_a_query_may_see_some_days_only(lake: Lake) -> None:
    days = sorted({date.fromisoformat(day) for (day,) in ask(lake, "SELECT DISTINCT day FROM recordings")})
    with LakeQuery(lake) as query, query.narrowed(days=(days[0] - timedelta(9), days[0] - timedelta(1))) as none:
        assert list(none.run("SELECT count(*) FROM events").rows) == [(0,)]
    with LakeQuery(lake) as query, query.narrowed(days=(days[0], days[-1])) as all_:
        assert list(all_.run("SELECT count(*) FROM recordings").rows) == [(4,)]


def garbled(data: bytes) -> dict[str, bytes]:
    """The same object, damaged in several ways. A single byte may stay unnoticed: Parquet has no checksums here."""
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    return {
        "short": b"damaged", "cut": data[: len(data) // 2], "empty": b"", "zeros": bytes(len(data)),
        "pages": data[:100] + bytes(len(data) - 300) + data[-200:],
        "footer": data[:footer] + bytes(40) + data[footer + 40 :],
        "text": data.replace(b"recording_id", b"rec\xe5rding_id"),
    }  # fmt: skip


def test_a_query_answers_without_a_damaged_object(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), HEALTHY["text"], HEALTHY["tool"])
    for which in (0, 1):
        for how in ("short", "cut", "empty", "zeros", "pages", "footer", "text"):
            assert_answered(lake, how, which)


def test_a_query_answers_without_a_damaged_object_of_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    lake = shipped(bucket_url(shared_moto(), monkeypatch), HEALTHY["text"], HEALTHY["tool"])
    assert_answered(lake, "pages", 1)


def assert_answered(lake: Lake, how: str, which: int) -> None:
    """All queries of a damaged table have the rows of the other file."""
    path = files_of(lake, "events")[0][which].path
    data = bytes(lake.objects.get(f"events/{path}").bytes())
    sql = "SELECT recording_id, sum(length(raw)), sum(seq), sum(hash(type)) FROM events GROUP BY 1"
    expected = [row for row in ask(lake, sql) if row[0] not in path]
    lake.objects.put(f"events/{path}", garbled(data)[how])
    try:
        assert ask(lake, sql) == expected, how
        assert lake.missing.files() == [("events", path)]
        lake.missing.clear()
        with LakeQuery(lake) as query:
            assert set(query.scan("events")["recording_id"].to_pylist()) == {expected[0][0]}
        assert lake.missing.files() == [("events", path)]
        assert damaged(lake, [("events", one) for one in files_of(lake, "events")[0]]) == [("events", path)]
    finally:
        lake.objects.put(f"events/{path}", data)
        lake.missing.clear()


def test_a_mistake_that_speaks_of_damage_stays_one_of_the_query(query: LakeQuery) -> None:
    with pytest.raises(UsageError, match="corrupt"):
        list(query.run("SELECT error('corrupt') FROM turns").rows)


def test_a_query_that_names_an_intact_file_and_damage_does_not_leave_it_out(query: LakeQuery) -> None:
    path = query.files("turns")[0].path
    with pytest.raises(UsageError, match="Failed to read file"):
        list(query.run(f"SELECT error('Failed to read file turns/{path}: corrupt') FROM turns").rows)
    assert query.lake.missing.files() == []


# Split sessions


@pytest.mark.parametrize(
    "name", ["turns", *(pytest.param(x, marks=pytest.mark.long) for x in ("approval", "text", "tool"))]
)
def test_a_session_that_two_proxies_recorded_is_whole_again(name: str, lake_url: str, tmp_path: Path) -> None:
    columns = "session_id, turn, asked, ended, model, text, input_tokens, output_tokens, tools, response_id"
    times = "first_token_s, duration_s"
    whole = shipped(str(tmp_path / "one"), HEALTHY[name])
    parts = shipped(lake_url, *split(HEALTHY[name], tmp_path))
    with LakeQuery(whole) as of_one, LakeQuery(parts) as of_parts:

        def of(query: LakeQuery, sql: str) -> list[tuple[Any, ...]]:
            return list(query.run(sql).rows)

        assert of(of_parts, "SELECT count(*) FROM split_sessions") == [(1,)]
        assert of(of_parts, "SELECT count(first_token_s) FROM turns") == [(0,)]
        assert of(of_parts, f"SELECT {columns} FROM whole_turns ORDER BY turn") == of(
            of_one, f"SELECT {columns} FROM turns ORDER BY turn"
        )
        measured = [of(one, f"SELECT {times} FROM whole_turns ORDER BY turn") for one in (of_one, of_parts)]
        for a, b in zip(*measured, strict=True):
            assert b == pytest.approx(a, abs=2e-6)
        columns = "session_id, asked, model, turns, outcome, verdict, output_tokens, streams, exchanges, events"
        sql = f"SELECT {columns} FROM whole_sessions"
        assert of(of_parts, sql) == of(of_one, sql)
        assert of(of_parts, "SELECT len(recordings) FROM whole_sessions") == [(2,)]


def test_a_message_whose_answer_only_a_read_has_is_a_turn_without_times(tmp_path: Path) -> None:
    requests, _ = split(HEALTHY["turns"], tmp_path)
    lake = shipped(str(tmp_path / "lake"), requests)
    assert ask(lake, "SELECT turn, ended, first_token_s FROM whole_turns ORDER BY turn") == [
        (n, "completed", None) for n in (1, 2, 3)
    ]


def test_a_session_in_one_recording_is_as_in_the_tables(query: LakeQuery) -> None:
    for whole, part in (("whole_turns", "turns"), ("whole_sessions", "sessions")):
        columns = ", ".join(
            one for one in NAMES[whole] if one in NAMES[part] and one not in ("parent_session_id", "labels")
        )
        found, expected = (sorted(map(repr, query.run(f"SELECT {columns} FROM {one}").rows)) for one in (whole, part))
        assert found == expected


def test_a_sub_agent_has_its_parent_also_from_the_recording_of_another_proxy(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), *split(HEALTHY["subagent"], tmp_path))
    parents = ask(lake, "SELECT parent_session_id FROM whole_sessions ORDER BY started_at")
    assert sum(one is not None for (one,) in parents) == 1


def test_a_scan_among_values_gives_their_rows_only(lake: Lake, query: LakeQuery) -> None:
    found = query.scan("exchanges", ["recording_id"], among={"exchange": [19]})
    rows = ask(lake, "SELECT recording_id FROM exchanges WHERE exchange = 19")
    assert sorted(found["recording_id"].to_pylist()) == sorted(one for (one,) in rows) != []
    assert query.scan("exchanges", ["recording_id"], among={"exchange": []}).num_rows == 0


def test_complete_recordings_are_read_before_the_other_tables(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def noted(of: Lake, name: str) -> Any:
        read.append(name)
        return files_of(of, name)

    monkeypatch.setattr("omnirecord.lake.query.files_of", noted)
    ask(lake, "SELECT count(*) FROM events JOIN sessions USING (recording_id) JOIN recordings USING (recording_id)")
    assert read[0] == "recordings"
    assert set(read) == {"recordings", "events", "sessions"}
