"""What may be sent when: gaps, gates and the connect snapshot. Clock in hand."""

from __future__ import annotations

import pytest

from tests.support.cassettes import Made, conversation, heartbeat, presence, status
from tests.support.examples import each
from tests.support.stage import EVENTS, SESSION, Stage

GREETING = ["heartbeat", "presence"]
TURN = ["running", "created", "Hel", "lo", "completed", "idle"]
MODES = pytest.mark.parametrize("mode", ["original", "compressed", "instant"])


def test_frames_come_when_they_came() -> None:
    stage = Stage(conversation())
    stage.at(100)
    listener = stage.opens()
    assert listener.hears() == ["heartbeat"]
    assert listener.next_in() == pytest.approx(0.1)
    stage.at(100.1)
    assert listener.hears() == ["presence"]
    stage.posts()
    assert listener.next_in() == pytest.approx(1.4), "0.9 s to the message and 0.5 s from there"
    stage.at(101.5)
    assert listener.hears() == ["running"]


@MODES
def test_nothing_that_followed_a_message_comes_before_it(mode: str) -> None:
    stage = Stage(conversation(), mode)
    listener = stage.opens()
    stage.at(1000)
    assert listener.hears() == GREETING
    assert listener.waits()
    stage.posts()
    stage.at(2000)
    assert listener.hears() == TURN


def test_a_message_that_comes_early_is_remembered_and_time_does_not_jump() -> None:
    stage = Stage(conversation())
    stage.posts()
    stage.at(10)
    listener = stage.opens()
    assert listener.hears() == ["heartbeat"]
    stage.at(10.2)
    assert listener.hears() == ["presence"]
    assert listener.next_in() == pytest.approx(1.3)


def test_the_connect_snapshot_is_not_held_by_a_message_in_the_middle_of_it() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (1.2, presence()), (1.3, status("running")))
    tape.post(EVENTS, 1.1, status=202)
    stage = Stage(tape)
    listener = stage.opens()
    stage.at(5)
    assert listener.hears() == GREETING
    assert listener.waits()


def test_a_later_heartbeat_belongs_to_no_connect_snapshot() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (16.0, heartbeat()))
    tape.post(EVENTS, 10.0, status=202)
    stage = Stage(tape, "instant")
    listener = stage.opens()
    assert listener.hears() == ["heartbeat"]
    stage.posts()
    assert listener.hears() == ["heartbeat"]


def test_what_a_message_brings_first_belongs_to_no_connect_snapshot_whatever_its_type() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (9.0, presence()))
    tape.post(EVENTS, 8.0, status=202)
    listener = Stage(tape, "instant").opens()
    assert listener.hears() == ["heartbeat"]


def test_a_read_in_which_the_connect_snapshot_ends_is_split_there() -> None:
    tape = Made()
    tape.post(EVENTS, 0.5, status=202)
    tape.stream("s", 1.0, (1.0, heartbeat() + status("running")), end=2.0)
    listener = Stage(tape, "instant").opens()
    assert listener.hears() == ["heartbeat"]
    assert listener.waits()


@each(
    ("target", "status_", "party", "is_gate"),
    [
        (EVENTS, 202, "client", True),
        ("/v1/sessions/s/elicitations/e/resolve", 200, "client", True),
        (EVENTS, 202, "runner", False),
        (EVENTS, 503, "client", False),
        ("/v1/sessions/s/resources/files", 201, "client", False),
        ("/v1/sessions/other/events", 202, "client", False),
    ],
)
def test_a_gate_is_what_a_client_posted_to_move_this_session_on(
    target: str, status_: int, party: str, is_gate: bool
) -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (3.0, status("running")))
    tape.post(target, 2.0, status=status_, party=party)
    listener = Stage(tape, "instant").opens()
    assert (listener.hears()[1:] == []) is is_gate


def test_a_glob_replaces_what_a_gate_is() -> None:
    tape = conversation()
    tape.request("PATCH", SESSION, 3.05)
    stage = Stage(tape, "instant", gates=("patch /v1/sessions/*",))
    listener = stage.opens()
    assert listener.hears() == [*GREETING, "running", "created"]
    stage.asks("PATCH", SESSION)
    assert listener.hears() == ["Hel", "lo", "completed", "idle"]


@pytest.mark.parametrize("glob", ["GET /v1/sessions/s", "POST /v1/sessions"])
def test_whatever_can_be_a_gate_can_be_opened(glob: str) -> None:
    tape = Made()
    tape.post("/v1/sessions", 0.5, status=201, answer={"id": "s"})
    tape.get(SESSION, 0.6, {"n": 1})
    tape.stream("s", 1.0, (1.0, heartbeat()), (3.0, status("idle")))
    stage = Stage(tape, "instant", gates=(glob,))
    listener = stage.opens()
    assert listener.hears() == ["heartbeat"]
    stage.asks(*glob.split())
    listener = listener if glob.startswith("GET") else stage.opens()
    assert listener.hears()[-1] == "idle"


def test_without_gates_nothing_is_waited_for() -> None:
    listener = Stage(conversation(), "instant", no_gate=True).opens()
    assert listener.hears() == GREETING + TURN


@pytest.mark.parametrize("ending", ["done", "eof", "upstream_lost"])
def test_the_end_comes_when_it_came_and_not_before_what_came_before_it(ending: str) -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), ending=ending, end=5.0)  # type: ignore[arg-type]
    tape.post(EVENTS, 4.0, status=202)
    stage = Stage(tape)
    listener = stage.opens()
    listener.hears()
    stage.at(100)
    assert listener.waits()
    stage.posts()
    assert listener.next_in() == pytest.approx(1.0)
