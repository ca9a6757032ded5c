"""Who opens a stream that is open, or was: second listeners, who comes back, who comes late. Clock in hand."""

from __future__ import annotations

import pytest

from tests.support.cassettes import (
    ANSWER,
    Made,
    completed,
    conversation,
    created,
    delta,
    heartbeat,
    presence,
    status,
)
from tests.support.stage import EVENTS, SESSION, Stage

GREETING = ["heartbeat", "presence"]
TURN = ["running", "created", "Hel", "lo", "completed", "idle"]
MODES = pytest.mark.parametrize("mode", ["original", "compressed", "instant"])


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
    """Two that listen to the same answer; the second came at 2.4 s, when the first was told of it."""
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.5, presence()), *ANSWER, end=6.0)
    tape.stream("s", 2.4, (2.4, heartbeat() + presence()), (2.6, b": only here\n\n"), *ANSWER, end=5.0)
    tape.get(SESSION, 0.5, {"n": "at first"})
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
    assert other.next_in() == pytest.approx(2.0)


def test_who_comes_after_the_end_is_not_sent_away_again() -> None:
    stage = Stage(conversation("eof"), "instant")
    stage.posts()
    first = stage.opens()
    first.hears()
    first.leaves()
    late = stage.opens()
    assert (late.hears(), late.playing.exchange.ending) == (GREETING, "open")
