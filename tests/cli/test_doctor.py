"""The command: what it prints, and how it ends."""

from __future__ import annotations

import json
import re
import shlex
from functools import partial
from pathlib import Path

from tests.support import forked
from tests.support.cassettes import TROUBLED, Made, completed, event, heartbeat, status
from tests.support.command import invoke
from tests.support.examples import each
from tests.support.faulted import FOLDER, faulted
from tests.support.hop_tapes import both_hops

KEYS = ["code", "severity", "recording", "session_id", "stream", "seqs", "message", "why", "next", "because"]


run = partial(invoke, "doctor")


def test_a_cassette_without_a_stream_is_not_called_healthy(tmp_path: Path) -> None:
    made = Made()
    made.request("GET", "/v1/sessions/s", 1.0)
    told = run(made.save(tmp_path / "a.db")).stdout.splitlines()
    assert told[0] == "nothing to examine: no event stream was recorded"
    assert told[-1] == "  Unknown: no event stream recorded · connected: no client"


def test_a_healthy_session_has_nothing_to_report() -> None:
    result = run(FOLDER / "text.jsonl")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "nothing to report\n"
        "\n"
        "session 717aee700fc441c59c658a3c2f9a2430: no finding\n"
        "  Finished at 03:39:49 UTC · 2.68 s · connected: Python client · asked: What is a flight recorder?\n"
    )


def test_a_finding_is_told_with_its_events_its_reason_and_what_to_do() -> None:
    result = run(FOLDER / "interrupt.jsonl")
    assert result.stdout == (
        "Note: The user interrupted the turn\n"
        "\n"
        "session 30637e90559e416ab30d586bb1b22454: 1 note\n"
        "  Finished at 03:39:54 UTC · 1.58 s · connected: Python client · asked: Tell me a long story about a\n"
        "  lighthouse.\n"
        "\n"
        "note    turn-interrupted  1:13\n"
        "        the user interrupted the turn\n"
        "        why: The user stopped the turn, so the turn has no complete answer. Omnigent's server ends\n"
        "        an interrupted turn without a response.* event.\n"
        "        next: Nothing to do, unless the interrupt was a mistake.\n"
    )


