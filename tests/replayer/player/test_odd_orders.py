"""Clients that do what no recorded client did, in any order: what holds whatever they do. Clock in hand.

The recorded server speaks all the time, each word named after its moment, to whoever listens; whoever connects is
told all words so far first. So a client has missed nothing, and heard nothing twice, if what it heard is the
beginning of all words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omnirecord.replayer.player import Answering
from tests.support.cassettes import Made, child, created, delta, heartbeat
from tests.support.examples import examples
from tests.support.stage import EVENTS, SESSION, Listener, Stage

OF_CHILD = "/v1/sessions/c/events"
WORD = re.compile(r"<(\d+)>")


@dataclass
class Plot:
    """A session as it was recorded. Times are in tenths of seconds, no two of them equal."""

    words: list[int]
    gates: list[int]
    streams: list[tuple[int, int]]
    child: tuple[int, int] | None

    def made(self) -> Made:
        tape = Made()
        tape.post("/v1/sessions", 0.0, until=0.01, status=201, answer={"id": "s"})
        for begin, end in self.streams:
            tape.stream("s", begin / 10, *self._stream(begin, end), end=end / 10)
        if self.child:
            begin, end = self.child
            frames = [(word / 10 + 0.05, delta(f"<{word}>")) for word in self.words if begin < word < end]
            tape.stream("c", begin / 10 + 0.05, (begin / 10 + 0.05, heartbeat()), *frames)
        for n, gate in enumerate(self.gates):
            to = OF_CHILD if self.child and n == 2 else EVENTS
            tape.post(to, gate / 10, until=(gate + 15) / 10, status=202)
        for at in range(5, 400, 50):
            tape.get(SESSION, at / 10 + 0.01, {"at": at})
        return tape

    def _stream(self, begin: int, end: int) -> Iterator[tuple[float, bytes]]:
        said = "".join(f"<{word}>" for word in self.words if word < begin)
        yield begin / 10, heartbeat() + (created() + delta(said, None) if said else b"")
        if self.child and begin < self.child[0] < end:
            yield self.child[0] / 10, child("c")
        yield from ((word / 10, delta(f"<{word}>")) for word in self.words if begin < word < end)


@st.composite
def plots(draw: st.DrawFn) -> Plot:
    moments = iter(draw(st.permutations(range(11, 120))))
    first = 10
    gates = sorted(next(moments) for _ in range(draw(st.integers(0, 3))))
    later = sorted(next(moments) for _ in range(draw(st.integers(0, 2))))
    begins = [first, *later]
    streams = [(begin, max(begin + 1, next(moments))) for begin in begins]
    born = next(moments)
    is_told = any(begin < born < end for begin, end in streams)
    of_child = (born, 120) if is_told and draw(st.booleans()) else None
    words = sorted(next(moments) for _ in range(draw(st.integers(0, 30))))
    return Plot(words, gates, streams, of_child)


ACTIONS = st.one_of(
    st.tuples(st.sampled_from(["opens", "opens child", "posts", "posts to child", "reads", "leaves"])),
    st.tuples(st.just("waits"), st.floats(0, 20)),
    st.tuples(st.just("hears"), st.integers(0, 5)),
)


@dataclass
class Crowd:
    """All clients of a replay, and what must hold of them."""

    plot: Plot
    stage: Stage
    posted: dict[str, int] = field(default_factory=dict)
    listeners: list[tuple[Listener, str]] = field(default_factory=list)
    heard: dict[Listener, str] = field(default_factory=dict)
    first: dict[str, Listener] = field(default_factory=dict)
    answers: list[Answering] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)

    def does(self, action: str, how: float = 0) -> None:
        match action:
            case "opens":
                self.opens("s")
            case "opens child" if self.plot.child:
                self.opens("c")
            case "posts":
                self.posts(EVENTS)
            case "posts to child":
                self.posts(OF_CHILD)
            case "reads":
                self.seen.append(self.stage.reads()["at"])
            case "leaves" if self.listeners:
                self.listeners.pop(0)[0].leaves()
            case "waits":
                self.stage.now += int(how * 1e9)
            case "hears":
                self.hear(int(how))

    def opens(self, session: str) -> None:
        listener = self.stage.opens(session)
        assert listener.playing.due(self.stage.now) == self.stage.now, "whoever connects is greeted at once"
        self.first.setdefault(session, listener)
        self.listeners.append((listener, session))

    def posts(self, target: str) -> None:
        if self.posted.get(target, 0) < len(self._gates(target)):
            self.posted[target] = self.posted.get(target, 0) + 1
            self.answers.append(self.stage.posts(target))

    def _gates(self, target: str) -> list[int]:
        to_child = self.plot.gates[2:] if self.plot.child else []
        return to_child if target == OF_CHILD else self.plot.gates[: len(self.plot.gates) - len(to_child)]

    def closed(self) -> list[int]:
        return [gate for target in (EVENTS, OF_CHILD) for gate in self._gates(target)[self.posted.get(target, 0) :]]

    def hear(self, number: int) -> None:
        if number >= len(self.listeners):
            return
        listener, session = self.listeners[number]
        words = "".join(gist for gist in listener.hears() if gist.startswith("<"))
        so_far = self.heard[listener] = self.heard.get(listener, "") + words
        for word in map(int, WORD.findall(words)):
            assert all(gate > word for gate in self.closed()), f"<{word}> came before a message that it followed"
        told = [word for word in self.plot.words if session == "s" or word > (self.plot.child or (0, 0))[0]]
        assert "".join(f"<{word}>" for word in told).startswith(so_far), f"missed or heard twice: {so_far}"

    def gets_through(self) -> None:
        """Once every message is posted and time has passed, nothing is waited for."""
        while self.closed():
            self.posts(EVENTS)
            self.posts(OF_CHILD)
        self.stage.now += 1_000 * 10**9
        for number in range(len(self.listeners)):
            self.hear(number)
        assert not any(listener.playing.has_more for listener, _ in self.listeners)
        assert all(answer.due(self.stage.now) == self.stage.now for answer in self.answers)


@pytest.mark.parametrize("mode", ["original", "compressed", "instant"])
@settings(
    max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(plot=plots(), actions=st.lists(ACTIONS, max_size=25))
def test_no_word_is_early_lost_or_heard_twice_and_nobody_waits_for_ever(
    mode: str, plot: Plot, actions: list[tuple[str] | tuple[str, float]]
) -> None:
    tape = plot.made()
    crowd = Crowd(plot, Stage(tape, mode))
    for action in actions:
        crowd.does(*action)
    stays = {session: (listener, session) in crowd.listeners for session, listener in crowd.first.items()}
    crowd.gets_through()
    for session, listener in crowd.first.items():
        if stays[session]:
            assert listener.body == tape.wire[1 if session == "s" else len(plot.streams) + 1]


@settings(max_examples=examples(100), deadline=None)
@given(plot=plots(), waits=st.lists(st.floats(0, 3), max_size=20))
def test_what_a_poll_knows_never_goes_back(plot: Plot, waits: list[float]) -> None:
    crowd = Crowd(plot, Stage(plot.made()))
    for wait in waits:
        crowd.does("posts")
        crowd.does("waits", wait)
        crowd.does("reads")
    assert crowd.seen == sorted(crowd.seen)
