"""Faults as they are played: when they happen, to whom, and what others get. A conversation, clock in hand."""

from __future__ import annotations

import pytest

from omnirecord.replayer.player import Answering, Failing, Playing
from tests.support.cassettes import DONE, Made, completed, conversation, created, delta, heartbeat, zipped
from tests.support.examples import each
from tests.support.stage import EVENTS, SESSION, Listener, Stage

ANSWER = ["created", "Hel", "lo", "completed", "idle"]


def spoken(*faults: str, timing: str = "instant") -> tuple[Stage, Listener]:
    """A client that has opened the stream and sent its message."""
    stage = Stage(conversation(), timing, faults=faults)
    listener = stage.opens()
    assert listener.hears() == (["heartbeat", "presence"] if timing == "instant" else ["heartbeat"])
    stage.posts()
    return stage, listener


@each(
    ("fault", "heard", "stop"),
    [
        ("drop response.created", ["running", "Hel", "lo", "completed", "idle"], "open"),
        ("duplicate response.completed", ["running", "created", "Hel", "lo", "completed", "completed", "idle"], "open"),
        ("swap response.created", ["running", "Hel", "created", "lo", "completed", "idle"], "open"),
        ("cut before response.completed", ["running", "created", "Hel", "lo"], "clean"),
        ("cut after response.created short", ["running", "created"], "short"),
        ("cut before response.completed by reset", ["running", "created", "Hel", "lo"], "reset"),
        ("freeze at response.completed", ["running", "created", "Hel", "lo"], "freeze"),
        ('set delta of 2nd *.delta to "p!"', ["running", "created", "Hel", "p!", "completed", "idle"], "open"),
    ],
)  # fmt: skip
def test_a_fault_changes_what_the_client_gets(fault: str, heard: list[str], stop: str) -> None:
    stage, listener = spoken(fault)
    assert listener.hears() == heard
    assert listener.playing.stop == stop
    assert stage.player.streams.effects.happened == ({} if stop != "open" else {fault: None})


def test_a_cut_before_an_event_comes_when_the_event_would_have() -> None:
    stage, listener = spoken("cut before response.created", timing="original")
    stage.at(1.6)
    listener.hears()
    assert listener.playing.has_more
    stage.at(2.0)
    listener.hears()
    assert not listener.playing.has_more


def test_a_cut_behind_a_gate_waits_for_the_request() -> None:
    stage = Stage(conversation(), "instant", faults=("cut before 1st session.status",))
    listener = stage.opens()
    listener.hears()
    assert listener.waits()
    assert listener.playing.has_more
    stage.posts()
    listener.hears()
    assert not listener.playing.has_more


def test_a_delay_holds_the_event_and_keeps_the_distances_behind_it() -> None:
    stage, listener = spoken("delay response.created by 10s", timing="original")
    stage.at(1.5)
    listener.hears()
    assert listener.next_in() == pytest.approx(0.5)
    stage.at(2.0)
    assert listener.hears() == []
    assert listener.next_in() == pytest.approx(10.0)
    stage.at(12.0)
    assert listener.hears() == ["created"]
    assert listener.next_in() == pytest.approx(0.1)
    stage.at(20.0)
    assert listener.hears() == ["Hel"]


def test_a_delay_is_waited_out_in_instant_too_and_other_clients_are_not_held() -> None:
    stage, listener = spoken("delay response.completed by 3s")
    assert listener.hears() == ["running", "created", "Hel", "lo"]
    assert listener.next_in() == 3.0
    assert stage.reads() == {"status": "running"}
    stage.at(3.0)
    assert listener.hears() == ["completed", "idle"]


def ended(stage: Stage, listener: Listener) -> bool:
    return stage.player.streams.effects.ended(listener.playing)


def test_what_ends_a_stream_happens_once_and_the_next_client_gets_all_that_follows() -> None:
    stage, listener = spoken("cut after response.created by reset")
    listener.hears()
    assert ended(stage, listener)
    listener.leaves()
    again = stage.opens()
    assert again.hears() == ["heartbeat", "presence", "Hel", "lo", "completed", "idle"]
    assert again.playing.stop == "open"