def test_json_is_one_object_a_line_with_fixed_keys() -> None:
    result = run(FOLDER / "troubled" / "runner_killed.jsonl", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [list(row) for row in rows] == [KEYS] * len(rows)
    assert [(row["code"], row["severity"]) for row in rows][:2] == [
        ("runner-disconnected", "error"),
        ("silent-while-running", "warning"),
    ]
    assert run(FOLDER / "text.jsonl", "--json").stdout == ""


@each(
    ("cassette", "fail_on", "code"),
    [
        ("text", "note", 0),
        ("interrupt", "note", 1),
        ("interrupt", "warning", 0),
        ("interrupt", "error", 0),
        ("failed", "error", 1),
        ("failed", "note", 1),
    ],
)
def test_the_exit_code_says_whether_a_finding_is_that_bad(cassette: str, fail_on: str, code: int) -> None:
    assert run(FOLDER / f"{cassette}.jsonl", "--fail-on", fail_on).exit_code == code


def test_only_errors_fail_unless_something_else_is_said(tmp_path: Path) -> None:
    made = faulted(FOLDER / "text.jsonl", "drop session.status")
    path = made.save(tmp_path / "text.db")
    assert (run(path).exit_code, run(path, "--fail-on", "warning").exit_code) == (0, 1)


def test_sessions_are_told_apart_the_worst_first(tmp_path: Path) -> None:
    made = faulted(FOLDER / "subagent.jsonl", "corrupt response.output_text.delta in stream 2")
    told = run(made.save(tmp_path / "two.db")).stdout
    assert told.splitlines()[0].startswith("Error: 1 event could not be read: is not JSON")
    assert told.splitlines()[3] == "session c6dde6498cf3476ebdda786dfb6f4cfa: 2 errors"
    assert run(tmp_path / "two.db", "9a90").stdout.startswith("nothing to report\n")


def test_nothing_that_an_event_says_acts_on_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b]0;pwned\x07\x1b[31m[bold]\u202e"
    made = Made()
    error = {"code": evil, "message": evil}
    failed = event("response.failed", response={"id": evil, "error": error}, source="llm")
    call = {"id": "x", "type": "function_call", "call_id": evil, "name": evil}
    asks = event("response.elicitation_request", elicitation_id=evil, params={"message": evil})
    frames = [heartbeat(), status(evil), event(evil), asks, event("response.output_item.done", item=call), failed]
    made.stream(evil.replace("\x1b", "e"), 1.0, (1.0, b"".join(frames)))
    made.request("POST", "/v1/sessions/s/events", 2.0, status=503, body={"type": "message", "data": {"content": evil}})
    made.incident(1.0, evil)
    told = run(made.save(tmp_path / "evil.db")).stdout
    assert "[bold]" in told
    assert all(line.isprintable() for line in told.splitlines())


def test_many_findings_are_few_lines(tmp_path: Path) -> None:
    made = Made()
    odd = b"".join(event(f"odd.{n}") for n in range(3000)) + completed()
    made.stream("s", 1.0, (1.0, heartbeat() + odd))
    assert len(run(made.save(tmp_path / "odd.db")).stdout.splitlines()) < 450


def test_a_terminal_gets_colours() -> None:
    assert "\x1b[31merror   \x1b[0m" in on_a_terminal(FOLDER / "failed.jsonl")
    assert "\x1b[31m" not in on_a_terminal(FOLDER / "failed.jsonl", NO_COLOR="1")


def test_the_next_step_is_a_command_with_the_known_numbers_and_ids(tmp_path: Path) -> None:
    made = Made()
    made.post("/v1/sessions/s/events", 1.0, until=1.1, status=500, answer={"reason": "the disk is full"})
    made.save(tmp_path / "a.db")
    (found,) = map(json.loads, run(tmp_path / "a.db", "--json").stdout.splitlines())
    assert '500 {"reason": "the disk is full"}' in found["message"]
    (command,) = re.findall(r"omnirecord (request .+?) to ", found["next"])
    invoke(*shlex.split(command), code=0)
    findings = map(json.loads, run(TROUBLED["child_unfinished"], "--json").stdout.splitlines())
    (child,) = (one for one in findings if one["code"] == "child-unfinished")
    assert re.search(r"Run omnirecord doctor \S+child_unfinished\.jsonl [0-9a-f]{32} to ", child["next"])


def on_a_terminal(cassette: Path, **environment: str) -> str:
    """What a person sees there."""
    return forked.on_a_terminal("doctor", cassette, TERM="xterm", **environment)[0]


def test_a_hint_names_the_cassette_and_a_refused_call_its_exchange(tmp_path: Path) -> None:
    path = tmp_path / "my run.db"
    both_hops().save(path)
    out = " ".join(run(path).stdout.split())
    assert f"omnirecord show '{path}' prints each call." in out
    assert "(exchange 4)" in out
    assert "CASSETTE" not in out


def test_findings_of_no_session_have_a_heading_that_says_so(tmp_path: Path) -> None:
    made = Made()
    made.post("/v1/sessions", 1.0, until=1.1, status=500, answer={"error": "no"})
    made.post("/v1/sessions", 2.0, until=2.1, status=500, answer={"error": "no"})
    assert "\noutside of sessions: 1 error\n" in run(made.save(tmp_path / "a.db")).stdout


def test_a_folder_stands_for_its_cassettes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        made = Made()
        made.another_recording("model", "auto")
        made.post("/v1/responses", 1.0, status=500 if name == "b" else 200, body=b"no JSON")
        made.save(tmp_path / f"{name}.db")
    (row,) = map(json.loads, run(tmp_path, "--json", code=1).stdout.splitlines())
    assert (row["cassette"], row["code"]) == (str(tmp_path / "b.db"), "model-failed")
    assert run(tmp_path).stdout.startswith(f"{tmp_path / 'a.db'}\nnothing to report\n")
    assert "is a folder, and 'x' is a session: name its cassette" in run(tmp_path, "x", code=2).stderr
    assert "(no question)" in invoke("sessions", tmp_path / "b.db").stdout
