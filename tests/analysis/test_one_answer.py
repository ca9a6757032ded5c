"""One question has one answer: `show`, `sessions`, `stats`, `doctor` and `query` agree on every session, also on one
whose events are lost, come twice or in another order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from omnirecord.analysis.follow import sessions
from tests.support.answers import contradictions, rows
from tests.support.cassettes import SHIPPED, Made, completed, created, delta, event, heartbeat, status
from tests.support.examples import a_third, each
from tests.support.faulted import faulted
from tests.support.mutations import HEALTHY, events_of

CASSETTES = sorted(SHIPPED.rglob("*.jsonl"))
MUTATED = [*HEALTHY, *sorted((SHIPPED / "troubled").glob("*.jsonl"))]
MOST = 6
"""Faults of one mutated cassette, at most."""
STARTED = event("turn.started", session_id="s")
ASKED = event(
    "session.input.consumed",
    data={
        "item_id": "i",
        "type": "message",
        "data": {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
    },
)


def session(*events: bytes, end: float = 3.0) -> Made:
    """A session that is asked one question; each event comes 0.1 s after the one before."""
    tape = Made()
    tape.post("/v1/sessions", 0.0, until=0.1, status=201, answer={"id": "s"})
    reads = [(1.0 + n / 10, one) for n, one in enumerate([heartbeat(), ASKED, *events])]
    tape.stream("s", 1.0, *reads, end=end)
    return tape


def ended(type_: str, **fields: object) -> bytes:
    return event(type_, session_id="s", **fields)


ERROR = {"code": "e", "message": "m"}
CALL = {"type": "function_call", "call_id": "c", "name": "run", "arguments": "{}", "status": "completed"}


def returned(output: object) -> bytes:
    return event("response.output_item.done", item={"type": "function_call_output", "call_id": "c", "output": output})


def called(output: object) -> Made:
    call = event("response.output_item.done", item=CALL)
    return session(STARTED, created(), call, returned(output), completed(), status("idle"))


MADE = {
    "the turn fails after its response": session(
        STARTED, created(), delta("a"), completed(), ended("turn.failed", error=ERROR), status("idle")
    ),
    "the end comes after the session's rest": session(
        status("running"), delta("a"), status("idle"), ended("turn.failed", error=ERROR)
    ),
    "the status is running, and nothing else": session(created(), completed(), status("idle"), status("running")),
    "a turn without a response has no end": session(status("running"), delta("a")),
    "the session fails before a turn": Made(),
    "the output of a tool is an object": called({"error": {"message": "no such file"}}),
    "the output of a tool is a list": called([{"type": "text", "text": '{"exit_code": 2, "stderr": "no"}'}]),
    "the output of a tool is null": called(None),
    "the turn is interrupted, then completed": session(
        STARTED, created(), ended("session.interrupted"), completed(), status("idle")
    ),
    "the turn is denied": session(
        event("response.completed", response={"id": "deny_1", "status": "completed"}), status("idle")
    ),
    "the session fails after the response": session(
        status("running"), created(), completed(),
        event("session.status", conversation_id="s", status="failed", error=ERROR),
    ),
    "the session fails at rest": session(
        created(), completed(), status("idle"),
        event("session.status", conversation_id="s", status="failed", error=ERROR),
    ),
    "the session fails at rest without a reason": session(created(), completed(), status("idle"), status("failed")),
    "the runner is lost after the turn": session(
        created(), completed(), status("idle"),
        event("session.status", conversation_id="s", status="failed", error={"code": "runner_disconnected"}),
    ),
}  # fmt: skip


def two_clients() -> Made:
    """Two clients get the same events, each with ids of its own; the first one leaves in the middle."""
    tape = session(created())
    events = [ASKED, created(), *(delta(f"w{n} ", n + 2) for n in range(8)), completed(), status("idle")]
    for number, first, last in ((1, 0, 8), (2, 4, 12)):
        reads = [(4.0 + n / 10, f"id: {number}-{n}\n".encode() + events[n]) for n in range(first, last)]
        tape.stream("s", 4.0 + first / 10, (4.0 + first / 10, heartbeat()), *reads, end=4.0 + last / 10)
    return tape


def in_one_read() -> Made:
    """A turn without its end, whose events come at the same time. Then the client leaves."""
    tape = Made()
    tape.post("/v1/sessions", 0.0, until=0.1, status=201, answer={"id": "s"})
    events = [ASKED, status("running"), created(), delta("a"), status("idle")]
    tape.stream("s", 1.0, (1.0, heartbeat()), *((2.0, one) for one in events), end=2.1, ending="client_left")
    return tape


def second_message() -> Made:
    """A turn whose question no event mentions. The event of another message comes in the middle of it."""
    tape = Made()
    tape.post("/v1/sessions", 0.0, until=0.1, status=201, answer={"id": "s"})
    body = {"type": "message", "data": {"role": "user", "content": [{"type": "input_text", "text": "First"}]}}
    tape.post("/v1/sessions/s/events", 1.5, until=1.6, status=202, body=body, answer={"item_id": "f"})
    events = [created(), delta("a"), ASKED, completed(), status("idle")]
    tape.stream("s", 1.0, (1.0, heartbeat()), *((2.0 + n / 10, one) for n, one in enumerate(events)), end=3.0)
    return tape


def cut_turn() -> Made:
    """A turn without the begin of a response. The connection breaks, and a second stream carries more of its text."""
    tape = Made()
    tape.post("/v1/sessions", 0.0, until=0.1, status=201, answer={"id": "s"})
    first = (1.1, ASKED), (1.2, status("running")), (1.3, delta("Hel"))
    tape.stream("s", 1.0, (1.0, heartbeat()), *first, ending="upstream_lost", end=1.4)
    tape.stream("s", 2.0, (2.0, heartbeat()), (2.5, delta("lo", 2)), end=2.6)
    return tape


MADE["one read brings a turn that comes to rest without its end"] = in_one_read()
MADE["a second stream carries the rest of a turn without a response"] = cut_turn()
MADE["the event of the question is lost, and a second message comes in the middle"] = second_message()
MADE["two clients get each event with ids of their own"] = two_clients()
MADE["the session fails before a turn"].post("/v1/sessions", 0.0, until=0.1, status=201, answer={"id": "s"})
MADE["the session fails before a turn"].stream(
    "s",
    1.0,
    (1.0, heartbeat()),
    (1.5, event("session.status", conversation_id="s", status="failed", error=ERROR)),
    end=3.0,
)


@each("path", a_third(CASSETTES))
def test_the_commands_agree_on_a_shipped_cassette(path: Path) -> None:
    assert contradictions(path) == []


@each("path", a_third(HEALTHY, 2))
def test_a_follower_that_reads_long_streams_in_portions_agrees(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_PORTION", 7)
    assert contradictions(path) == []


@each("name", MADE)
def test_the_commands_agree_on_events_in_an_odd_order(name: str, tmp_path: Path) -> None:
    assert contradictions(MADE[name].save(tmp_path / "made.db")) == []


def faults(path: Path, seed: int) -> Iterator[str]:
    """Return faults at random places: events are dropped, come twice, or after the next one."""
    chance = random.Random(f"{seed} {path.stem}")
    found = [one for one in events_of(path) if one.following and not one.in_snapshot]
    for one in chance.sample(found, min(chance.randint(1, MOST), len(found))):
        yield f"{chance.choice(['drop', 'duplicate', 'swap'])} {one.name}"


@each("path", a_third(MUTATED, 1))
def test_the_commands_agree_when_events_are_lost_or_come_twice_or_late(path: Path, tmp_path: Path) -> None:
    made = faulted(path, *faults(path, 1))
    assert contradictions(made.save(tmp_path / "mutated.db")) == []


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_the_commands_agree_at_other_places(seed: int, tmp_path: Path) -> None:
    for path in CASSETTES:
        made = faulted(path, *faults(path, seed))
        assert contradictions(made.save(tmp_path / f"{path.stem}.db")) == [], (path, seed)


def test_a_turn_that_fails_after_its_response_has_failed(tmp_path: Path) -> None:
    path = MADE["the turn fails after its response"].save(tmp_path / "made.db")
    (turn,) = rows(path, "show")
    assert (turn["ended"], turn["error"], turn["conclusion"]["code"]) == ("failed", ERROR, "failed")
    assert "turn-failed" in [one["code"] for one in rows(path, "doctor")]


def test_a_message_that_no_event_mentions_is_the_question_of_the_turn_after_it(tmp_path: Path) -> None:
    path = second_message().save(tmp_path / "made.db")
    (turn,) = rows(path, "show")
    assert [one["text"] for one in turn["asked"]] == ["First", "Hi"]


def test_a_session_that_comes_to_rest_in_the_read_that_began_its_turn_is_at_rest(tmp_path: Path) -> None:
    path = in_one_read().save(tmp_path / "made.db")
    (turn,) = rows(path, "show")
    assert turn["conclusion"]["code"] == "end_missing"
