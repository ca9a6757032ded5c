"""The playhead in somebody's hand: a conversation with the player, clock and buttons in hand."""

from __future__ import annotations

import pytest

from omnirecord.errors import UsageError
from omnirecord.model import TimedFrame
from omnirecord.replayer.player.controls import is_behind
from omnirecord.replayer.player.playback import Playthrough
from tests.support.cassettes import DONE, SSE, Made, child, conversation, delta, heartbeat, presence, status, zipped
from tests.support.examples import each
from tests.support.stage import EVENTS, SESSION, Listener, Stage


def steady() -> Made:
    """A heartbeat at 1 s, then a letter each second from 2 s on."""
    tape = Made()
    reads = [(1.0, heartbeat()), *((2.0 + n, delta(letter)) for n, letter in enumerate("abcdef"))]
    tape.stream("s", 1.0, *reads, ending="eof", end=8.0)
    return tape


def the_run(stage: Stage) -> Playthrough:
    run = stage.controls.one(None)
    assert run is not None
    return run


def steps(stage: Stage) -> None:
    stage.controls.step(the_run(stage), stage.now)


def opened(stage: Stage, at: float = 0.0) -> Listener:
    stage.at(at)
    return stage.opens()


def test_a_pause_holds_everything_and_time_goes_on_from_where_it_stood() -> None:
    stage = Stage(steady())
    listener = opened(stage)
    stage.at(1.25)
    assert listener.hears() == ["heartbeat", "a"]
    stage.controls.pause(stage.now)
    stage.at(100.0)
    assert listener.hears() == []
    assert listener.waits()
    stage.controls.play(stage.now)
    assert listener.next_in() == pytest.approx(0.75)
    stage.at(100.75)
    assert listener.hears() == ["b"]


def test_who_comes_while_it_is_paused_from_the_start_gets_nothing_until_it_plays() -> None:
    stage = Stage(conversation(), "instant")
    stage.controls.pause(stage.now)
    listener = stage.opens()
    assert listener.hears() == []
    stage.controls.play(stage.now)
    assert listener.hears() == ["heartbeat", "presence"]


def test_answers_come_although_it_is_paused() -> None:
    stage = Stage(conversation())
    stage.controls.pause(stage.now)
    stage.opens()
    assert stage.reads() == {"status": "launching"}
    assert stage.posts().due(stage.now) is not None


def test_a_second_client_still_gets_what_the_first_got_before_the_pause() -> None:
    tape = steady()
    tape.stream("s", 1.1, (1.1, heartbeat()), (2.001, delta("a")), (3.001, delta("b")), ending="eof")
    stage = Stage(tape)
    one, other = stage.opens(), stage.opens()
    stage.at(2.5)
    assert one.hears() == ["heartbeat", "a", "b"]
    stage.controls.pause(stage.now)
    assert other.hears() == ["heartbeat", "a"]


def test_a_step_lets_one_event_pass_and_takes_no_time_and_it_plays_on_from_there() -> None:
    stage = Stage(steady())
    listener = stage.opens()
    heard = []
    for _ in range(4):
        steps(stage)
        heard.append(listener.hears())
    assert heard == [["heartbeat"], ["a"], ["b"], ["c"]]
    assert stage.now == 0
    stage.controls.play(stage.now)
    assert listener.next_in() == 1.0


def test_a_step_is_the_same_event_for_everybody_who_is_to_get_it() -> None:
    stage = Stage(steady())
    one, other = stage.opens(), stage.opens()
    steps(stage)
    assert (one.hears(), other.hears()) == (["heartbeat"], ["heartbeat"])
    steps(stage)
    assert (one.hears(), other.hears()) == (["a"], ["a"])


def test_a_comment_passes_with_the_event_behind_it() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat() + b": one\n\n" + delta("a") + delta("b")), ending="eof")
    stage = Stage(tape)
    listener = stage.opens()
    steps(stage)
    listener.hears()
    steps(stage)
    listener.hears()
    assert listener.body == heartbeat() + b": one\n\n" + delta("a")


