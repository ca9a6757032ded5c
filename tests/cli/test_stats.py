"""`omnirecord stats` as a person and as a script see it."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest

from omnirecord import stats
from omnirecord.analysis.stats.values import stats_row
from tests.support import forked
from tests.support.cassettes import Made
from tests.support.command import invoke

CASSETTES = Path(__file__).parent.parent.parent / "cassettes"


run = partial(invoke, "stats")


def test_json_has_one_object_a_session_with_the_fields_of_the_dataclass() -> None:
    lines = run(CASSETTES / "subagent.jsonl", "--json").stdout.splitlines()
    told = json.loads(json.dumps([stats_row(one) for one in stats(CASSETTES / "subagent.jsonl")]))
    assert [json.loads(line) for line in lines] == told
    assert len(lines) == 2


def test_several_sessions_are_a_table_whose_cells_are_dashes_where_nothing_was_seen() -> None:
    medians, _, head, parent, child = run(CASSETTES / "subagent.jsonl").stdout.splitlines()
    assert medians == "Median of 3 turns: first token after 1.464 s, 409 tokens/s, 0.827 s a turn"
    columns = re.split(r"  +", head)
    assert columns[:4] == ["session", "took s", "ended", "turns"]
    by_name = dict(zip(columns, re.split(r"  +", child), strict=True))
    assert (by_name["1st token s"], by_name["cost $"], by_name["tools s"]) == ("-", "-", "-")
    assert float(dict(zip(columns, re.split(r"  +", parent), strict=True))["tools s"]) > 0


def test_the_only_session_is_a_page_and_so_is_one_that_is_named() -> None:
    page = run(CASSETTES / "tool.jsonl").stdout
    for title in ("Times", "How fast", "Turns", "Tools", "Usage", "Gaps between events", "Events: 23", "Streams"):
        assert f"\n{title}" in page, title
    assert "sys_os_shell  1      1" in page
    assert "Approvals" not in page
    named = run(CASSETTES / "subagent.jsonl", "c6dde6").stdout
    assert named.splitlines()[2].startswith("Session c6dde6498cf3476ebdda786dfb6f4cfa · recording 1 · 2026-")
    assert "sub-agent of 9a9099329a1f4e17b8103828f2125a3b" in named


def test_an_empty_cassette_says_so_and_has_no_objects(tmp_path: Path) -> None:
    path = Made().save(tmp_path / "empty.db")
    assert run(path).stdout == f"no session in {path}\n"
    assert run(path, "--json").stdout == ""


def test_a_session_without_streams_says_that_nobody_listened(tmp_path: Path) -> None:
    tape = Made()
    tape.get("/v1/sessions/s", 1.0, {"status": "idle"})
    assert "no stream was recorded" in run(tape.save(tmp_path / "reads.db")).stdout


def on_a_terminal(columns: int, *words: str) -> str:
    """What a person sees, colours taken out."""
    shown = forked.on_a_terminal(*words, COLUMNS=str(columns), TERM="xterm")[0]
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).replace("\r", "")


@pytest.mark.parametrize("columns", [60, 80, 110])
def test_on_a_terminal_the_table_fits_and_ids_can_still_be_told_apart(columns: int) -> None:
    lines = on_a_terminal(columns, "stats", str(CASSETTES / "subagent.jsonl")).splitlines()
    assert max(map(len, lines)) <= columns
    assert [line[:8] for line in lines[-2:]] == ["9a909932", "c6dde649"]
    assert lines[-2].split()[-1] in ("0.630", "17.3kB")


def test_streams_without_turns_have_no_medians(tmp_path: Path) -> None:
    tape = Made()
    tape.stream("/events", 0.0, (0.1, b"data: hello\n\n"))
    assert "median" not in run(tape.save(tmp_path / "plain.db")).stdout.lower()


AGENTS, CASSETTE = CASSETTES / "agents" / "day.jsonl", CASSETTES / "text.jsonl"


def test_several_cassettes_are_measured_one_after_the_other() -> None:
    alone = [json.loads(line) for path in (AGENTS, CASSETTE) for line in run(path, "--json").stdout.splitlines()]
    rows = [json.loads(line) for line in run(AGENTS, CASSETTE, "--json").stdout.splitlines()]
    assert [one.pop("cassette") for one in rows] == [str(AGENTS)] * 10 + [str(CASSETTE)]
    assert rows == alone
    text = run(AGENTS, CASSETTE).stdout
    assert text == f"{AGENTS}\n{run(AGENTS).stdout}\n{CASSETTE}\n{run(CASSETTE).stdout}"


def test_the_cassettes_of_a_folder_are_measured() -> None:
    rows = [json.loads(line) for line in run(CASSETTES / "troubled", "--json").stdout.splitlines()]
    assert len({one["cassette"] for one in rows}) > 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", AGENTS, CASSETTE], f"{CASSETTE} is a file, and no session: this command takes one cassette"),
        (["stats", CASSETTES, "abc"], "and 'abc' is a session: name its cassette"),
        (["stats", f"{CASSETTE}#a", "abc"], "names a session, and so does 'abc': name it once"),
        (["stats", AGENTS, CASSETTE, "abc"], "abc"),
    ],
)
def test_a_second_cassette_where_a_session_belongs_is_said_to_be_one(words: list[object], said: str) -> None:
    done = invoke(*words)
    assert done.exit_code == 2
    assert said in done.stderr
