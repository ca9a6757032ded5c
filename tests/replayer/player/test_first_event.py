"""The time to the first event of a stream: the recorded gaps from the request to the header, and on to the event."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.cassettes import Made, delta, event, heartbeat, status
from tests.support.stage import EVENTS, Listener, Stage

MODEL = {"model": "m", "stream": True, "input": "Hi"}


def late(target: str) -> Made:
    """A stream that is asked for at 1 s. Its response begins at 2 s, its events come at 14, 14.5 and 15 s."""
    tape = Made("auto" if target == "/v1/responses" else "omnigent")
    reads = [(14.0, event("first")), (14.5, event("second")), (15.0, event("third"))]
    tape.stream(target, 2.0, *reads, asked=1.0, ending="eof", method="GET" if target == "s" else "POST")
    return tape


def opened(stage: Stage, target: str) -> Listener:
    return stage.opens(target, method="GET" if target == "s" else "POST")


def times(stage: Stage, listener: Listener) -> list[float]:
    """When the header and each event are due, in seconds from now."""
    begun = stage.now
    due = [(listener.playing.begins_at - begun) / 1e9]
    while listener.playing.has_more:
        stage.now += max(0, round(listener.next_in() * 1e9))
        due += [(stage.now - begun) / 1e9] * len(listener.hears())
    return due


TIMINGS: list[tuple[dict[str, Any], list[float]]] = [
    ({}, [1, 13, 13.5, 14]),
    ({"speed": 4}, [0.25, 3.25, 3.375, 3.5]),
    ({"max_gap": 3}, [1, 4, 4.5, 5]),
    ({"timing": "compressed"}, [0.1, 0.6, 0.65, 0.7]),
    ({"timing": "instant"}, [0, 0, 0, 0]),
]


@pytest.mark.parametrize("target", ["s", "/anything"])
@pytest.mark.parametrize(("how", "expected"), TIMINGS)
def test_the_header_and_the_first_event_keep_their_delays(
    target: str, how: dict[str, Any], expected: list[float]
) -> None:
    stage = Stage(late(target), **how)
    stage.at(100)
    assert times(stage, opened(stage, target)) == pytest.approx(expected)


def test_the_speed_that_is_chosen_during_a_replay_holds_for_the_first_event() -> None:
    stage = Stage(late("s"))
    stage.controls.set_speed(2, stage.now)
    assert times(stage, stage.opens()) == pytest.approx([0.5, 6.5, 6.75, 7])


def test_a_speed_that_is_changed_before_the_first_event_holds_from_then_on() -> None:
    stage = Stage(late("s"))
    listener = stage.opens()
    stage.at(5)  # 8 s remain
    stage.controls.set_speed(4, stage.now)
    assert listener.next_in() == pytest.approx(2)


def test_a_pause_before_the_first_event_adds_to_its_delay() -> None:
    stage = Stage(late("s"))
    listener = stage.opens()
    stage.at(5)
    stage.controls.pause(stage.now)
    stage.at(65)
    stage.controls.play(stage.now)
    assert listener.next_in() == pytest.approx(8)


@pytest.mark.parametrize(("asked", "header", "message", "event"), [(0.5, 1.0, 4.0, 6.0), (0.0, 3.0, 2.0, 4.0)])
def test_a_gate_before_the_first_event_holds_it_and_not_the_header(
    asked: float, header: float, message: float, event: float
) -> None:
    """A client may wait for the header before it sends the message."""
    tape = Made()
    tape.stream("s", header, (event, status("running")), asked=asked)
    tape.post(EVENTS, message, status=202)
    stage = Stage(tape)
    listener = stage.opens()
    assert listener.playing.begins_at == (header - asked) * 1e9
    stage.at(60)
    assert listener.waits()
    stage.posts()
    assert listener.next_in() == pytest.approx(2)


def test_a_message_that_comes_before_the_header_takes_no_time_from_the_first_event() -> None:
    tape = Made()
    tape.stream("s", 3.0, (5.0, status("running")), asked=0.0)
    tape.post(EVENTS, 4.0, status=202)
    stage = Stage(tape)
    listener = stage.opens()
    stage.at(1)
    stage.posts()
    assert listener.next_in() == pytest.approx(4)


def test_a_stream_that_follows_a_long_silence_keeps_the_delay_of_its_first_event() -> None:
    tape = Made()
    tape.stream("s", 0.0, (0.0, heartbeat()), (1.0, delta("cut")), ending="upstream_lost")
    tape.stream("s", 101.0, (103.0, heartbeat()), (104.0, delta("again")), asked=100.0, ending="eof")
    stage = Stage(tape, max_gap=5)
    stage.at(0)
    first = stage.opens()
    stage.at(1)
    first.hears()
    first.leaves()
    stage.at(50)
    assert times(stage, stage.opens()) == pytest.approx([1, 3, 4])


def test_a_client_that_joins_before_the_first_event_gets_it_with_the_others() -> None:
    tape = Made()
    tape.stream("s", 1.0, (6.0, delta("a")), (7.0, delta("b")), asked=0.0)
    stage = Stage(tape)
    first = stage.opens()
    stage.at(4)
    second = stage.opens()
    assert first.next_in() == second.next_in() == pytest.approx(2)


def test_a_fault_that_slows_a_request_down_does_not_make_its_answer_faster() -> None:
    stage = Stage(late("s"), faults=("slow GET */stream by 200ms",))
    assert stage.opens().playing.begins_at == 1_000_000_000