def test_an_event_that_came_in_two_reads_is_one_step() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, delta("a")[:9]), (2.0, delta("a")[9:] + delta("b")), ending="eof")
    stage = Stage(tape)
    listener = stage.opens()
    steps(stage)
    listener.hears()
    assert listener.body == delta("a")


def test_a_step_waits_at_a_closed_gate_for_the_request() -> None:
    stage = Stage(conversation())
    listener = stage.opens()
    for expected in (["heartbeat"], ["presence"], []):
        steps(stage)
        assert listener.hears() == expected
    assert stage.controls.position().waits_for == f"POST {EVENTS}"
    stage.posts()
    assert listener.hears() == ["running"]


def test_a_read_knows_what_was_stepped_to() -> None:
    stage = Stage(conversation())
    listener = stage.opens()
    stage.posts()
    while "Hel" not in listener.hears():
        steps(stage)
    assert stage.reads() == {"status": "running"}


@pytest.mark.parametrize("timing", ["original", "instant"])
def test_it_runs_until_an_event_and_not_a_byte_further(timing: str) -> None:
    stage = Stage(steady(), timing)
    listener = stage.opens()
    target = stage.controls.run_until("response.output_text.delta", 3, stage.now)
    stage.at(50.0)
    assert listener.hears() == ["heartbeat", "a", "b", "c"]
    assert target.reached is the_run(stage)
    assert stage.controls.position().paused


def test_the_nth_counts_from_where_the_playhead_is() -> None:
    stage = Stage(steady(), "instant")
    listener = stage.opens()
    for expected in (["heartbeat", "a"], ["b"], ["c"]):
        stage.controls.run_until("response.output_text.delta", 1, stage.now)
        assert listener.hears() == expected


def test_it_can_be_told_what_to_run_to_before_anybody_has_come() -> None:
    stage = Stage(steady(), "instant")
    stage.controls.run_until("response.output_text.delta", 2, stage.now)
    assert stage.opens().hears() == ["heartbeat", "a", "b"]


def test_an_event_that_two_clients_get_counts_once() -> None:
    stage = Stage(steady())
    one, other = stage.opens(), stage.opens()
    target = stage.controls.run_until("response.output_text.delta", 2, stage.now)
    stage.at(1.0)
    assert (one.hears(), other.hears()) == (["heartbeat", "a"], ["heartbeat", "a"])
    assert target.reached is None


def test_what_is_looked_for_may_be_a_function() -> None:
    def says_d(frame: TimedFrame) -> bool:
        return b'"d"' in (frame.raw or b"")

    stage = Stage(steady(), "instant")
    stage.controls.run_until(says_d, 1, stage.now)
    assert stage.opens().hears() == ["heartbeat", "a", "b", "c", "d"]


@each(
    ("event", "heard"),
    [
        ("2nd response.output_text.delta", "ab"),
        ("last response.*", "abcdef"),
        ("#4", "abc"),
        ("response.output_text.delta with delta=c", "abc"),
        ("event after response.output_text.delta", "ab"),
    ],
)
def test_an_event_is_named_as_in_a_fault(event: str, heard: str) -> None:
    stage = Stage(steady(), "instant")
    stage.controls.run_until(event, 1, stage.now)
    assert stage.opens().hears() == ["heartbeat", *heard]


def test_an_event_that_was_not_recorded_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"response\.output_text\.delta"):
        Stage(steady()).controls.run_until("response.output_txt.delta", 1, 0)


def test_who_gives_up_waiting_for_an_event_does_not_stop_it_later() -> None:
    stage = Stage(steady(), "instant")
    target = stage.controls.run_until("response.output_text.delta", 2, stage.now)
    stage.controls.give_up(target)
    assert stage.opens().hears() == ["heartbeat", *"abcdef"]


