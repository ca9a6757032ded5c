"""An imported raw body says nothing of how its stream ended, nor when its events came; and no command does."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import omnirecord
from omnirecord.cassette.open import import_file, open_store
from tests.support.cassettes import SHIPPED, delta, event, heartbeat, status
from tests.support.command import invoke
from tests.support.examples import each

RESPONSE = {"id": "r", "status": "in_progress", "model": "m", "created_at": 1}
WORDS = [f"Hi {n} " for n in range(80)]
TURN = (
    status("running") + event("response.in_progress", response=RESPONSE) + b"".join(delta(one, None) for one in WORDS)
)  # fmt: skip
END = event(
    "response.output_item.done",
    item={"id": "m", "type": "message", "role": "assistant", "status": "completed", "response_id": "r",
          "content": [{"type": "output_text", "text": "".join(WORDS)}]},
) + event("response.completed", response={**RESPONSE, "status": "completed"}) + status("idle")  # fmt: skip
BODIES = {
    "between turns": heartbeat() + TURN + END,
    "in a turn": heartbeat() + TURN,
    "in a tool call": heartbeat() + TURN + event(
        "response.output_item.done",
        item={"id": "f", "type": "function_call", "status": "completed", "call_id": "c", "name": "sh", "arguments": ""},
    ),
    "at a question": heartbeat() + event(
        "response.elicitation_request", elicitation_id="e", params={"message": "Sure?"}
    ),
    "at a sub-agent": heartbeat() + TURN + event(
        "session.created", conversation_id="s", child_session_id="k", agent_id="a", parent_session_id="s"
    ),
}  # fmt: skip


def imported(folder: Path, body: bytes) -> Path:
    (folder / "body.sse").write_bytes(body)
    import_file(folder / "body.sse", folder / "body.db")
    return folder / "body.db"


def run(*words: str | Path) -> str:
    result = invoke(*words, code=0)
    return result.stdout


def rows(*words: str | Path) -> list[Any]:
    return [json.loads(line) for line in run(*words, "--json").splitlines()]


@each("body", BODIES.values())
def test_nothing_above_a_note_is_found_at_its_end(tmp_path: Path, body: bytes) -> None:
    found = omnirecord.doctor(imported(tmp_path, body))
    assert [(one.code, one.message) for one in found if one.severity != "note"] == []
    assert not [one for one in found if re.search(r"\d s\b", one.message)]


@each("name", ["text", "tool", "approval", "interrupt", "two_clients", "turns", "subagent"])
def test_the_body_of_a_healthy_stream_gives_nothing_above_a_note(tmp_path: Path, name: str) -> None:
    with closing(open_store(SHIPPED / f"{name}.jsonl")) as store:
        bodies = [b"".join(store.content(x)) for x in store.streams()]
    for number, body in enumerate(bodies):
        (tmp_path / str(number)).mkdir()
        found = omnirecord.doctor(imported(tmp_path / str(number), body))
        assert [one.code for one in found if one.severity != "note"] == []


def test_what_its_bytes_show_stays_an_error(tmp_path: Path) -> None:
    body = BODIES["at a question"] + event(
        "response.output_item.done",
        item={"id": "m", "response_id": "deny_1", "type": "message", "role": "assistant",
              "content": [{"type": "output_text", "text": "[Denied by policy: Sure?]"}]},
    )  # fmt: skip
    (found,) = [one for one in omnirecord.doctor(imported(tmp_path, body)) if one.code.startswith("approval")]
    assert (found.severity, found.message) == ("error", "the question 'Sure?' was not answered; the server denied it")


def test_its_columns_are_empty(tmp_path: Path) -> None:
    path = imported(tmp_path, BODIES["between turns"])
    (session,), (stream,), (exchange,) = (
        rows("ls", path),
        rows("ls", path, "--streams"),
        rows("ls", path, "--exchanges"),
    )
    for row in (session, stream, exchange):
        assert (row["ending"], row["duration_s"], row["started_at"]) == ("unknown", None, None)
    events = rows("events", path)
    assert {(row["at"], row["sent_ns"]) for row in events} == {(None, None)}
    (stats,) = rows("stats", path)
    measured = {name for name, value in stats.items() if name.endswith(("_s", "_ms")) and value not in (None, [])}
    assert measured == set()
    assert (stats["started_at"], stats["never_sent"], stats["endings"]) == (None, None, {"unknown": 1})


COMMANDS = ["ls", "sessions", "events", "show", "stats", "tail", "tail --verbose", "request 1", "doctor", "search Hi"]


@each("command", COMMANDS)
@each("body", ["in a turn", "between turns"])
def test_no_line_for_a_person_names_a_time(tmp_path: Path, command: str, body: str) -> None:
    name, *words = command.split()
    shown = run(name, imported(tmp_path, BODIES[body]), *words)
    assert not re.search(r"\d\.\d+ ?s\b|\d\d:\d\d:\d\d| ago", shown)
    assert not re.search(r"closed|left|never handed", shown)


def test_show_says_that_the_end_is_not_known(tmp_path: Path) -> None:
    shown = " ".join(run("show", imported(tmp_path, BODIES["in a turn"])).split())
    assert "The events end there; how the stream ended is not known." in shown


@pytest.mark.parametrize(("ending", "raw"), [("done", b"data: [DONE]\n\n"), ("unknown", b"")])
def test_a_body_with_done_has_an_ending_and_no_times(tmp_path: Path, ending: str, raw: bytes) -> None:
    (row,) = rows("ls", imported(tmp_path, heartbeat() + raw), "--streams")
    assert (row["ending"], row["duration_s"]) == (ending, None)


def test_a_body_that_an_older_version_imported_has_no_invented_end(tmp_path: Path) -> None:
    path = imported(tmp_path, BODIES["between turns"])
    text = run("export", path, "--format", "jsonl")
    assert '"unknown"' in text
    (tmp_path / "old.jsonl").write_text(text.replace('"unknown"', '"eof"'))
    assert [row["ending"] for row in rows("ls", tmp_path / "old.jsonl", "--streams")] == ["unknown"]


def test_a_body_compared_with_its_recording_differs_in_nothing(tmp_path: Path) -> None:
    with closing(open_store(SHIPPED / "text.jsonl")) as store:
        body = b"".join(store.content(store.streams()[0]))
    with_post = invoke("diff", imported(tmp_path, body), SHIPPED / "text.jsonl", "--json")
    kinds = [(row["kind"], row["path"]) for row in map(json.loads, with_post.stdout.splitlines())]
    assert not [one for one in kinds if one[0] == "timing" or "ending" in one[1]]


def test_its_replay_ends_cleanly(tmp_path: Path) -> None:
    assert "equal" in run("verify", imported(tmp_path, BODIES["between turns"]))
