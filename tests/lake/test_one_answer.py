"""A lake says of each session what its cassette says: `lake sessions`, `lake stats`, `lake doctor` and the tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from omnirecord.lake.get import Fetch
from omnirecord.lake.page import Fetched
from omnirecord.lake.page_data import LakeAnswers
from tests.lake.test_get import ALL
from tests.support.answers import InLake, contradictions, printed, rows
from tests.support.cassettes import HEALTHY, SHIPPED, TROUBLED
from tests.support.command import invoke
from tests.support.lakes import as_an_older_version, shipped, split

BOTH_HOPS = sorted((SHIPPED / "both_hops").glob("*.jsonl*"))
AGENTS = [SHIPPED / "agents" / "day.jsonl", SHIPPED / "cities" / "cities.jsonl"]
OTHERS = [path for path in ALL if path not in BOTH_HOPS]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> InLake:
    return InLake(shipped(str(tmp_path_factory.mktemp("hops") / "lake"), *BOTH_HOPS, *AGENTS).url)


@pytest.mark.parametrize("path", [*BOTH_HOPS, *AGENTS], ids=lambda path: path.name)
def test_a_lake_says_of_model_calls_what_the_cassette_says(path: Path, lake: InLake) -> None:
    assert contradictions(path, lake) == []
    _, stats, found, tables = lake.of(path)
    assert counted(found) == counted(rows(path, "doctor"))
    assert plain(stats) == plain(rows(path, "stats"))
    of_calls = "finding, status, attempt, session_id, turn, cached_tokens, system_chars, tools_chars, history_chars"
    assert len(tables["model_calls"]) == len(rows(path, "query", f"SELECT {of_calls} FROM model_calls"))


def test_a_lake_knows_the_exit_code_of_the_recorded_command(tmp_path: Path) -> None:
    """The first call of an agent, which asks for a tool: with exit code 0, the conversation is finished."""
    first, *lines = map(json.loads, AGENTS[1].read_text().splitlines())
    first["recordings"][0]["labels"] = {"command.exit_code": "0"}
    path = tmp_path / "one.jsonl"
    path.write_text("".join(f"{json.dumps(one)}\n" for one in [first, *lines] if one.get("exchange", 1) == 1))
    assert [(one["code"], one["severity"]) for one in rows(path, "doctor")] == [("tool-without-output", "note")]
    lake = InLake(shipped(str(tmp_path / "lake"), path).url)
    assert contradictions(path, lake) == []
    assert counted(lake.of(path)[2]) == counted(rows(path, "doctor"))


def test_the_page_on_a_lake_shows_the_time_of_the_model(tmp_path: Path) -> None:
    path = SHIPPED / "both_hops" / "both_retried.jsonl"
    lake = shipped(str(tmp_path / "lake"), path)
    (session,) = rows(path, "sessions")
    page = Fetched(lake, (session["session_id"],), LakeAnswers(lake))
    overview = page.answer("overview", {})
    calls = page.answer("calls", {"key": overview["opens"]["key"]})
    page.close()
    assert [(one["status"], one["attempt"], one["turn"]) for one in calls["calls"]] == [
        (200, 1, 1), (429, 1, 1), (500, 2, 1), (200, 3, 1), (200, 1, 1),
    ]  # fmt: skip
    assert "model 0.44 s in 3 calls (5 attempts), waiting to retry 9.02 s" in calls["spent"][0]["sentence"]


def test_the_page_on_a_lake_opens_a_conversation(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), AGENTS[0])
    (last, *_) = printed("lake", "sessions", "--json", lake.url)
    page = Fetched(lake, (last["session_id"],), LakeAnswers(lake))
    opens = page.answer("overview", {})["opens"]
    found = page.answer("session", {"key": opens["key"]})
    page.close()
    assert opens["view"] == "session"
    assert [one["session_id"] for one in found["family"]] == ["conversation-1"]


def test_only_wanted_sessions_are_told_with_the_calls_that_a_turn_made(tmp_path: Path) -> None:
    """A time chooses sessions: the other hop is read, too."""
    url = shipped(str(tmp_path / "lake"), *BOTH_HOPS[:3], AGENTS[0]).url

    def stats(*words: str) -> list[dict[str, Any]]:
        return printed("lake", "stats", "--json", url, "--jobs", "1", *words)

    every = stats()
    late = stats("--since", "2026-11-28T03:24:00")
    assert 0 < len(late) < len(every)
    sessions = {row["session_id"]: row for row in every}
    assert all(row == sessions[row["session_id"]] for row in late)


def test_hops_of_two_recorders_that_a_cassette_joins_are_analysed_together(tmp_path: Path) -> None:
    """The recorders had different runs, and began on different days."""
    head, rest = (SHIPPED / "both_hops" / "both_failed.jsonl").read_text().split("\n", 1)
    value = json.loads(head)
    value["recordings"][0]["started_at"] = "2026-11-28T23:59:59.900000+00:00"
    value["recordings"][1] |= {"started_at": "2026-11-29T00:00:00.100000+00:00", "run_id": str(uuid4())}
    path = tmp_path / "joined.jsonl"
    path.write_text(f"{json.dumps(value)}\n{rest}")
    lake = shipped(str(tmp_path / "lake"), path, SHIPPED / "both_hops" / "both_tool.jsonl")
    assert "model-failed-hidden" in [one["code"] for one in rows(path, "doctor")]
    of_lake = InLake(lake.url)
    assert contradictions(path, of_lake) == []
    assert counted(of_lake.of(path)[2]) == counted(rows(path, "doctor"))
    (session,) = rows(path, "sessions")
    with closing(Fetch(lake, session["session_id"])) as fetch:
        assert len(fetch.recordings) == 2


def _is_stream(x: dict[str, Any]) -> bool:
    return bool(x["kind"] == "sse")


def _is_late(x: dict[str, Any]) -> bool:
    """The second recorder has what came after the first one was killed."""
    return bool(x["request"]["at_ns"] > 1_500_000_000)


@pytest.mark.parametrize("is_second", [_is_stream, _is_late])
def test_a_lake_says_of_a_split_session_what_the_fetched_cassette_says(
    tmp_path: Path, is_second: Callable[[dict[str, Any]], bool]
) -> None:
    paths = [HEALTHY["turns"], HEALTHY["subagent"], HEALTHY["reconnect"], TROUBLED["tool_hangs"]]
    lake = shipped(str(tmp_path / "lake"), SHIPPED / "text.jsonl")
    for path in paths:
        folder = tmp_path / path.stem
        folder.mkdir()
        shipped(lake.url, *split(path, folder, is_second, path.stem))
    listed, stats, found = (
        printed("lake", name, "--json", lake.url, *more)
        for name, more in (("sessions", ()), ("stats", ("--jobs", "1")), ("doctor", ("--jobs", "1")))
    )
    assert len(stats) == len(listed)
    assert sum(len(one["recordings"]) == 2 for one in listed) >= 4
    for row in listed:
        target = tmp_path / f"{row['session_id']}.db"
        printed("lake", "get", "--json", lake.url, row["session_id"], "-o", str(target))
        answers = [rows(target, name) for name in ("sessions", "stats", "doctor")]
        of_row, *of_get = ([one for one in some if one["session_id"] == row["session_id"]] for some in answers)
        of_lake = ([one for one in some if one["session_id"] == row["session_id"]] for some in (stats, found))
        assert [plain(one) for one in of_lake] == [plain(one) for one in of_get]
        assert row["conclusion_code"] == of_row[0]["conclusion"]["code"]
        assert [row[f"{one}s"] for one in ("error", "warning", "note")] == [*of_row[0]["findings"].values()]
        assert row["turns"] == of_row[0]["turns"]


def test_a_session_is_of_a_recording_that_holds_it_though_its_sub_agent_is_in_another_one(tmp_path: Path) -> None:
    sessions = {one["session_id"] for one in rows(HEALTHY["subagent"], "sessions") if one["parent_session_id"]}
    lake = shipped(str(tmp_path / "lake"), *split(HEALTHY["subagent"], tmp_path, lambda x: x["session_id"] in sessions))
    listed = {one["session_id"]: one["recordings"] for one in printed("lake", "sessions", "--json", lake.url)}
    assert sorted(map(len, listed.values())) == [1, 1]
    stats = printed("lake", "stats", "--json", lake.url, "--jobs", "1")
    assert {one["session_id"]: [one["recording_id"]] for one in stats} == listed


def test_a_split_session_with_a_lost_file_is_a_failure(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), *split(HEALTHY["turns"], tmp_path))
    next((tmp_path / "lake" / "events").rglob("*.parquet")).unlink()
    done = invoke("lake", "stats", "--json", lake.url, "--jobs", "1")
    assert done.exit_code == 2
    assert "cannot be analysed" in done.stderr
    assert [[*json.loads(line)] for line in done.stdout.splitlines()] == [["missing"]]


def test_a_lake_of_an_older_version_has_no_table_of_model_calls(tmp_path: Path) -> None:
    """It is read, kept small and completed all the same."""
    path = SHIPPED / "both_hops" / "both_failed.jsonl"
    lake = shipped(str(tmp_path / "lake"), path, SHIPPED / "text.jsonl", SHIPPED / "tool.jsonl")
    as_an_older_version(tmp_path / "lake")
    assert printed("lake", "sql", "--json", lake.url, "SELECT * FROM model_calls") == []
    codes = [one["code"] for one in printed("lake", "doctor", "--json", lake.url, "--jobs", "1")]
    assert "model-failed-hidden" in codes
    assert printed("lake", "compact", "--json", lake.url) != []
    assert printed("lake", "expire", "--json", "--dry-run", "--older-than", "90d", lake.url) == []
    (state,) = printed("lake", "check", "--json", lake.url)
    assert [one["table"] for one in state["tables"] if one["version"] is None] == ["model_calls"]
    shipped(lake.url, SHIPPED / "both_hops" / "both_tool.jsonl")
    assert printed("lake", "sql", "--json", lake.url, "SELECT count(*) AS calls FROM model_calls") == [{"calls": 2}]


@pytest.mark.long
@pytest.mark.slow
def test_a_lake_says_of_every_session_what_the_cassette_says(tmp_path: Path) -> None:
    lake = InLake(shipped(str(tmp_path / "lake"), *OTHERS).url)
    assert [(path.name, found) for path in OTHERS if (found := contradictions(path, lake))] == []


def counted(found: list[dict[str, Any]]) -> Counter[tuple[str, ...]]:
    return Counter(tuple(str(one[key]) for key in ("code", "severity", "session_id", "message")) for one in found)


def plain(found: list[dict[str, Any]]) -> list[str]:
    """Return the rows of `stats` as texts, without the id of the recording."""
    return sorted(json.dumps({key: one[key] for key in one if key != "recording_id"}) for one in found)
