"""Turns of clients that poll: no stream carries an event, but later reads have the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.answers import contradictions, rows
from tests.support.cassettes import Made, heartbeat
from tests.support.cassettes import status as stream_status
from tests.support.examples import each


def message(id_: str, role: str, text: str) -> dict[str, Any]:
    content = [{"type": "input_text" if role == "user" else "output_text", "text": text}]
    return {"id": id_, "type": "message", "role": role, "status": "completed", "content": content}


ASKED, SAID = message("i1", "user", "How many lines?"), message("i4", "assistant", "Three lines.")
CALL = {"id": "i2", "type": "function_call", "call_id": "c", "name": "wc", "arguments": "{}", "status": "completed"}
OUTPUT = {"id": "i3", "type": "function_call_output", "call_id": "c", "output": "3"}


def polled(status: str, *items: dict[str, Any], of_items: bool = False) -> Made:
    """A session that was asked at 1 s, and read at 5 s."""
    tape = Made()
    tape.post("/v1/sessions", 0.0, until=0.1, status=201, answer={"id": "s"})
    body = {"type": "message", "data": {"role": "user", "content": ASKED["content"]}}
    tape.post("/v1/sessions/s/events", 1.0, until=1.1, status=202, body=body, answer={"item_id": "i1"})
    if of_items:
        tape.get("/v1/sessions/s/items?order=desc", 4.0, {"data": [*reversed(items)], "has_more": False})
    tape.get("/v1/sessions/s", 5.0, {"id": "s", "status": status, "items": [] if of_items else [*items]})
    return tape


@each("of_items", [False, True])
def test_the_answer_in_a_later_read_completes_the_turn(of_items: bool, tmp_path: Path) -> None:
    path = polled("idle", ASKED, CALL, OUTPUT, SAID, of_items=of_items).save(tmp_path / "polled.db")
    (turn,) = rows(path, "show")
    assert (turn["ended"], turn["text"], turn["first_text_ns"]) == ("completed", "Three lines.", None)
    assert [(tool["name"], tool["output"]) for tool in turn["tools"]] == [("wc", "3")]
    assert turn["conclusion"]["code"] == "finished"
    assert turn["conclusion"]["verdict"].startswith("Finished by ")
    assert contradictions(path) == []


def test_a_turn_that_works_in_the_last_read_is_unfinished_and_was_taken_up(tmp_path: Path) -> None:
    path = polled("running", ASKED, CALL).save(tmp_path / "polled.db")
    (turn,) = rows(path, "show")
    assert (turn["ended"], [tool["returned_ns"] for tool in turn["tools"]]) == ("unfinished", [None])
    assert turn["conclusion"]["code"] == "nobody_listened"
    assert "never" not in turn["stopped"]["sentence"]


@each("items", [[], [ASKED]])
def test_a_message_without_an_answer_was_not_taken_up(items: list[dict[str, Any]], tmp_path: Path) -> None:
    (turn,) = rows(polled("idle", *items).save(tmp_path / "polled.db"), "show")
    assert turn["conclusion"]["code"] == "not_taken_up"


def test_an_earlier_turn_is_completed_while_the_next_one_works(tmp_path: Path) -> None:
    tape = polled("running", ASKED, SAID, message("i5", "user", "And words?"))
    body = {"type": "message", "data": {"role": "user", "content": "And words?"}}
    tape.post("/v1/sessions/s/events", 3.0, until=3.1, status=202, body=body, answer={"item_id": "i5"})
    shown = rows(tape.save(tmp_path / "polled.db"), "show")
    assert [(turn["ended"], turn["text"]) for turn in shown] == [("completed", "Three lines."), ("unfinished", "")]


@each(
    ("status", "items", "expected"),
    [
        (
            "idle",
            [CALL, {**OUTPUT, "output": '{"exit_code": 2, "stderr": "no file"}'}, SAID],
            ("tool-failed", "warning"),
        ),
        ("failed", [CALL], ("tool-without-output", "warning")),
        ("running", [CALL], ("tool-without-output", "note")),
    ],
)
def test_doctor_tells_the_tools_that_only_a_read_shows(
    status: str, items: list[dict[str, Any]], expected: tuple[str, str], tmp_path: Path
) -> None:
    path = polled(status, ASKED, *items).save(tmp_path / "polled.db")
    assert expected in [(one["code"], one["severity"]) for one in rows(path, "doctor")]
    assert contradictions(path) == [] or status == "failed"


def test_doctor_notes_a_message_after_which_no_client_listened(tmp_path: Path) -> None:
    tape = polled("idle", ASKED)
    tape.stream("s", 0.5, (0.5, heartbeat()), (0.6, stream_status("idle")), end=1.2)
    path = tape.save(tmp_path / "polled.db")
    finding = rows(path, "doctor")[0]
    assert (finding["code"], finding["severity"]) == ("message-not-taken", "note")
    assert finding["message"].startswith("no event says that the agent got the message 'How many lines?'")
    assert contradictions(path) == []
