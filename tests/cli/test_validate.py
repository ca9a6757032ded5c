"""`omnirecord validate` as scripts and people see it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from tests.analysis.test_validate import CASSETTES, recorded
from tests.support import forked
from tests.support.command import invoke

APPROVAL = CASSETTES / "approval.jsonl"


run = partial(invoke, "validate")


def on_a_terminal(*words: str | Path, columns: int = 120) -> str:
    """What a person sees."""
    return forked.on_a_terminal("validate", *words, COLUMNS=str(columns), TERM="xterm")[0]


def test_json_has_an_object_for_each_difference_with_the_keys_that_are_fixed() -> None:
    result = run(APPROVAL, "--contract", "documented", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert {tuple(row) for row in rows} == {("type", "path", "problem", "count", "first")}
    assert all(set(row["first"]) == {"stream", "seq"} for row in rows)
    assert {"type": "response.elicitation_resolved", "path": "action", "problem": "unknown field"}.items() <= next(
        row.items() for row in rows if row["path"] == "action"
    )


def test_where_everything_fits_there_is_one_line_and_exit_0() -> None:
    result = run(APPROVAL)
    assert (result.exit_code, result.stdout) == (0, "30 events against omnigent: everything fits\n")
    silent = run(APPROVAL, "--json")
    assert (silent.exit_code, silent.stdout) == (0, "")


def test_a_pipe_gets_a_plain_table_with_a_line_for_each_difference() -> None:
    result = run(APPROVAL, "--contract", "documented")
    head, *lines, empty, last = result.stdout.splitlines()
    assert head.split() == ["type", "problem", "path", "count", "first", "there"]
    assert any(
        line.split() == ["session.heartbeat", "wrong", "kind", "server_time", "1", "1:1", "null"] for line in lines
    )
    assert empty == ""
    assert last == (
        f"30 events against documented: {len(lines) - 1} kinds of problem in 9 types; 1 unknown type (11 invalid)"
    )


def test_a_terminal_gets_a_table_that_names_each_type_once() -> None:
    seen = on_a_terminal(APPROVAL, "--contract", "documented")
    assert seen.count("session.status") == 1
    assert "\x1b[31mwrong kind" in seen
    assert "kinds of problem" in seen


@pytest.mark.parametrize("columns", [20, 40, 300])
def test_a_table_fits_a_terminal_of_any_width(columns: int) -> None:
    assert "kinds of problem" in on_a_terminal(APPROVAL, "--contract", "documented", columns=columns)


def test_types_that_never_came_are_listed_on_request() -> None:
    assert "never seen: browser.action_request, " in run(APPROVAL, "--unseen").stdout
    rows = [json.loads(line) for line in run(APPROVAL, "--unseen", "--json").stdout.splitlines()]
    assert {"type": "session.title", "path": "", "problem": "never seen", "count": 0, "first": None} in rows


def test_unknown_types_alone_are_told_with_exit_0(tmp_path: Path) -> None:
    result = run(recorded(tmp_path, *({"type": f"new.{n}"} for n in range(200))), "--contract", "omnigent")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == ("200 events against omnigent: 200 unknown types (none of them invalid)")


def test_a_cassette_without_events_says_so(tmp_path: Path) -> None:
    path = recorded(tmp_path, ": hi\n\n")
    result = run(path, "--contract", "documented")
    assert (result.exit_code, result.stdout) == (0, f"{path} holds no events\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--contract", "omnigen"], "There is no contract 'omnigen'"),
        (["--contract", str(APPROVAL)], "is not JSON"),
        (["--session", "nobody"], "no session begins with 'nobody'"),
    ],
)
def test_a_call_that_is_unusable_gets_a_sentence(words: list[str], said: str) -> None:
    result = run(APPROVAL, *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


# The real server
