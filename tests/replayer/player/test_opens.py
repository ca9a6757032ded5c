"""Who hears which stream: first opens, later ones, those nobody recorded, children. Clock in hand."""

from __future__ import annotations

import pytest

from omnirecord.replayer.player import Answering
from tests.support.cassettes import (
    DONE,
    Made,
    child,
    conversation,
    created,
    delta,
    heartbeat,
    status,
    zipped,
)
from tests.support.stage import EVENTS, SESSION, Stage

GREETING = ["heartbeat", "presence"]
TURN = ["running", "created", "Hel", "lo", "completed", "idle"]
MODES = pytest.mark.parametrize("mode", ["original", "compressed", "instant"])


def family() -> Made:
    """A parent that spawns a child at 3 s and hears of it; the child's stream is opened at 3.5 s."""
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (3.0, child("c")), (6.0, status("idle")), end=8.0)
    tape.post(EVENTS, 2.0, status=202)
    tape.stream("c", 3.5, (3.5, heartbeat()), (4.0, delta("from the child")), (5.0, status("idle")), end=7.0)
    tape.get("/v1/sessions/c", 4.5, {"child": "working"})
    tape.get("/v1/sessions/c", 5.5, {"child": "done"})
    return tape


@MODES
def test_a_first_open_hears_everything_however_late_it_is(mode: str) -> None:
    stage = Stage(conversation(), mode)
    stage.posts("/v1/sessions")
    stage.posts()
    stage.at(500)
    listener = stage.opens()
    stage.at(1000)
    assert listener.hears() == GREETING + TURN
    assert listener.body == stage.tape.wire[1]


def test_after_a_recorded_end_the_next_recorded_open_follows() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (1.5, delta("cut")), ending="upstream_lost")
    tape.stream("s", 60.0, (60.0, heartbeat()), (60.5, delta("again")), ending="done")
    stage = Stage(tape)
    first = stage.opens()
    stage.at(1)
    assert (first.hears(), first.playing.exchange.ending) == (["heartbeat", "cut"], "upstream_lost")
    first.leaves()
    second = stage.opens()
    assert second.hears() == ["heartbeat"]
    assert second.next_in() == pytest.approx(0.5)
    assert second.playing.exchange.ending == "done"


def test_opens_without_a_response_are_skipped() -> None:
    tape = Made()
    tape.get("/v1/sessions/s/stream", 0.5, answered=False, ending="client_left")
    tape.stream("s", 1.0, (1.0, heartbeat()))
    assert Stage(tape).opens().hears() == ["heartbeat"]


@MODES
def test_an_open_that_was_answered_with_an_error_is_again(mode: str) -> None:
    tape = Made()
    tape.get("/v1/sessions/s/stream", 1.0, {"error": {}}, status=503)
    tape.stream("s", 2.0, (2.0, heartbeat()), (3.0, status("idle")))
    stage = Stage(tape, mode)
    failed = stage.asks("GET", "/v1/sessions/s/stream")
    assert isinstance(failed, Answering)
    listener = stage.opens()
    stage.at(1)
    assert listener.hears() == ["heartbeat", "idle"]


def test_who_was_refused_and_comes_back_before_a_message_gets_on_without_one_as_well() -> None:
    tape = Made()
    tape.get("/v1/sessions/s/stream", 1.0, {"error": {}}, status=503)
    tape.post(EVENTS, 1.5, status=202)
    tape.stream("s", 2.0, (2.0, heartbeat()), (3.0, status("idle")))
    stage = Stage(tape)
    stage.asks("GET", "/v1/sessions/s/stream")
    listener = stage.opens()
    assert listener.hears() == ["heartbeat"]
    gate = listener.playing.waits_for()
    assert gate is not None
    listener.playing.timeline.open(gate, stage.now)  # as a gate's timeout does
    stage.at(10)
    assert listener.hears() == ["idle"]


def test_a_session_that_only_ever_refused_refuses_again() -> None:
    tape = Made()
    tape.get("/v1/sessions/s/stream", 1.0, {"error": {}}, status=404)
    stage = Stage(tape)
    answers = [stage.asks("GET", "/v1/sessions/s/stream") for _ in range(3)]
    assert all(isinstance(answer, Answering) for answer in answers)


