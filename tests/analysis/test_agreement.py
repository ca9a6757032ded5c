"""`show`, `doctor`, `ls`, `sessions` and `stats` say the same of a session: how it ended, how long it lasted, who was
connected, what was asked first."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from omnirecord.text import clip, one_line, seconds
from tests.support.cassettes import SHIPPED, Made, completed, created, delta, heartbeat, status
from tests.support.command import invoke
from tests.support.examples import a_third, each

CASSETTES = sorted(SHIPPED.rglob("*.jsonl"))
Row = dict[str, Any]


@cache
def printed(command: str, path: Path, *words: str) -> str:
    result = invoke(command, path, *words)
    assert result.exit_code in (0, 1), result.output
    return result.stdout


def rows(command: str, path: Path) -> list[Row]:
    return [json.loads(line) for line in printed(command, path, "--json").splitlines()]


def key(row: Row) -> tuple[int, str | None]:
    return row["recording"], row["session_id"]


@each("path", a_third(CASSETTES))
def test_ls_has_the_conclusion_and_the_duration_of_sessions(path: Path) -> None:
    """`test_one_answer` compares `sessions` with other commands, `tests/ui/test_data.py` the page with `ls`."""
    listed = rows("sessions", path)
    same = [(key(row), row["conclusion"], row["duration_s"]) for row in listed]
    assert [(key(row), row["conclusion"], row["duration_s"]) for row in rows("ls", path)] == same
    assert [row["conclusion"]["duration_s"] for row in listed] == [row["duration_s"] for row in listed]


@each("path", a_third(CASSETTES))
def test_the_lines_for_a_person_have_that_conclusion(path: Path) -> None:
    shown = printed("show", path, "--full", "--width", "10000").splitlines()
    examined = re.sub(r"\n  (?=\S)", " ", printed("doctor", path))
    examined = " ".join(examined.split())
    named = {finding["session_id"] for finding in rows("doctor", path)}
    sessions = rows("sessions", path)
    for row in sessions:
        conclusion = row["conclusion"]
        lasted = "" if row["duration_s"] is None else f" · {seconds(round(row['duration_s'] * 1e9))}"
        connected = f" · connected: {', '.join(conclusion['connected']) or 'no client'}"
        if row["conversation"] is not None:
            connected = ""
        asked = f" · asked: {clip(one_line(conclusion['asked']), 60)}" if conclusion["asked"] else ""
        if path.parent.name != "generic" and (row["session_id"] in named or len(sessions) == 1):
            assert " ".join(f"{conclusion['verdict']}{lasted}{connected}{asked}".split()) in examined
        if row["parent_session_id"] is None and path.parent.name != "generic":  # a list of events has no verdict
            assert conclusion["verdict"] in shown


@each("path", a_third(CASSETTES))
def test_doctor_finds_nothing_that_the_conclusion_denies(path: Path) -> None:
    found = rows("doctor", path)
    for row in rows("sessions", path):
        errors = {one["code"] for one in found if one["session_id"] == row["session_id"] and one["severity"] == "error"}
        if row["conclusion"]["outcome"] == "finished" and row["turns"] < 2:
            assert not errors & {"turn-unfinished", "reconnect-missed", "approval-unanswered", "request-failed"}
        if row["conclusion"]["outcome"] == "failed" and row["parent_session_id"] is None:
            assert row["findings"]["error"] + row["findings"]["warning"] > 0


def missed_end(*second: tuple[float, bytes]) -> Made:
    """A client leaves in the middle of a turn at 3.2 s and comes back at 5 s."""
    tape = Made()
    tape.post("/v1/sessions", 0.0, until=0.1, status=201, answer={"id": "s"})
    said = {"type": "message", "data": {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}}
    tape.post("/v1/sessions/s/events", 2.0, until=2.2, status=202, body=said, answer={"item_id": "i"})
    before = [(1.0, heartbeat()), (2.5, status("running")), (3.0, created()), (3.1, delta("Hel", 2))]
    tape.stream("s", 1.0, *before, end=3.2)
    tape.stream("s", 5.0, (5.0, heartbeat()), *second, end=70.0)
    return tape


BEATS = [(float(at), heartbeat()) for at in (20, 35, 50, 65)]
IN_FLIGHT = [(5.01, created()), (5.02, delta("Hel", None))]


@pytest.mark.parametrize(
    ("second", "code", "missed"),
    [
        (BEATS, "end_missed", True),
        ([], "end_missed", True),
        ([*IN_FLIGHT, *BEATS], "client_left", False),
        ([(5.5, delta("lo", 3)), (6.0, completed()), (6.1, status("idle"))], "finished", False),
    ],
    ids=["only heartbeats", "nothing", "the turn still goes on", "the end comes"],
)
def test_after_a_missed_end_show_and_doctor_agree(
    second: list[tuple[float, bytes]], code: str, missed: bool, tmp_path: Path
) -> None:
    path = missed_end(*second).save(tmp_path / "missed.db")
    (turn,) = rows("show", path)
    assert turn["conclusion"]["code"] == turn["stopped"]["code"] == code
    assert ("reconnect-missed" in [finding["code"] for finding in rows("doctor", path)]) is missed


def test_a_stream_without_an_end_lasts_until_the_last_thing_that_was_recorded(tmp_path: Path) -> None:
    tape = Made()
    tape.post("/v1/sessions", 0.0, until=0.1, status=201, answer={"id": "s"})
    tape.stream("s", 1.0, (1.0, heartbeat()), (16.0, heartbeat()), (100.0, heartbeat()), ending="open")
    path = tape.save(tmp_path / "open.db")
    for command in ("ls", "sessions", "stats"):
        assert [row["duration_s"] for row in rows(command, path)] == [100.0]
    (stream,) = [json.loads(line) for line in printed("ls", path, "--streams", "--json").splitlines()]
    assert stream["duration_s"] == 99.0
    assert "1 min 40 s" in printed("show", path) or "100" in printed("show", path)


def test_what_a_runner_asks_makes_no_session_longer(tmp_path: Path) -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), end=6.0)
    tape.get("/v1/sessions/s/items", 15.0, {"data": []}, party="runner")
    path = tape.save(tmp_path / "runner.db")
    for command in ("ls", "sessions", "stats"):
        assert [row["duration_s"] for row in rows(command, path)] == [5.0]