def test_a_jump_sends_what_lies_between_and_goes_on_from_there() -> None:
    stage = Stage(steady())
    listener = stage.opens()
    stage.controls.jump(the_run(stage), 3.5, stage.now)
    assert listener.hears() == ["heartbeat", "a", "b", "c"]
    assert listener.next_in() == 0.5


def test_a_jump_while_it_is_paused_stays_paused_there() -> None:
    stage = Stage(steady())
    listener = stage.opens()
    stage.controls.pause(stage.now)
    stage.controls.jump(the_run(stage), 2.0, stage.now)
    assert listener.hears() == ["heartbeat", "a", "b"]
    stage.at(60.0)
    assert listener.hears() == []


def test_a_jump_stops_at_a_closed_gate() -> None:
    stage = Stage(conversation())
    listener = stage.opens()
    stage.controls.jump(the_run(stage), 4.0, stage.now)
    assert listener.hears() == ["heartbeat"]
    stage.at(0.1)
    assert listener.hears() == ["presence"]
    stage.posts()
    assert listener.next_in() == pytest.approx(0.5)


def test_a_jump_back_is_refused_with_the_reason() -> None:
    stage = Stage(steady())
    stage.opens()
    stage.at(3.0)
    listener = stage.opens()
    listener.hears()
    with pytest.raises(UsageError, match=r"cannot jump back to 1 s from .* what was sent stays sent"):
        stage.controls.jump(the_run(stage), 1.0, stage.now)


@pytest.mark.parametrize(("timing", "speed", "wait"), [({}, 4, 0.25), ({}, 0.5, 2.0), ({"speed": 10}, 2, 0.5)])
def test_the_speed_replaces_the_one_it_was_started_with(timing: dict[str, float], speed: float, wait: float) -> None:
    stage = Stage(steady(), **timing)
    listener = stage.opens()
    stage.controls.set_speed(speed, stage.now)
    listener.hears()
    assert listener.next_in() == pytest.approx(wait)
    assert stage.controls.speed == pytest.approx(speed)
    assert stage.controls.position().speed == pytest.approx(speed)


def test_a_changed_speed_counts_from_where_the_playhead_is() -> None:
    stage = Stage(steady())
    listener = stage.opens()
    stage.at(1.5)
    listener.hears()
    stage.controls.set_speed(0.5, stage.now)
    assert listener.next_in() == 1.0


def test_an_answer_takes_as_long_as_the_speed_makes_it() -> None:
    stage = Stage(conversation())
    stage.controls.set_speed(2, stage.now)
    assert stage.posts().due(0) == 100_000_000


def test_there_is_no_speed_in_instant() -> None:
    with pytest.raises(UsageError, match="no gaps"):
        Stage(steady(), "instant").controls.set_speed(2, 0)


@each("speed", [0, -1, 1e-9, 1e10, float("nan")])
def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    with pytest.raises(UsageError, match="must be over 0"):
        Stage(steady()).controls.set_speed(speed, 0)


def test_sessions_have_playheads_of_their_own_and_have_to_be_named() -> None:
    tape = steady()
    tape.stream("t", 1.0, (1.0, heartbeat()), (2.0, delta("x")), ending="eof")
    stage = Stage(tape, "instant")
    stage.controls.pause(stage.now)
    one, other = stage.opens("s"), stage.opens("t")
    with pytest.raises(UsageError, match="say which of s, t"):
        stage.controls.one(None)
    stage.controls.play(stage.now, "t")
    assert (one.hears(), other.hears()) == ([], ["heartbeat", "x"])
    assert [one.which for one in stage.controls.positions()] == ["s", "t"]