def test_sessions_never_wait_for_each_other() -> None:
    tape = conversation()
    tape.stream("other", 1.0, (1.0, heartbeat()), (9.0, status("idle")))
    stage = Stage(tape)
    waiting, other = stage.opens(), stage.opens("other")
    stage.at(8.0)
    assert (waiting.hears(), other.hears()) == (GREETING, ["heartbeat", "idle"])


def test_a_childs_stream_hangs_on_its_parents_playhead() -> None:
    stage = Stage(family())
    parent = stage.opens()
    stage.at(100)
    parent.hears()
    stage.posts()
    stage.at(101)
    assert parent.hears() == ["created"]
    of_child = stage.opens("c")
    assert of_child.hears() == ["heartbeat"]
    assert of_child.next_in() == pytest.approx(1.0)
    assert stage.reads("/v1/sessions/c") == {"child": "working"}


@MODES
def test_who_opens_a_child_first_is_greeted_at_once_and_hears_it_once_the_parent_was_spoken_to(mode: str) -> None:
    stage = Stage(family(), mode)
    of_child = stage.opens("c")
    assert of_child.hears() == ["heartbeat"]
    stage.at(50)
    assert of_child.hears() == []
    parent = stage.opens()
    stage.posts()
    stage.at(100)
    of_child.hears()
    parent.hears()
    assert (parent.body, of_child.body) == (stage.tape.wire[1], stage.tape.wire[2])


def test_a_child_that_nobody_opens_holds_up_no_read() -> None:
    stage = Stage(family(), "instant")
    parent = stage.opens()
    stage.posts()
    assert parent.hears() == ["heartbeat", "created", "idle"]
    assert stage.reads("/v1/sessions/c") == {"child": "done"}


def test_a_stream_that_belongs_to_no_session_has_its_own_time_and_plays_again_and_again() -> None:
    tape = conversation()
    reads = ((60.0, created()), (60.5, delta("Hi")), (61.0, DONE))
    tape.stream("/v1/responses", 60.0, *reads, method="POST", ending="done", body=b'{"model": "m"}')
    stage = Stage(tape)
    for _ in range(3):
        listener = stage.opens("/v1/responses", method="POST")
        assert listener.hears() == ["created"]
        stage.now += 500_000_000
        assert listener.hears() == ["Hi"]
        stage.now += 500_000_000
        assert listener.hears() == ["[DONE]"]
        assert listener.playing.exchange.ending == "done"


def test_a_stream_that_is_got_from_no_session_plays_too() -> None:
    tape = Made()
    tape.stream("/stream", 0.0, (0.0, b"data: 1\n\n"), (1.0, b"data: 2\n\n"), ending="eof")
    stage = Stage(tape, "instant")
    assert [stage.opens("/stream").hears() for _ in range(2)] == [["1", "2"], ["1", "2"]]


def test_a_compressed_stream_is_sent_as_it_was_and_greets_before_the_gate() -> None:
    tape = Made()
    headers = (("content-type", "text/event-stream"), ("content-encoding", "gzip"))
    reads = zipped([(1.0, heartbeat()), (3.0, status("idle"))])
    tape.post(EVENTS, 0.5, status=202)
    tape.stream("s", 1.0, *reads, headers=headers)
    stage = Stage(tape, "instant")
    listener = stage.opens()
    assert not listener.playing.takes_a_frame, "not even before it"
    listener.hears()
    assert listener.body == reads[0][1]
    stage.posts()
    listener.hears()
    assert listener.body == tape.wire[1]
    assert not listener.playing.takes_a_frame


def test_a_session_goes_on_in_the_next_recording() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (9.0, delta("one")), ending="recorder_stopped", end=10.0)
    tape.another_recording()
    tape.stream("s", 0.5, (0.5, heartbeat()), (0.6, delta("two")))
    tape.get(SESSION, 0.7, {"seen": "last"})
    stage = Stage(tape)
    first = stage.opens()
    stage.at(8)
    assert first.hears() == ["heartbeat", "one"]
    first.leaves()
    second = stage.opens()
    stage.at(8.1)
    assert second.hears() == ["heartbeat", "two"]
    assert stage.reads() == {"seen": "last"}