def test_a_request_is_answered_with_the_status_that_a_fault_says_and_opens_no_gate() -> None:
    stage = Stage(conversation(), "instant", faults=(f"answer POST {EVENTS} with 503",))
    listener = stage.opens()
    listener.hears()
    failed = stage.asks("POST", EVENTS)
    assert isinstance(failed, Failing)
    assert (failed.status, listener.hears()) == (503, [])
    assert isinstance(stage.asks("POST", EVENTS), Answering)
    assert listener.hears() == ["running", *ANSWER]


def test_a_request_is_answered_late() -> None:
    stage = Stage(conversation(), "instant", faults=(f"slow every GET {SESSION} by 2s", "slow GET */stream by 1s"))
    slow = stage.asks("GET", SESSION)
    assert isinstance(slow, Answering)
    assert slow.due(0) == 2_000_000_000
    stream = stage.asks("GET", "/v1/sessions/s/stream")
    assert isinstance(stream, Playing)
    assert stream.begins_at == 1_000_000_000


def test_heartbeats_that_stop_are_not_made_up_either() -> None:
    stage, listener = spoken("stop heartbeats at response.created")
    assert listener.playing.takes_a_frame
    listener.hears()
    assert not listener.playing.takes_a_frame
    assert stage.opens().playing.faulty.quiet_from is not None


def test_a_compressed_stream_is_sent_plain_so_that_something_can_happen_to_it() -> None:
    tape = Made()
    headers = (("content-type", "text/event-stream"), ("content-encoding", "gzip"))
    tape.stream("s", 1.0, *zipped([(1.0, heartbeat()), (1.1, delta("a")), (1.2, delta("b"))]), headers=headers)
    listener = Stage(tape, "instant", faults=("drop response.output_text.delta",)).opens()
    assert listener.hears() == ["heartbeat", "b"]
    assert listener.playing.decoded


def test_a_missing_done_is_a_clean_end_without_it() -> None:
    tape = Made()
    reads = [(1.0, created()), (1.1, delta("a")), (1.2, completed()), (1.3, DONE)]
    tape.stream("/v1/responses", 1.0, *reads, method="POST", ending="done")
    listener = Stage(tape, "instant", faults=("drop [DONE]",)).opens("/v1/responses", method="POST")
    assert listener.hears() == ["created", "a", "completed"]
    assert listener.playing.stop == "clean"


def letters(*faults: str) -> tuple[Stage, Listener]:
    """A letter each second from 1 s on."""
    tape = Made()
    tape.stream("s", 0.0, (0.0, heartbeat()), *((1.0 + n, delta(letter)) for n, letter in enumerate("abcdef")))
    stage = Stage(tape, faults=faults)
    return stage, stage.opens()


def jump(stage: Stage, seconds: float) -> None:
    run = stage.controls.one(None)
    assert run is not None
    stage.controls.jump(run, seconds, stage.now)


def test_a_jump_sends_what_it_passes_although_there_was_a_stall() -> None:
    stage, listener = letters("delay first response.output_text.delta by 2s")
    listener.hears()
    stage.at(1.0)
    assert listener.hears() == []
    stage.at(3.0)
    assert listener.hears() == ["a"]
    jump(stage, 4.5)
    assert listener.hears() == ["b", "c", "d"]
    assert listener.next_in() == 0.5


def test_a_stall_that_is_jumped_to_begins_at_once() -> None:
    stage, listener = letters("delay 2nd response.output_text.delta by 2s")
    stage.at(1.2)
    assert listener.hears() == ["heartbeat", "a"]
    assert listener.next_in() == pytest.approx(0.8)
    jump(stage, 4.0)
    assert listener.hears() == []
    assert listener.next_in() == pytest.approx(2.0)
    stage.at(3.2)
    assert listener.hears() == ["b", "c", "d"]


def test_a_step_waits_for_no_stall_and_neither_does_what_follows() -> None:
    stage, listener = letters("delay first response.output_text.delta by 2s")
    for expected in (["heartbeat"], ["a"]):
        run = stage.controls.one(None)
        assert run is not None
        stage.controls.step(run, stage.now)
        assert listener.hears() == expected
    stage.controls.play(stage.now)
    stage.at(1.0)
    assert listener.hears() == ["b"]