def test_a_sub_agents_session_has_its_parents_playhead() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, child("c")), (5.0, delta("a")), ending="eof")
    tape.stream("c", 3.0, (3.0, heartbeat()), (4.0, delta("b")), ending="eof")
    stage = Stage(tape)
    stage.opens("s")
    assert stage.controls.one("c") is stage.controls.one("s")
    with pytest.raises(UsageError, match="'x' is not played: s is"):
        stage.controls.one("x")


def test_a_stream_without_a_session_can_be_named_by_its_number() -> None:
    tape = Made()
    tape.stream("/v1/responses", 1.0, (1.0, delta("a")), (1.5, DONE), ending="done", method="POST")
    stage = Stage(tape)
    stage.controls.pause(stage.now)
    listener = stage.opens("/v1/responses", method="POST")
    assert listener.hears() == []
    stage.controls.play(stage.now, "stream 1")
    assert listener.hears() == ["a"]
    listener.leaves()
    assert stage.controls.positions() == []


def test_where_it_is_before_anything_was_played() -> None:
    position = Stage(steady()).controls.position()
    assert (position.which, position.type, position.at_s, position.next) == (None, None, 0.0, None)


def test_it_tells_what_was_sent_last_and_what_comes_next() -> None:
    stage = Stage(conversation())
    listener = stage.opens()
    stage.at(0.1)
    listener.hears()
    position = stage.controls.position()
    assert (position.which, position.stream, position.seq, position.type) == ("s", 1, 2, "session.presence")
    assert (position.at_s, position.offset_ns) == (pytest.approx(0.1), 1_100_000_000)
    assert (position.next, position.waits_for) == ("session.status", f"POST {EVENTS}")


def test_what_it_waits_for_is_told_when_the_client_has_given_up_too() -> None:
    stage = Stage(conversation(), "instant")
    listener = stage.opens()
    listener.hears()
    listener.leaves()
    assert stage.controls.position().waits_for == f"POST {EVENTS}"
    stage.posts()
    assert stage.controls.position().waits_for is None


def test_a_reset_begins_everything_again() -> None:
    stage = Stage(conversation(), "instant")
    stage.asks("POST", "/v1/sessions", {})
    stage.opens().hears()
    stage.posts(body={"type": "interrupt"})
    stage.player.reset()
    assert stage.player.mismatches == []
    listener = stage.opens()
    assert listener.hears() == ["heartbeat", "presence"]
    stage.posts()
    assert listener.hears()[:2] == ["running", "created"]
    assert stage.reads(SESSION) == {"status": "idle"}


def test_a_new_run_of_a_session_is_paused_as_all_are() -> None:
    stage = Stage(conversation(), "instant")
    stage.controls.pause(stage.now)
    stage.asks("POST", "/v1/sessions", {})
    assert stage.opens().hears() == []
    assert not is_behind(the_run(stage), (0, 1, 1))


def test_a_stepped_stream_that_is_joined_late_gets_its_connect_snapshot_at_once() -> None:
    stage = Stage(conversation())
    first = stage.opens()
    stage.posts()
    for _ in range(4):
        steps(stage)
        first.hears()
    assert stage.opens().hears() == ["heartbeat", "presence"]


def test_presence_and_status_of_a_stream_are_counted_as_events() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, presence() + status("running") + status("idle")), ending="eof")
    stage = Stage(tape)
    stage.controls.run_until("session.status", 2, stage.now)
    assert stage.opens().hears() == ["presence", "running", "idle"]


def test_a_step_right_behind_a_jump_goes_one_event_further() -> None:
    stage = Stage(steady())
    listener = stage.opens()
    stage.controls.pause(stage.now)
    stage.controls.jump(the_run(stage), 2.0, stage.now)
    steps(stage)
    assert listener.hears() == ["heartbeat", "a", "b", "c"]


