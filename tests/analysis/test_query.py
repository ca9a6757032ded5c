"""The tables that `query` computes say what the commands say, of every shipped cassette, and run nothing of a file.

All analyses in one pass say the same as each of them alone.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from omnirecord.analysis import query as query_module
from omnirecord.analysis.doctor.examine import examine
from omnirecord.analysis.query import ABOUT, Analysis, Query, Whole, query_of
from omnirecord.analysis.sessions import summaries
from omnirecord.analysis.stats import measured
from omnirecord.analysis.stats.values import stats_row
from omnirecord.analysis.transcript import rows_of
from omnirecord.analysis.validate import validation
from omnirecord.cassette.open import import_file, open_store
from omnirecord.cassette.sqlite import Store
from omnirecord.cassette.sqlite.views import SELECTS
from omnirecord.columns import TABLES
from omnirecord.errors import UsageError
from tests.support.cassettes import HEALTHY, SHIPPED, TROUBLED, Made, completed, created, delta, event
from tests.support.examples import a_third, each
from tests.support.hop_tapes import both_hops

CASSETTES = sorted([*SHIPPED.rglob("*.jsonl"), *SHIPPED.rglob("*.jsonl.zst")])
Row = dict[str, Any]


def asked(store: Store, sql: str, **parameters: Any) -> list[Row]:
    with closing(query_of(store)) as query:
        return list(_dicts(query.run(sql, parameters)))


@pytest.fixture
def store() -> Iterator[Store]:
    with closing(open_store(HEALTHY["approval"])) as opened:
        yield opened


@each("path", a_third(CASSETTES, 1))
def test_each_table_agrees_with_the_json_of_its_command(path: Path) -> None:
    with closing(open_store(path)) as opened:
        told, stats = [one.row("") for one in summaries(opened)], [stats_row(one) for one in measured(opened)]
        turns = [one for one in rows_of(opened, None) if one["turn"] is not None]  # the others are model calls
        found = [one.row() for one in examine(opened)]
        with closing(query_of(opened)) as query:
            tables = {name: list(_dicts(query.run(f"SELECT * FROM {name}"))) for name in TABLES}
    _sessions_agree(tables["sessions"], told, stats)
    _turns_agree(tables, turns, stats)
    shared = ("code", "severity", "recording", "session_id", "stream", "message", "why", "next", "because")
    assert [{key: row[key] for key in shared} for row in tables["findings"]] == [
        {key: row[key] for key in shared} for row in found
    ]
    assert [json.loads(row["seqs"]) for row in tables["findings"]] == [row["seqs"] for row in found]


def _dicts(result: Any) -> Iterator[Row]:
    return (dict(zip(result.columns, row, strict=True)) for row in result.rows)


def _sessions_agree(rows: list[Row], told: list[Row], stats: list[Row]) -> None:
    for row, one, measure in zip(rows, told, stats, strict=True):
        same = one.keys() & row.keys()
        assert {key: row[key] for key in same} == {key: one[key] for key in same}
        conclusion, finding = one["conclusion"], one["finding"] or {}
        assert [row[key] for key in ("outcome", "verdict", "conclusion_code", "since")] == [
            conclusion[key] for key in ("outcome", "verdict", "code", "since")
        ]
        assert json.loads(row["connected"]) == conclusion["connected"]
        assert [row[f"finding_{key}"] for key in ("code", "severity", "message")] == [
            finding.get(key) for key in ("code", "severity", "message")
        ]
        assert [row[f"{key}s"] for key in ("error", "warning", "note")] == list(one["findings"].values())
        for key in ("output_tokens", "tool_s", "approval_s", "exchanges", "events", "response_bytes"):
            assert row[key] == measure[key]
        assert (row["streams"], row["frames"]) == (
            len(measure["streams"]), sum(stream["frames"] for stream in measure["streams"])
        )  # fmt: skip


def _turns_agree(tables: dict[str, list[Row]], shown: list[Row], stats: list[Row]) -> None:
    measures = [turn for one in stats for turn in one["turns"]]
    same = (
        TABLES["turns"].types.keys() & shown[0].keys() - {"asked", "tools", "approvals", "children"} if shown else set()
    )
    for row, one, measure in zip(tables["turns"], shown, measures, strict=True):
        assert {key: row[key] for key in same} == {key: one[key] for key in same}
        assert row["asked"] == ("\n\n".join(part["text"] for part in one["asked"]) or None)
        assert [row[key] for key in ("tools", "approvals", "children")] == [
            len(one[key]) for key in ("tools", "approvals", "children")
        ]
        assert [row["error_code"], row["error_message"]] == [
            (one["error"] or {}).get(key) for key in ("code", "message")
        ]
        assert [row["input_tokens"], row["cost_usd"]] == [
            (one["usage"] or {}).get(key) for key in ("input_tokens", "cost_usd")
        ]
        both = measure.keys() & row.keys()
        assert {key: row[key] for key in both} == {key: measure[key] for key in both}
    for table in ("tools", "approvals"):
        expected = [(one["recording"], one["session_id"], one["turn"], part) for one in shown for part in one[table]]
        for row, (*place, part) in zip(tables[table], expected, strict=True):
            assert [row["recording"], row["session_id"], row["turn"]] == place
            assert {key: row[key] for key in part if key in row} == {key: part[key] for key in part if key in row}
    _waits_agree(tables["approvals"], stats)


def _waits_agree(rows: list[Row], stats: list[Row]) -> None:
    for one in stats:
        waits = [
            row["waited_s"] for row in rows
            if (row["recording"], row["session_id"]) == (one["recording"], one["session_id"])
            and row["waited_s"] is not None
        ]  # fmt: skip
        assert sum(waits) == pytest.approx(one["approval_s"] or 0)


def test_sessions_has_the_columns_of_the_view_of_that_name(store: Store, tmp_path: Path) -> None:
    import_file(HEALTHY["approval"], tmp_path / "a.db")
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        cursor = connection.execute("SELECT * FROM sessions")
        (view,) = cursor.fetchall()
        names = [one[0] for one in cursor.description]
    (row,) = asked(store, f"SELECT {', '.join(names)} FROM sessions")
    near = {"started_at", "duration_s"}  # those of the view are to the millisecond, and of all parties
    assert {key: row[key] for key in row if key not in near} == {
        key: value for key, value in zip(names, view, strict=True) if key not in near
    }


def test_every_table_and_view_says_what_it_holds(store: Store) -> None:
    with closing(query_of(store)) as query:
        names = query.names
    assert list(names)[: len(TABLES)] == list(TABLES)
    assert names.keys() > SELECTS.keys()
    assert ABOUT.keys() == TABLES.keys() | SELECTS.keys() | {"recordings"}


@pytest.fixture
def query(store: Store) -> Iterator[Query]:
    with closing(query_of(store)) as made:
        yield made


def test_only_the_tables_that_a_query_names_are_computed(query: Query) -> None:
    asked_for: list[str] = []
    query._rows_of = lambda name: asked_for.append(name) or []  # type: ignore[func-returns-value]
    assert list(query.run("SELECT count(*) FROM events").rows) == [(30,)]
    assert asked_for == []
    assert list(query.run("SELECT * FROM turns JOIN findings USING (session_id)").rows) == []
    assert list(query.run("WITH t AS (SELECT * FROM turns) SELECT count(*) FROM t").rows) == [(0,)]
    assert asked_for == ["turns", "findings"]


def test_two_queries_share_what_was_computed(query: Query) -> None:
    assert list(query.run("SELECT count(*) FROM turns").rows) == [(1,)]
    assert list(query.run("SELECT s.outcome, t.ended FROM sessions s JOIN turns t USING (session_id)").rows) == [
        ("finished", "completed")
    ]


def test_a_value_that_sqlite_cannot_hold_is_none_and_half_a_character_an_escape() -> None:
    tape = Made()
    usage = {"input_tokens": 2**70, "output_tokens": 1, "model": "m"}
    end = event("response.completed", response={"id": "r", "status": "completed", "usage": usage}, sequence_number=1)
    tape.stream("s", 1.0, (1.0, created()), (1.5, delta("a\ud800b")), (2.0, end), end=3.0)
    with closing(tape.store()) as made:
        (row,) = asked(made, "SELECT text, input_tokens, output_tokens FROM turns")
    assert (row["text"], row["input_tokens"], row["output_tokens"]) == ("a\\ud800b", None, 1)


def test_of_a_recording_without_times_none_are_told(tmp_path: Path) -> None:
    body = tmp_path / "a.sse"
    body.write_bytes(created() + delta("Hi") + completed())
    import_file(body, tmp_path / "a.db")
    with closing(open_store(tmp_path / "a.db")) as opened:
        (row,) = asked(opened, "SELECT asked_at, started_at, ended_at, duration_s, text FROM turns")
    assert list(row.values()) == [None, None, None, None, "Hi"]


HOSTILE = """
DROP VIEW events; DROP VIEW sessions;
CREATE VIEW events AS SELECT load_extension('evil') AS seq;
CREATE TABLE sessions (session_id, evil); INSERT INTO sessions VALUES ('evil', 'evil');
CREATE TABLE turns (evil); CREATE VIEW own AS SELECT load_extension('evil') AS seq;
CREATE VIRTUAL TABLE searched USING fts5(evil);
"""


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    import_file(HEALTHY["approval"], tmp_path / "evil.db")
    with closing(sqlite3.connect(tmp_path / "evil.db")) as connection:
        connection.executescript(HOSTILE)
    return tmp_path / "evil.db"


def test_what_a_file_defines_is_hidden_by_ours(hostile: Path) -> None:
    with closing(open_store(hostile)) as opened:
        joined = "sessions JOIN turns USING (session_id)"
        sql = f"SELECT outcome, turn, (SELECT count(*) FROM events WHERE seq > 0) AS n FROM {joined}"
        assert asked(opened, sql) == [{"outcome": "finished", "turn": 1, "n": 30}]


REFUSED = [
    "SELECT * FROM main.events", "SELECT count(*) FROM main.events", "SELECT * FROM main.sessions",
    "SELECT count(*) FROM main.sessions", "SELECT * FROM own", "SELECT count(*) FROM own", "SELECT 1 FROM own",
    "SELECT * FROM searched", "SELECT count(*) FROM searched", "SELECT load_extension('evil')",
    "SELECT (SELECT seq FROM own)", "WITH a AS (SELECT 1) DELETE FROM exchanges", "SELECT * FROM main.turns",
    "WITH a AS (SELECT 1) INSERT INTO temp.sessions SELECT 1", "SELECT * FROM pragma_table_list",
    "ATTACH 'other.db' AS other", "VACUUM INTO 'other.db'", "PRAGMA writable_schema = 1", "DELETE FROM exchanges",
    "CREATE TEMP TABLE a (b)", "EXPLAIN ATTACH 'other.db' AS other", "SELECT 1; DELETE FROM exchanges",
]  # fmt: skip


@pytest.mark.parametrize("sql", REFUSED)
def test_nothing_of_a_file_is_run_and_nothing_is_written(
    sql: str, hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = hostile.read_bytes()
    with closing(open_store(hostile)) as opened, pytest.raises(UsageError) as refused:
        asked(opened, sql)
    assert "\n" not in str(refused.value)
    assert hostile.read_bytes() == before
    assert not (tmp_path / "other.db").exists()


def test_a_store_reads_on_when_a_query_was_refused(store: Store) -> None:
    with pytest.raises(UsageError):
        asked(store, "SELECT * FROM nothing")
    assert len(store.streams()) == 1


@pytest.mark.parametrize(
    "of", [lambda path: path, lambda path: Path(f"{path}#0101b8")], ids=["a cassette", "one session of it"]
)
def test_a_session_of_a_cassette_is_asked_alone(of: Callable[[Path], Path], tmp_path: Path) -> None:
    for name in ("approval_unanswered", "tool_hangs"):
        import_file(TROUBLED[name], tmp_path / "two.db")
    with closing(open_store(of(tmp_path / "two.db"))) as opened:
        codes = [row["finding_code"] for row in asked(opened, "SELECT finding_code FROM sessions")]
    assert codes == ["approval-unanswered", "tool-without-output"][: 2 if "#" not in str(of(tmp_path)) else 1]


def test_model_calls_have_a_row_each_with_their_turn() -> None:
    names = "exchange, hop, api, model, attempt, status, ending, duration_s, input_tokens, session_id, turn, certainty"
    rows = asked(both_hops().store(), f"SELECT {names} FROM model_calls ORDER BY exchange")
    assert [(row["exchange"], row["attempt"], row["status"], row["ending"]) for row in rows] == [
        (4, 1, 429, "refused"), (5, 2, 200, "completed"), (6, 1, 200, "completed"),
    ]  # fmt: skip
    assert {(row["hop"], row["api"], row["session_id"], row["turn"]) for row in rows} == {
        ("model", "openai-responses", "s", 1)
    }
    (shown,) = rows_of(both_hops().store(), None)
    for row, call in zip(rows, shown["model_calls"], strict=True):
        assert row["duration_s"] == pytest.approx((call["ended_ns"] - call["started_ns"]) / 1e9)
        assert row["input_tokens"] == (call["usage"] or {}).get("input_tokens")


PATHS = [path for part in (".", "troubled", "corpus") for path in sorted((SHIPPED / part).glob("*.jsonl"))]


def differences(paths: list[object]) -> list[tuple[object, str]]:
    found: list[tuple[object, str]] = []
    for path in paths:
        with closing(open_store(str(path))) as store:
            alone, together = Analysis(store), Whole(store, 1)
            found += [
                (path, name) for name in TABLES if name != "model_calls"
                if list(getattr(alone, name)()) != list(getattr(together, name)())
            ]  # fmt: skip
            if list(validation(store).problems) != together.problems():
                found.append((path, "problems"))
    return found


@pytest.mark.slow
def test_one_pass_tells_of_a_shipped_cassette_what_each_analysis_tells() -> None:
    assert differences(a_third(PATHS)) == []


def test_one_pass_tells_the_same_when_it_keeps_neither_payloads_nor_odd_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(query_module, "_PARSED", 0)
    monkeypatch.setattr(query_module, "_ODD", -1)
    assert differences([SHIPPED / "subagent.jsonl", SHIPPED / "reconnect.jsonl"]) == []
