"""`loop`: a session begins again for the next client when its streams are over. Clock in hand."""

from __future__ import annotations

import pytest

from omnirecord.replayer.player import Answering
from tests.replayer.player.test_opens import GREETING, TURN, family
from tests.support.cassettes import Made, conversation, delta, event, heartbeat, status
from tests.support.stage import SESSION, Listener, Stage

MODES = pytest.mark.parametrize("mode", ["original", "compressed", "instant"])


def plays(stage: Stage, at: float) -> Listener:
    """Open the stream, post the message, and hear all events; time runs from `at` on."""
    stage.at(at)
    listener = stage.opens()
    assert listener.hears()[:1] == GREETING[:1]
    stage.at(at + 1)
    stage.posts()
    stage.at(at + 10)
    listener.hears()
    assert not listener.playing.has_more
    return listener


@MODES
def test_a_session_begins_again_when_its_client_left_behind_the_last_event(mode: str) -> None:
    stage = Stage(conversation(), mode, loop=True)
    for number in range(3):
        listener = plays(stage, 100.0 * number)
        assert listener.body == stage.tape.wire[1]
        listener.leaves()
    assert not stage.player.mismatches


def test_without_loop_a_second_client_gets_no_further_event() -> None:
    stage = Stage(conversation())
    plays(stage, 0).leaves()
    stage.at(100)
    late = stage.opens()
    assert (late.playing.is_behind_end, late.hears()) == (True, GREETING)


def test_as_long_as_a_client_listens_the_session_does_not_begin_again() -> None:
    stage = Stage(conversation(), loop=True)
    first = plays(stage, 0)
    second = stage.opens()
    assert second.playing.is_behind_end
    first.leaves()
    assert stage.opens().playing.is_behind_end
    assert stage.reads()["status"] == "idle"


def test_a_client_that_left_early_gets_the_rest_until_the_time_of_the_last_event() -> None:
    stage = Stage(conversation(), no_gate=True, loop=True)
    first = stage.opens()
    stage.at(1.5)
    assert first.hears() == [*GREETING, "running"]
    first.leaves()
    stage.at(2.9)
    second = stage.opens()
    assert second.playing.joined
    assert second.hears()[-1] == "lo"
    second.leaves()
    stage.at(3.2)  # the last event comes 3.1 s after the first
    third = stage.opens()
    stage.at(10)
    assert third.hears() == GREETING + TURN


def test_a_client_that_left_at_a_gate_gets_the_rest_however_late_it_comes_back() -> None:
    stage = Stage(conversation(), loop=True)
    first = stage.opens()
    stage.at(1)
    first.hears()
    first.leaves()
    stage.at(500)
    second = stage.opens()
    stage.posts()
    stage.at(510)
    assert second.hears() == GREETING + TURN
    assert second.playing.joined


def test_a_session_tree_is_over_when_the_streams_of_its_children_are() -> None:
    stage = Stage(family(), no_gate=True, loop=True)
    parent = stage.opens()
    stage.at(3)
    of_child = stage.opens("c")
    stage.at(10)
    parent.hears()
    parent.leaves()
    of_child.hears()
    assert stage.plan.sessions["c"].root == "s"
    assert stage.reads("/v1/sessions/c") == {"child": "done"}
    of_child.leaves()
    again = stage.opens()
    assert again.hears() == ["heartbeat"]
    assert stage.reads("/v1/sessions/c") == {"child": "working"}


def test_a_client_that_opens_no_child_stream_gets_the_session_again_all_the_same() -> None:
    stage = Stage(family(), no_gate=True, loop=True)
    for start in (0, 100):
        stage.at(start)
        listener = stage.opens()
        stage.at(start + 10)
        assert listener.hears() == ["heartbeat", "created", "idle"]
        listener.leaves()


def test_the_recorded_reconnect_is_played_before_the_session_begins_again() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (1.5, delta("cut")), ending="upstream_lost")
    tape.stream("s", 60.0, (60.0, heartbeat()), (60.5, delta("again")), ending="done")
    stage = Stage(tape, "instant", loop=True)
    heard = []
    for _ in range(4):
        listener = stage.opens()
        heard.append(listener.hears()[-1])
        listener.leaves()
    assert heard == ["cut", "again", "cut", "again"]


def test_a_stream_that_a_fault_cut_goes_on_before_the_session_begins_again() -> None:
    stage = Stage(conversation(), "instant", no_gate=True, loop=True, faults=("cut before response.completed",))
    first = stage.opens()
    assert first.hears() == [*GREETING, *TURN[:-2]]
    assert stage.player.streams.effects.ended(first.playing)
    first.leaves()
    rest = stage.opens()
    assert rest.hears()[-2:] == TURN[-2:]
    assert rest.playing.joined
    rest.leaves()
    assert not stage.opens().playing.joined


def test_requests_that_were_recorded_behind_the_last_event_belong_to_the_end() -> None:
    tape = conversation()
    tape.get(SESSION, 7.0, {"status": "archived"})
    tape.request("DELETE", SESSION, 8.0, status=204)
    stage = Stage(tape, loop=True)
    for start in (0, 100):
        stage.at(start)
        assert stage.reads()["status"] == "launching"
        plays(stage, start).leaves()
        assert stage.reads()["status"] == "archived"
        assert isinstance(stage.asks("DELETE", SESSION), Answering)


def test_a_session_that_is_over_is_listed_as_before_its_start() -> None:
    tape = Made()
    tape.get("/v1/sessions", 0.0, {"data": [{"id": "s", "status": "launching"}]})
    tape.stream("s", 1.0, (1.0, heartbeat()), (3.0, status("idle")), ending="eof")
    tape.get("/v1/sessions", 4.0, {"data": [{"id": "s", "status": "idle"}]})
    stage = Stage(tape, loop=True)
    listener = stage.opens()
    stage.at(5)
    listener.hears()
    assert stage.reads("/v1/sessions")["data"][0]["status"] == "idle"
    listener.leaves()
    assert stage.reads("/v1/sessions")["data"][0]["status"] == "launching"


def test_a_client_that_comes_back_with_the_last_event_id_is_no_new_client() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (1.5, delta("a")), ending="eof")
    stage = Stage(tape, "instant", loop=True, resume=True)
    first = stage.opens()
    first.hears()
    first.leaves()
    back = stage.opens(last_event_id="1.2")
    assert (back.playing.is_behind_end, back.hears()) == (True, [])
    back.leaves()
    assert stage.opens().hears() == ["heartbeat", "a"]


@pytest.mark.parametrize("loop", [False, True])
def test_a_stream_without_a_session_begins_again_in_any_case(loop: bool) -> None:
    tape = Made()
    tape.stream("/events", 1.0, (1.0, event("a")), (2.0, event("b")), ending="client_left")
    stage = Stage(tape, loop=loop)
    for start in (0, 10):
        stage.at(start)
        listener = stage.opens("/events")
        stage.at(start + 5)
        assert listener.hears() == ["a", "b"]
        listener.leaves()