def test_after_a_jump_a_stream_that_began_before_is_stepped_event_by_event() -> None:
    tape = steady()
    tape.stream("s", 9.0, (9.0, heartbeat()), (10.0, delta("x")), (11.0, delta("y")))
    stage = Stage(tape)
    first = stage.opens()
    stage.controls.jump(the_run(stage), 20.0, stage.now)
    first.hears()
    first.leaves()
    second = stage.opens()
    heard = []
    for _ in range(3):
        steps(stage)
        heard.append(second.hears())
    assert heard == [["heartbeat"], ["x"], ["y"]]


def test_a_step_is_one_that_nobody_has_although_somebody_is_behind() -> None:
    stage = Stage(steady())
    one, other = stage.opens(), stage.opens()
    steps(stage)
    one.hears()
    steps(stage)
    assert (one.hears(), other.hears()) == (["a"], ["heartbeat", "a"])


def test_a_session_can_be_paused_before_anything_of_it_was_played() -> None:
    stage = Stage(conversation(), "instant")
    stage.controls.pause(stage.now, "s")
    stage.asks("POST", "/v1/sessions", {})
    assert stage.opens().hears() == []


def test_a_session_that_is_run_until_an_event_may_be_made_meanwhile() -> None:
    stage = Stage(conversation(), "instant")
    target = stage.controls.run_until("session.presence", 1, stage.now, "s")
    stage.opens()
    stage.asks("POST", "/v1/sessions", {})
    assert stage.opens().hears() == ["heartbeat", "presence"]
    assert target.reached is the_run(stage)


def test_two_may_wait_for_different_events() -> None:
    stage = Stage(steady(), "instant")
    listener = stage.opens()
    far = stage.controls.run_until("response.output_text.delta", 3, stage.now)
    near = stage.controls.run_until("response.output_text.delta", 1, stage.now)
    assert listener.hears() == ["heartbeat", "a"]
    assert (near.is_over, far.is_over) == (True, False)
    stage.controls.play(stage.now)
    assert listener.hears() == ["b", "c"]
    assert far.is_over


def test_what_a_function_raises_is_kept_and_the_client_gets_its_stream() -> None:
    def fails(frame: TimedFrame) -> bool:
        return frame.seq > 2 and 1 / 0 > 1

    stage = Stage(steady(), "instant")
    listener = stage.opens()
    target = stage.controls.run_until(fails, 1, stage.now)
    assert listener.hears() == ["heartbeat", "a", "b"]
    assert isinstance(target.failed, ZeroDivisionError)
    stage.controls.play(stage.now)
    assert listener.hears() == ["c", "d", "e", "f"]


def test_a_compressed_stream_is_run_until_an_event_only_where_it_is_decoded() -> None:
    tape = Made()
    reads = [(1.0, heartbeat()), (2.0, delta("a")), (3.0, delta("b"))]
    tape.stream("s", 1.0, *zipped(reads), headers=(*SSE, ("content-encoding", "gzip")))
    with pytest.raises(UsageError, match=r"stream 1 is compressed.*--chunks frame"):
        Stage(tape).controls.run_until("response.*", 1, 0)
    stage = Stage(tape, "instant", chunks="frame")
    stage.controls.run_until("response.*", 1, 0)
    assert stage.opens().hears() == ["heartbeat", "a"]


@pytest.mark.parametrize("which", [None, "s"])
def test_who_listens_to_a_session_that_has_begun_again_is_held_and_let_go_like_others(which: str | None) -> None:
    stage = Stage(conversation(), no_gate=True)
    older = opened(stage)
    stage.at(0.1)
    assert older.hears() == ["heartbeat", "presence"]
    stage.asks("POST", "/v1/sessions", {})
    stage.controls.pause(stage.now, which)
    stage.at(60.0)
    assert older.hears() == []
    stage.controls.set_speed(2, stage.now, which)
    stage.controls.play(stage.now, which)
    assert older.next_in() == pytest.approx(0.7)
    stage.at(90.0)
    assert older.hears() == ["running", "created", "Hel", "lo", "completed", "idle"]
    older.leaves()
    assert stage.player.streams.older == []
