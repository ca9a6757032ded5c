"""`sessions`: one line for each session, whatever it is named by, as wide as the terminal."""

from __future__ import annotations

import shutil
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from omnirecord.analysis.listing import exchange_rows, session_rows, stream_rows
from omnirecord.analysis.sessions import summaries
from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import Writer
from omnirecord.cli.common import fitted_table
from omnirecord.cli.ls import ls_lines
from omnirecord.cli.sessions import lines_of
from omnirecord.errors import UsageError
from omnirecord.wire.limits import since
from tests.support import command
from tests.support.cassettes import HEALTHY, SHIPPED, TROUBLED, Made
from tests.support.examples import each

DAY = SHIPPED / "agents" / "day.jsonl"
KEYS = [
    "cassette", "recording", "session_id", "stream", "parent_session_id", "started_at", "asked", "model", "turns",
    "duration_s", "conversation", "model_calls", "is_ambiguous", "repeated_calls", "conclusion", "finding", "findings",
]  # fmt: skip


run = partial(command.invoke, "sessions")


rows = partial(command.rows, "sessions")


def test_a_session_is_one_line_with_what_was_asked_and_how_it_ended() -> None:
    head, line = run(TROUBLED["approval_unanswered"]).stdout.splitlines()
    assert head.split("  ")[0] == "session"
    assert line.startswith("0101b806  11-25 19:52  Please summarise the release notes.  stand-in  1")
    assert "Waiting for approval since 19:52:56" in line
    assert line.endswith("approval-unanswered")


def test_json_has_the_documented_keys() -> None:
    (row,) = rows(TROUBLED["tool_hangs"])
    assert list(row) == KEYS
    assert (row["turns"], row["model"], row["finding"]["code"]) == (1, "stand-in", "tool-without-output")
    assert row["findings"]["error"] >= 1


def test_failed_lists_those_that_did_not_end_well() -> None:
    failed = {Path(row["cassette"]).stem for row in rows(SHIPPED, SHIPPED / "troubled", "--failed")}
    assert failed == {*TROUBLED, "failed"} - {"provider_busy", "retries"}


def test_a_folder_stands_for_its_cassettes_without_the_link_to_the_newest(tmp_path: Path) -> None:
    for name in ("run-20261125T101500Z.jsonl", "run-20261125T111500Z.jsonl"):
        shutil.copy(HEALTHY["text"], tmp_path / name)
    (tmp_path / "run.jsonl").symlink_to("run-20261125T111500Z.jsonl")
    (tmp_path / "notes.txt").write_text("no cassette")
    assert [Path(row["cassette"]).name for row in rows(tmp_path)] == [
        "run-20261125T101500Z.jsonl", "run-20261125T111500Z.jsonl",
    ]  # fmt: skip
    assert run(tmp_path).stdout.count("run-2026") == 2


