"""What goes out in bursts is what goes out part by part: the same bytes, held by the same gates, the playhead in the
same place; and whoever presses a button, or waits for an event, has it part by part."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.replayer.player import Playing
from tests.support.cassettes import Made, delta, heartbeat, presence, status
from tests.support.examples import examples
from tests.support.recorded import calls
from tests.support.stage import EVENTS, Listener, Stage

LONG = "x" * 60_000
"""A few of these are a burst."""


def long_talk(turns: int = 3, deltas: int = 12) -> Made:
    """Every turn is more than two bursts, and ends in the middle of one."""
    tape, at = Made(), 1.0
    reads: list[tuple[float, bytes]] = [(1.0, heartbeat()), (1.1, presence())]
    for turn in range(turns):
        at += 1
        tape.post(EVENTS, at, status=202)
        for n in range(deltas):
            at += 0.1
            whole = delta(f"{turn}.{n} {LONG}")
            reads += [(at, whole[:20_000]), (at + 0.05, whole[20_000:])] if n % 3 else [(at, whole)]
        at += 0.1
        reads.append((at, status("idle")))
    tape.stream("s", 1.0, *reads, ending="eof", end=at + 1)
    return tape


class PartByPart(Listener):
    """A client that gets every part by itself."""

    def __init__(self, stage: Stage, playing: Playing) -> None:
        super().__init__(stage, playing)
        playing._bursts = {}


TAPE = long_talk()
ACTIONS = st.lists(
    st.sampled_from(["hears", "hears", "posts", "posts", "pauses", "plays", "steps", "runs", "jumps", "joins"]),
    max_size=14,
)


def act(stage: Stage, listeners: list[Listener], action: str, kind: type[Listener]) -> Any:
    run = stage.controls.streams.all()[0]
    if action == "hears":
        return [listener.hears() for listener in listeners]
    if action == "posts":
        stage.asks("POST", EVENTS)
    elif action == "pauses":
        stage.controls.pause(stage.now)
    elif action == "plays":
        stage.controls.play(stage.now)
    elif action == "steps":
        stage.controls.step(run, stage.now)
    elif action == "runs":
        stage.controls.run_until("response.output_text.delta", 5, stage.now)
    elif action == "jumps" and run.timeline.last is not None:
        stage.controls.jump(run, stage.controls.position().at_s + 0.5, stage.now)
    elif action == "joins" and len(listeners) < 3:
        listeners.append(kind(stage, stage.opens().playing))
    return None


def story(actions: list[str], kind: type[Listener]) -> list[Any]:
    """Everything that can be seen of a playing, after each action."""
    stage = Stage(TAPE, "instant")
    listeners = [kind(stage, stage.opens().playing)]
    told = []
    for n, action in enumerate([*actions, "plays", "hears", "posts", "posts", "posts", "hears"]):
        stage.at(n)
        told.append((action, act(stage, listeners, action, kind), stage.controls.position()))
        told.append([(one.playing.next_ns(), one.playing.takes_a_frame, one.body) for one in listeners])
    return told


@settings(max_examples=examples(40))
@given(ACTIONS)
def test_pieces_tell_the_same_story_whatever_is_done_meanwhile(actions: list[str]) -> None:
    assert story(actions, Listener) == story(actions, PartByPart)


def test_a_gate_in_the_middle_of_a_piece_holds_what_came_behind_it() -> None:
    stage = Stage(TAPE, "instant")
    listener = stage.opens()
    assert listener.hears() == ["heartbeat", "presence"]
    stage.posts()
    assert [text.split()[0] for text in listener.hears()] == [*(f"0.{n}" for n in range(12)), "idle"]
    assert listener.waits()


def test_a_long_stream_is_as_much_work_as_it_has_pieces_and_not_as_it_has_events() -> None:
    def work(events: int) -> int:
        tape = Made()
        tape.stream("s", 1.0, *((1.0 + n / 1000, delta("word")) for n in range(events)), ending="eof", end=99.0)
        stage = Stage(tape, "instant")
        playing = stage.opens().playing
        bursts: list[bytes] = []

        def play() -> None:
            while (burst := playing.burst(stage.now)) is not None:
                bursts.append(burst)

        made = calls(play)
        assert not playing.has_more
        assert sum(map(len, bursts)) == events * len(delta("word"))
        return made

    assert work(4000) < 400  # 0.1 an event; 30 were made
    assert work(8000) < 2.5 * work(4000)


def test_to_whom_a_stream_is_played_costs_nothing_of_its_own() -> None:
    tape = Made()
    tape.stream("/v1/talk", 1.0, *((1.0 + n / 1000, delta("word")) for n in range(3000)), ending="eof", end=99.0)
    stage = Stage(tape, "instant")
    first = stage.asks("GET", "/v1/talk")
    assert isinstance(first, Playing)
    more: list[Any] = []
    assert calls(lambda: more.append(stage.asks("GET", "/v1/talk"))) < 1500, "nothing is read or laid down again"
    assert more[0].parts is first.parts
