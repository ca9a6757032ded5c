"""Links while calls and turns are recorded: those of the complete recording, with work for the news alone."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from omnirecord.analysis.follow.sessions import CALLS, GrowingLinks
from omnirecord.analysis.model_calls import linked
from omnirecord.analysis.model_calls.values import Link
from omnirecord.analysis.turns.values import Session
from omnirecord.providers.call import ModelCall
from tests.support.both_hops import World, ns


def parallel(turns: int, sessions: int = 3) -> World:
    """Sessions that ask the same at nearly the same time; each other turn has a tool, each fifth a refused attempt."""
    world = World()
    ends = [0.0] * sessions
    talks = [world.session() for _ in range(sessions)]
    for turn in range(turns):
        for number, talk in enumerate(talks):
            tool = f"call_{number}x{turn}" if turn % 2 else None
            begin = max(ends) + 1 if number == 0 else ends[0] - 0.2 + number / 20
            ends[number] = talk.turn("Go on", f"And so on {turn}.", begin, tool=tool, refusals=int(turn % 5 == 4))
        ends = [max(ends)] * sessions
    return world


def until(session: Session, end_ns: int) -> Session:
    """The session as it was at that time: its last turn may be open."""
    turns = tuple(turn for turn in session.turns if turn.begin_ns <= end_ns)
    turns = tuple(
        turn if turn.ended_ns is not None and turn.ended_ns <= end_ns else replace(turn, ended_ns=None)
        for turn in turns
    )
    return replace(session, turns=turns, until_ns=end_ns, ended_ns=None)


def grown(world: World) -> tuple[GrowingLinks, dict[int, Link]]:
    """The links after one update for each call."""
    growing, found = GrowingLinks(), dict[int, Link]()
    for call in sorted(world.calls, key=lambda one: one.ended_ns or 0):
        sessions = [until(one, call.ended_ns or 0) for one in world.sessions()]
        result = growing.update([call], [one for one in sessions if one.turns], world.recordings())
        found = {link.call.exchange: link for link in result.links}
    return growing, found


@pytest.mark.parametrize("sessions", [1, 3])
def test_the_links_are_those_of_the_complete_recording(sessions: int) -> None:
    world = parallel(2 * CALLS, sessions)
    _, found = grown(world)
    whole = linked(world.calls, world.sessions(), world.recordings())
    assert found.keys() == {link.call.exchange for link in whole.links}
    assert {number: link.turn for number, link in found.items() if link.turn is not None} == {
        number: turn for number, turn in world.truth.items() if found[number].turn is not None
    }, "no link is wrong"
    sure = [link for link in whole.links if link.turn is not None]
    assert sum(link.turn is not None for link in found.values()) >= len(sure) * 0.9
    assert all(link.turn is not None or link.candidates for link in found.values())
    assert [found[one.call.exchange].attempt for one in sure if found[one.call.exchange].turn] == [
        one.attempt for one in sure if found[one.call.exchange].turn
    ]


def test_the_attempts_of_a_request_keep_its_number() -> None:
    world = World()
    world.session().turn("Hi", "Hello.", 1.0, refusals=2)
    _, found = grown(world)
    assert {link.request for link in found.values()} == {1}
    assert [link.attempt for link in found.values()] == [1, 2, 3]


def test_an_open_call_gets_its_turn_and_later_its_answer() -> None:
    world = World()
    world.session().turn("Hi", "Hello.", 1.0)
    (call,), (session,) = world.calls, world.sessions()
    asked = replace(call, ending="open", ended_ns=None, texts=(), deltas=(), usage=None)
    growing = GrowingLinks()
    started = until(session, ns(1.05))
    started = replace(started, turns=(replace(started.turns[0], messages=(), text=""),))
    (before,) = growing.update([asked], [started], world.recordings()).links
    (after,) = growing.update([call], [session], world.recordings()).links
    assert (before.call.ending, before.turn) == ("open", world.truth[1])
    assert (after.call.ending, after.turn) == ("completed", world.truth[1])


def work(earlier: int) -> int:
    """Calls of Python functions for one more model call after so many turns."""
    world = World()
    talk = world.session()
    end = 0.0
    for number in range(earlier + 1):
        talk.history = talk.history[-6:]
        end = talk.turn(f"Question {number}", f"Answer {number}.", end + 1.0, tool=f"call_{number}x")
    growing, (session,), recordings, count = GrowingLinks(), world.sessions(), world.recordings(), 0
    *before, last = world.calls
    growing.update(before, [session], recordings)
    growing.update([], [session], recordings)

    def counted(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(counted)
    try:
        found = growing.update(list[ModelCall]([last]), [session], recordings)
    finally:
        sys.setprofile(None)
    assert found.links[-1].turn == world.truth[last.exchange]
    return count


def test_one_more_call_is_little_work_after_many() -> None:
    assert work(800) - work(200) < 1200 * 6, "a few function calls for each earlier model call, to sort them"