def test_a_folder_without_a_cassette_is_an_error(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "holds no cassette: name a folder with .db or .jsonl files" in result.stderr


def test_an_empty_cassette_says_what_to_do_while_it_is_recorded(tmp_path: Path) -> None:
    path = Made().save(tmp_path / "empty.db")
    assert run(path).stdout == f"no session in {path}\n"
    assert run(path, "--json").stdout == ""
    with closing(Writer(path)):
        assert run(path).stdout == f"no session in {path} yet: point a client at the recorder, then look again\n"


def test_no_failed_session_is_said() -> None:
    assert run(HEALTHY["text"], "--failed").stdout == f"no failed session in {HEALTHY['text']}\n"


@each(
    ("text", "expected"),
    [("2h", "2026-11-27T10:00:00+00:00"), ("7d", "2026-11-20T12:00:00+00:00"),
     ("2026-11-25", "2026-11-25T00:00:00+00:00"), ("2026-11-25T10:00+02:00", "2026-11-25T10:00:00+02:00")],
)  # fmt: skip
def test_since_is_a_duration_or_a_time(text: str, expected: str) -> None:
    assert since(text, datetime(2026, 11, 27, 12, tzinfo=UTC)).isoformat() == expected


@each("text", ["2x", "", "5GB", "yesterday"])
def test_another_since_is_refused_with_what_may_be_given(text: str) -> None:
    with pytest.raises(UsageError, match="give a duration as in 2h or 7d"):
        since(text, datetime(2026, 11, 27, 12, tzinfo=UTC))


def test_since_leaves_out_what_was_over_by_then() -> None:
    assert len(rows(HEALTHY["text"], "--since", "2026-11-25T03:39")) == 1
    assert rows(HEALTHY["text"], "--since", "2026-11-25T03:45") == []


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    found = []
    for path in TROUBLED.values():
        with closing(open_store(path)) as store:
            found.append((Path(path.name), summaries(store)))
    lines = list(lines_of(found, width))
    assert max(map(len, lines)) <= width
    assert any("Waiting for approval" in line for line in lines)


def test_80_columns_still_say_how_it_ended() -> None:
    path = TROUBLED["runner_killed"]
    with closing(open_store(path)) as store:
        head, line = lines_of([(path, list(summaries(store)))], 80)
    assert head.split() == ["session", "began", "(UTC)", "asked", "first", "how", "it", "ended", "worst", "finding"]
    assert "  Failed: the runner was lost,…  " in line


@each("what", [None, "streams", "exchanges"])
@each("name", ["two_clients", "subagent"])
def test_a_list_of_a_cassette_fits_80_columns(name: str, what: str | None) -> None:
    rows_of = {None: session_rows, "streams": stream_rows, "exchanges": exchange_rows}[what]
    with closing(open_store(HEALTHY[name])) as store:
        lines = list(ls_lines(what, list(rows_of(store)), 80))
    assert max(map(len, lines)) <= 80
    assert "client_left" in "\n".join(lines)


def test_a_table_cuts_the_widest_column_first_then_leaves_some_out() -> None:
    row = {"a": "x" * 20, "b": "y" * 10, "c": "z" * 5}
    lines = list(fitted_table([row], ["a", "b", "c"], 30, least={"a": 8, "b": 8}))
    assert lines[1] == f"{'x' * 10}…  {'y' * 10}  zzzzz"
    assert next(fitted_table([row], ["a", "b", "c"], 12, least={"a": 8}, left_out=["b", "c"])) == "a"


def test_it_is_what_help_lists_first() -> None:
    listed = command.invoke("--help").stdout
    reading = listed.partition("Read recordings:")[2].strip()
    assert reading.startswith("sessions ")


def test_each_conversation_of_model_calls_is_a_line() -> None:
    _, *lines, last = run(DAY).stdout.splitlines()
    assert [line.split()[0] for line in lines] == [f"#{number}" for number in range(1, 11)]
    assert [line.split("  ")[-1].strip() for line in lines if line.startswith(("#7", "#10"))] == [
        "model-rate-limited", "model-failed",
    ]  # fmt: skip
    assert last.startswith("#8, #9: equal calls at the same time")


def test_three_runs_of_an_agent_with_two_calls_each_are_three_rows() -> None:
    found = [(row["conversation"], row["turns"], row["model_calls"], row["asked"]) for row in rows(DAY)[:3]]
    assert found == [(number, 1, 2, "What is the weather in Rome?") for number in (1, 2, 3)]


def test_one_conversation_is_one_line() -> None:
    (row,) = rows(f"{DAY}#4")
    assert (row["conversation"], row["turns"], row["model_calls"]) == (4, 2, 3)
    assert (row["session_id"], row["conclusion"]["outcome"]) == ("conversation-4", "finished")


def test_a_failed_call_is_a_failed_conversation() -> None:
    assert [row["conversation"] for row in rows(DAY, "--failed")] == [10]
