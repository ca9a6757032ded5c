"""Who hears which stream: first opens, later ones, those nobody recorded, children. Clock in hand."""

from __future__ import annotations

import pytest

from omnirecord.player import Answering
from tests.cassettes import (
    ANSWER,
    DONE,
    Made,
    child,
    completed,
    conversation,
    created,
    delta,
    heartbeat,
    presence,
    status,
    zipped,
)
from tests.stage import EVENTS, SESSION, Stage

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


def came_back() -> Made:
    """A client that left in the middle of an answer and came back: of its text, `lo, w` was heard by nobody."""
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.5, created()), (3.0, delta("Hel")), end=3.1)
    tape.post(EVENTS, 2.0, status=202)
    tape.get(SESSION, 3.2, {"seen": "in between"})
    again = heartbeat() + created() + delta("Hello, w", None) + presence()
    tape.stream("s", 4.0, (4.0, again), (4.1, delta("orld", 9)), (5.0, completed()), end=6.0)
    tape.get(SESSION, 5.5, {"seen": "at the end"})
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


def test_a_client_that_comes_back_gets_the_stream_that_was_recorded_then() -> None:
    stage = Stage(came_back())
    first = stage.opens()
    stage.posts()
    stage.at(2.0)
    assert first.hears() == ["heartbeat", "created", "Hel"]
    first.leaves()
    assert stage.reads() == {"seen": "in between"}
    second = stage.opens()
    assert second.hears() == ["heartbeat", "created", "Hello, w", "presence"]
    assert second.next_in() == pytest.approx(0.1)
    stage.at(10)
    second.hears()
    assert second.body == stage.tape.wire[2]


def test_a_client_that_comes_back_before_it_has_spoken_joins_what_the_first_one_would_have_heard() -> None:
    stage = Stage(came_back())
    stage.opens().leaves()
    second = stage.opens()
    assert second.hears() == GREETING
    stage.posts()
    stage.at(10)
    assert second.hears() == ["created", "Hel", "lo, w", "orld", "completed"]


def test_a_client_that_comes_a_second_time_while_the_first_listens_joins_as_well() -> None:
    stage = Stage(came_back())
    first = stage.opens()
    first.hears()
    stage.posts()
    second = stage.opens()
    stage.at(10)
    assert "".join(second.hears()) == "heartbeatpresencecreatedHello, worldcompleted"
    assert first.hears() == ["created", "Hel"]


@MODES
def test_a_page_that_opens_the_stream_five_times_sees_the_answer_once(mode: str) -> None:
    stage = Stage(conversation(), mode)
    heard: list[str] = []
    for n in range(5):
        stage.at(n)
        listener = stage.opens()
        heard += listener.hears()
        listener.leaves()
    stage.posts()
    last = stage.opens()
    stage.at(100)
    heard += last.hears()
    last.leaves()
    heard += stage.opens().hears()
    assert [gist for gist in heard if gist not in GREETING] == TURN


def test_who_joins_in_the_middle_of_an_answer_gets_its_text_so_far_at_once_and_then_the_rest() -> None:
    stage = Stage(conversation())
    stage.posts()
    first = stage.opens()
    stage.at(2.15)
    assert first.hears() == [*GREETING, "running", "created", "Hel"]
    second = stage.opens()
    assert second.hears() == ["heartbeat", "created", "Hel", "presence"]
    stage.at(2.2)
    assert (first.hears(), second.hears()) == (["lo"], ["lo"])


def test_two_that_open_at_once_where_one_was_recorded_hear_the_same() -> None:
    stage = Stage(conversation(), "instant")
    one, other = stage.opens(), stage.opens()
    stage.posts()
    assert one.hears() == other.hears() == [*GREETING, *TURN]


def test_who_joins_while_a_gate_holds_what_came_with_the_greeting_misses_nothing() -> None:
    tape = Made()
    tape.post(EVENTS, 0.5, status=202)
    tape.stream("s", 1.0, (1.0, heartbeat() + status("running")))
    stage = Stage(tape, "instant")
    one = stage.opens()
    assert one.hears() == ["heartbeat"]
    other = stage.opens()
    stage.posts()
    assert (one.hears(), other.hears()) == (["running"], ["heartbeat", "running"])


