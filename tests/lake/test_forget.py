"""`lake forget`: sessions leave a lake with all that belongs to them, the rest stays, and they do not come back."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import time
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable

from omnirecord.analysis.forgetting import forget as forget_in_cassette
from omnirecord.cli import main
from omnirecord.lake import forget as module
from omnirecord.lake.commits import Commits
from omnirecord.lake.forgotten import FOLDER, Forgotten
from omnirecord.lake.layout import TABLES
from omnirecord.lake.location import Lake
from omnirecord.lake.query import LakeQuery
from omnirecord.lake.upkeep import Merged, merge, merges, remove
from tests.analysis.test_forgetting import CHILD, FIRST, PLANTED, SECOND, two
from tests.lake.test_upkeep import compact, content, rows_of
from tests.support import forked
from tests.support.cassettes import SHIPPED
from tests.support.lakes import shipped, split, statuses
from tests.support.stores import lake_url

__all__ = ["lake_url", "two"]
LABELS = {"user": PLANTED}
UNSTABLE = ("shipped_at", "shipped_by", "linked_recording_ids")
"""Columns of `recordings` in which two lakes with the same sessions differ."""


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["lake", "forget", *words])
    assert result.exit_code == code, result.output
    return result.output


def forget(url: str, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(url, *words, "--json"))
    return found


def holds(lake: Lake, text: str) -> list[str]:
    """The objects of a lake that hold a text: in their bytes, or in the values of a Parquet file."""
    found = []
    for some in lake.objects.list():
        for one in some:
            data = bytes(lake.objects.get(one["path"]).bytes())
            if one["path"].endswith(".parquet") and "_delta_log" not in one["path"]:
                data += _values(pq.ParquetFile(pa.BufferReader(data)).read())
            if text.encode() in data:
                found.append(one["path"])
    return found


def _values(rows: pa.Table) -> bytes:
    values = (value for column in rows.columns for value in column.to_pylist())
    return b"\n".join(one if isinstance(one, bytes) else str(one).encode() for one in values)


def sessions(url: str) -> set[str]:
    with LakeQuery(Lake(url)) as query:
        return {one for (one,) in query.rows("SELECT session_id FROM whole_sessions").rows}


def stable(lake: Lake) -> dict[str, list[str]]:
    """The rows of all tables, without what differs between two lakes with the same sessions."""
    found = {}
    for name in TABLES:
        rows = rows_of(lake, name)
        rows = rows.drop_columns([one for one in UNSTABLE if one in rows.column_names])
        found[name] = sorted(json.dumps(row, default=str, sort_keys=True) for row in rows.to_pylist())
    return found


def test_a_planted_text_is_in_no_object_after_the_retention(lake_url: str, two: Path) -> None:
    lake = shipped(lake_url, two)
    tables = {path.split("/")[0] for path in holds(lake, PLANTED)}
    assert tables == {"events", "exchanges", "sessions", "turns", "model_calls"}
    compact(lake)  # objects of before a merge hold it, too

    said = forget(lake_url, FIRST[:8])

    assert (said["sessions"], len(said["recordings"]), said["parts"]) == ([FIRST], 2, [])
    assert said["rows"] == {
        "events": 148, "exchanges": 8, "sessions": 1, "turns": 1, "model_calls": 1, "recordings": 2,
    }  # fmt: skip
    assert said["objects_left"] > 0
    assert said["objects_until"] is not None
    assert sessions(lake_url) == {SECOND, CHILD}
    for name in TABLES:
        remove(lake, name, timedelta(0))
    assert holds(lake, PLANTED) == []
    assert forget(lake_url)["objects_until"] is None
    assert CliRunner().invoke(main, ["lake", "search", lake_url, "Mustermann"]).exit_code == 1
    assert set(statuses(lake_url, two)) == {"there already"}
    assert sessions(lake_url) == {SECOND, CHILD}
    assert holds(lake, PLANTED) == []


def test_a_label_leaves_with_its_recordings(lake_url: str, two: Path) -> None:
    shipped(lake_url, SHIPPED / "text.jsonl", SHIPPED / "generic" / "mcp.jsonl", labels=LABELS)
    lake = shipped(lake_url, two)
    assert any(path.startswith("recordings/") for path in holds(lake, PLANTED))

    said = forget(lake_url, "--label", f"user={PLANTED}")
    forget(lake_url, FIRST)

    assert len(said["recordings"]) == 2
    for name in TABLES:
        remove(lake, name, timedelta(0))
    assert holds(lake, PLANTED) == []
    assert sessions(lake_url) == {SECOND, CHILD}


@pytest.mark.parametrize(
    "name",
    [pytest.param("subagent", marks=pytest.mark.long), "both_hops/both_subagent", "troubled/child_unfinished"],
)
def test_a_lake_forgets_as_a_cassette_does(name: str, tmp_path: Path) -> None:
    cassette = tmp_path / "cassette.db"
    others = [SHIPPED / "two_clients.jsonl", SHIPPED / f"{name}.jsonl", SHIPPED / "troubled" / "retries.jsonl"]
    words = ["import", *dict.fromkeys(map(str, others)), "--db", str(cassette)]
    assert CliRunner().invoke(main, words).exit_code == 0
    lake = shipped(str(tmp_path / "lake"), cassette)
    with LakeQuery(lake) as query:
        sql = "SELECT session_id FROM sessions ORDER BY parent_session_id IS NULL, session_id"
        (gone, *_) = (one for (one,) in query.rows(sql).rows if one is not None)

    said = forget(lake.url, gone)
    forget_in_cassette(cassette, said["sessions"])

    assert stable(lake) == stable(shipped(str(tmp_path / "other"), cassette))


def test_a_forgotten_session_does_not_come_in_with_another_recording(lake_url: str, tmp_path: Path) -> None:
    text = SHIPPED / "text.jsonl"
    requests, streams = split(text, tmp_path)
    shipped(lake_url, requests)
    (gone,) = sessions(lake_url)
    forget(lake_url, gone)

    assert statuses(lake_url, streams) == ["there already"]
    assert statuses(lake_url, streams) == ["there already"]
    assert sessions(lake_url) == set()
    assert not rows_of(Lake(lake_url), "events").num_rows


def test_the_rest_of_a_cassette_with_a_forgotten_session_comes_in(lake_url: str, two: Path, tmp_path: Path) -> None:
    planted = tmp_path / "planted.jsonl"
    planted.write_text((SHIPPED / "both_hops" / "both_text.jsonl").read_text().replace("01a2202b-", "01a2202a-"))
    lake = shipped(lake_url, planted)
    forget(lake_url, FIRST)

    assert statuses(lake_url, two) == ["there already", "there already", "shipped", "shipped"]

    assert holds(lake, PLANTED) == []
    forget_in_cassette(two, {FIRST})
    assert stable(lake) == stable(shipped(str(tmp_path / "other"), two))
    assert sessions(lake_url) == {SECOND, CHILD}


def test_a_session_that_is_forgotten_during_a_shipment_leaves(
    lake_url: str, two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = tmp_path / "planted.jsonl"
    planted.write_text((SHIPPED / "both_hops" / "both_text.jsonl").read_text().replace("01a2202b-", "01a2202a-"))
    lake = shipped(lake_url, planted)
    commit, calls = Commits._commit, list[str]()

    def late(self: Commits, table: DeltaTable, *given: Any) -> None:
        if table.table_uri.rstrip("/").endswith("recordings"):
            calls.append("commit")
            if len(calls) == 1:
                forget(lake_url, FIRST)
        commit(self, table, *given)

    monkeypatch.setattr(Commits, "_commit", late)
    assert set(statuses(lake_url, two)) == {"shipped"}

    assert len(calls) == 2  # the first one lost against the mark
    assert sessions(lake_url) == {SECOND, CHILD}
    for name in TABLES:
        remove(lake, name, timedelta(0))
    assert holds(lake, PLANTED) == []
    assert forget(lake_url)["rows"] == {}


def test_a_restored_lake_forgets_again(tmp_path: Path, two: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), two)
    backup = tmp_path / "backup"
    shutil.copytree(lake.url, backup)
    forget(lake.url, FIRST)
    shutil.copytree(f"{lake.url}/{FOLDER}", backup / FOLDER)

    said = forget(str(backup))

    assert said["sessions"] == [FIRST]
    assert stable(Lake(str(backup))) == stable(lake)


def test_a_stream_without_a_session_leaves_by_a_condition(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), *sorted((SHIPPED / "generic").glob("*.jsonl"))[:1])
    rows = rows_of(lake, "sessions")
    assert None in rows["session_id"].to_pylist()

    forget(lake.url, "--where", "session_id IS NULL")

    assert rows_of(lake, "events").num_rows == 0
    assert rows_of(lake, "sessions").num_rows == 0


def test_forget_and_a_compaction_at_once_double_no_row_and_keep_no_session(lake_url: str, two: Path) -> None:
    lake = shipped(lake_url, two, SHIPPED / "text.jsonl", SHIPPED / "tool.jsonl")
    (first, *_) = merges(lake, "events", 1 << 20)
    slow = merge(lake, first, Merged(), 1 << 20)
    next(slow)

    forget(lake_url, FIRST)
    list(slow)
    compact(lake)

    alone = shipped(
        f"{lake_url}-alone",
        SHIPPED / "both_hops" / "both_subagent.jsonl",
        SHIPPED / "text.jsonl",
        SHIPPED / "tool.jsonl",
    )
    assert {name: rows_of(lake, name).num_rows for name in TABLES} == {
        name: rows_of(alone, name).num_rows for name in TABLES
    }


def test_a_session_leaves_a_merged_object_and_the_rest_stays(lake_url: str, two: Path) -> None:
    lake = shipped(lake_url, two, SHIPPED / "text.jsonl")
    compact(lake)
    forget(lake_url, CHILD)
    before = content(lake)
    assert sum(before["sessions"].values()) == 3
    assert compact(lake).rows == 0
    said = CliRunner().invoke(main, ["lake", "doctor", lake_url, "--jobs", "1", "--json"])
    assert said.exit_code == 0, said.output


def test_the_memory_of_a_lake_has_no_text_and_no_id(tmp_path: Path, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnirecord.lake.forgotten._MANY", 2)
    lake = shipped(str(tmp_path / "lake"), two)
    forget(lake.url, FIRST)
    forget(lake.url, SECOND)

    (one,) = (tmp_path / "lake" / FOLDER).iterdir()  # they became one
    text = one.read_text()
    assert not any(word in text for word in (FIRST, SECOND, CHILD, "leaving_"))
    memory = Forgotten(lake, lake.marker().lake)
    memory.read()
    assert all(map(memory.has, (FIRST, SECOND, CHILD)))
    assert not memory.has("another")
    assert sessions(lake.url) == set()


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return shipped(str(tmp_path_factory.mktemp("unchanged") / "lake"), SHIPPED / "text.jsonl")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing",), "no session begins with 'nothing'"),
        ((FIRST, "--label", "a=b"), "give sessions, --label or --where, and only one of them"),
        (("--where", " "), "--where is empty"),
        (("--where", "asket = 'x'"), "asket"),
        (("--where", "true) --"), "SQL"),
        (("--retain", "1min"), "--retain 1min is too short"),
    ],
)
def test_unusable_words_are_a_sentence_and_remove_nothing(words: tuple[str, ...], said: str, unchanged: Lake) -> None:
    assert said in run(unchanged.url, *words, code=2)
    assert rows_of(unchanged, "sessions").num_rows == 1


def test_a_damaged_memory_is_a_sentence(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), SHIPPED / "text.jsonl")
    lake.objects.put(f"{FOLDER}/x.json", b"{}")
    assert "forgotten/x.json is damaged" in run(lake.url, code=2)


def test_a_dry_run_and_no_as_the_answer_remove_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = shipped(str(tmp_path / "lake"), SHIPPED / "text.jsonl")
    (gone,) = sessions(lake.url)
    assert "nothing was changed: --dry-run" in run(lake.url, gone, "--dry-run")
    monkeypatch.setattr(import_module("omnirecord.cli.lake_forget"), "is_terminal", lambda _stream: True)
    asked = CliRunner().invoke(main, ["lake", "forget", lake.url, gone], input="n\n")
    assert asked.exit_code == 1
    assert "Remove them from the lake?" in asked.output
    assert sessions(lake.url) == {gone}
    assert not (tmp_path / "lake" / FOLDER).exists()


def test_what_an_interrupted_forget_left_is_said_and_completed_by_the_next_compaction_or_shipment(
    tmp_path: Path, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path / "lake")
    lake = shipped(url, two)
    remove_from, done = module._remove, list[str]()

    def interrupted(*given: Any) -> None:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(given[1])
        remove_from(*given)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_remove", interrupted)
        assert "not all rows are removed: omnirecord lake forget" in run(url, FIRST, code=130)
    expected = (
        "rows of removed sessions are still in 2 recordings. If no lake forget runs, one was interrupted: omnirec"
    )
    assert PLANTED in str(stable(lake))
    copy = str(tmp_path / "copy")
    shutil.copytree(url, copy)

    def command(*words: str) -> str:
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
        return result.output

    assert expected in command("lake", "check", url)
    assert expected in command("ship", str(two), "--lake", url)
    assert expected in command("lake", "compact", url, "--dry-run")
    assert "completing an interrupted lake forget" in command("lake", "compact", url)
    assert PLANTED not in str(stable(lake))
    assert "interrupted" not in command("lake", "compact", url)
    assert expected not in command("ship", str(SHIPPED / "text.jsonl"), "--lake", copy)
    assert PLANTED not in str(stable(Lake(copy)))
    assert sessions(url) < sessions(copy)


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.long)], ids=["kill -9", "Ctrl-C"]
)
def test_forget_that_is_killed_at_any_moment_is_finished_by_the_next(
    how: signal.Signals, tmp_path: Path, two: Path, long: bool
) -> None:
    others = [SHIPPED / "text.jsonl", SHIPPED / "tool.jsonl"]
    original = shipped(str(tmp_path / "original"), two, *others)
    forget_in_cassette(two, {FIRST})
    expected = stable(shipped(str(tmp_path / "expected"), two, *others))
    compact(original)
    lot, inside = random.Random(30), 0
    rounds = 40 if long else 1
    for number in range(rounds):
        url = str(tmp_path / f"lake-{number}")
        shutil.copytree(original.url, url)
        process = forked.Running(["lake", "forget", url, FIRST])
        _wait_for(Path(url, FOLDER), process)
        time.sleep(lot.random() * 0.25)
        process.send_signal(how)
        process.join()
        memory = Forgotten(Lake(url), Lake(url).marker().lake)
        memory.read()
        inside += bool(memory.leaving())

        forget(url, *(() if number % 2 and memory else (FIRST,)))  # without a memory, nothing had begun

        lake = Lake(url)
        assert stable(lake) == expected, number
        for name in TABLES:
            remove(lake, name, timedelta(0))
        assert stable(lake) == expected, number
        assert holds(lake, PLANTED) == [], number
    sys.stdout.write(f"{inside} of {rounds} kills were inside\n")
    assert inside >= rounds // 4 or not long


def _wait_for(path: Path, process: forked.Running) -> None:
    end = time.monotonic() + 60
    while process.returncode is None and not (path.is_dir() and any(path.iterdir())) and time.monotonic() < end:
        time.sleep(0.002)