@MODES
def test_two_that_open_at_once_where_two_were_recorded_get_a_stream_each(mode: str) -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (1.3, presence()), *ANSWER)
    tape.stream("s", 1.2, (1.2, heartbeat()), (1.4, presence()), (3.0, created()), end=3.05)
    tape.post(EVENTS, 2.0, status=202)
    stage = Stage(tape, mode)
    one = stage.opens()
    one.hears()
    other = stage.opens()
    stage.posts()
    stage.at(100)
    one.hears()
    other.hears()
    assert (one.body, other.body) == (tape.wire[1], tape.wire[2])


def two_listeners() -> Made:
    """Two that listen to the same answer; the second came at 1.5 s, when the first was told of it."""
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.5, presence()), *ANSWER, end=6.0)
    tape.stream("s", 2.4, (2.4, heartbeat() + presence()), *ANSWER, end=5.0)
    tape.get(SESSION, 5.5, {"n": "at the end"})
    return tape


def test_a_second_listener_who_comes_late_but_before_any_news_gets_the_recorded_stream() -> None:
    stage = Stage(two_listeners())
    one = stage.opens()
    stage.at(1.9)
    assert one.hears() == GREETING
    other = stage.opens()
    stage.at(100)
    other.hears()
    assert other.body == stage.tape.wire[2]


def test_a_second_listener_who_comes_in_the_middle_of_the_answer_joins() -> None:
    stage = Stage(two_listeners())
    one = stage.opens()
    stage.at(2.1)
    one.hears()
    other = stage.opens()
    stage.at(2.2)
    assert other.hears() == ["heartbeat", "created", "Hel", "presence", "lo"]


def test_a_second_listener_who_comes_long_before_it_did_joins_and_misses_nothing() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (5.0, delta("a")), (20.0, delta("b")))
    tape.stream("s", 10.0, (10.0, heartbeat() + delta("a", None)), (20.0, delta("b")))
    stage = Stage(tape)
    stage.opens().hears()
    other = stage.opens()
    assert other.hears() == ["heartbeat"]
    stage.at(4)
    assert other.hears() == ["a"]


def test_a_second_listener_who_comes_when_the_first_is_gone_gets_its_stream_from_its_start() -> None:
    stage = Stage(two_listeners(), "instant")
    one = stage.opens()
    one.hears()
    one.leaves()
    assert stage.reads() == {"n": "at the end"}
    other = stage.opens()
    other.hears()
    assert other.body == stage.tape.wire[2]


def test_who_holds_on_to_a_stream_that_is_played_out_holds_up_nobody() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()))
    tape.stream("s", 60.0, (60.0, heartbeat()), (62.0, delta("a")))
    stage = Stage(tape)
    stage.opens().hears()
    other = stage.opens()
    assert other.hears() == ["heartbeat"]
    assert other.next_in() == pytest.approx(1.0 + 1.0)


def test_after_a_recorded_end_the_next_recorded_open_follows() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (1.5, delta("cut")), ending="upstream_lost")
    tape.stream("s", 60.0, (60.0, heartbeat()), (60.5, delta("again")), ending="done")
    stage = Stage(tape)
    first = stage.opens()
    stage.at(1)
    assert (first.hears(), first.playing.ending) == (["heartbeat", "cut"], "upstream_lost")
    first.leaves()
    second = stage.opens()
    assert second.hears() == ["heartbeat"]
    assert second.next_in() == pytest.approx(0.5)
    assert second.playing.ending == "done"


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
        assert listener.playing.ending == "done"


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


def test_who_comes_after_the_end_is_not_sent_away_again() -> None:
    stage = Stage(conversation("eof"), "instant")
    stage.posts()
    first = stage.opens()
    first.hears()
    first.leaves()
    late = stage.opens()
    assert (late.hears(), late.playing.ending) == (GREETING, "open")
