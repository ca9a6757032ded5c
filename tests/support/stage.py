"""A player on a stage: the test is its clients and its clock. Nothing sleeps, nothing has a socket.

`stage.at(2.5)` sets the clock to 2.5 s, `listener.hears()` is what may be sent by then and was not before, told in
short: the text of a delta, a status, else the last word of the type.
"""

from __future__ import annotations

import json
from typing import Any

from omnirecord.options import ReplayOptions
from omnirecord.replayer.player import Answering, Decision, Incoming, Miss, Options, Player, Playing
from omnirecord.replayer.player.plan import ReplayPlan
from omnirecord.wire.sse import Parser
from tests.support.cassettes import Made, as_bytes, ns

EVENTS = "/v1/sessions/s/events"
SESSION = "/v1/sessions/s"


class Listener:
    """A client with an open stream."""

    def __init__(self, stage: Stage, playing: Playing) -> None:
        self._stage, self.playing = stage, playing
        self.body = b""

    def hears(self) -> list[str]:
        heard = b""
        while self.playing.has_more:
            burst = self.playing.burst(self._stage.now)
            if burst is None:
                due = self.playing.due(self._stage.now)
                if due is None or due > self._stage.now:
                    break
                burst = self.playing.take(self._stage.now)
            heard += burst
        self.body += heard
        return gists(heard)

    def waits(self) -> bool:
        """Whether a gate holds what is next."""
        return self.playing.due(self._stage.now) is None

    def next_in(self) -> float:
        """In how many seconds the next thing may be sent."""
        due = self.playing.due(self._stage.now)
        assert due is not None
        return (due - self._stage.now) / 1e9

    def leaves(self) -> None:
        self._stage.player.closed(self.playing)


class Stage:
    """A cassette being played. Methods are named after what a client does. Its clients send no bodies, so bodies do not
    count by default; with `match_on=None`, they count as in a replay."""

    def __init__(self, tape: Made, timing: str = "original", **chosen: Any) -> None:
        self.tape = tape
        how = Options(ReplayOptions("", timing=timing, **{"match_on": (), **chosen}))
        self.plan = ReplayPlan(tape.store(), how.gates, how.only)
        self.player = Player(self.plan, how)
        self.controls = self.player.controls
        self.now = 0

    def at(self, seconds: float) -> None:
        self.now = ns(seconds)

    def asks(self, method: str, target: str, body: Any = b"", **more: Any) -> Decision:
        return self.player.answer(Incoming(method, target, body=as_bytes(body) if body else b"", **more), self.now)

    def posts(self, target: str = EVENTS, body: Any = b"", **more: Any) -> Answering:
        answer = self.asks("POST", target, body, **more)
        assert isinstance(answer, Answering), answer
        return answer

    def reads(self, target: str = SESSION, **more: Any) -> Any:
        """The answer's JSON, or its status where it has none."""
        answer = self.asks("GET", target, **more)
        assert isinstance(answer, Answering), answer
        assert answer.exchange.response is not None
        return json.loads(answer.body) if answer.body else answer.exchange.response.status

    def misses(self, method: str, target: str, **more: Any) -> Miss:
        miss = self.asks(method, target, **more)
        assert isinstance(miss, Miss), miss
        return miss

    def opens(self, session: str = "s", **more: Any) -> Listener:
        target = session if session.startswith("/") else f"/v1/sessions/{session}/stream"
        playing = self.asks(more.pop("method", "GET"), target, **more)
        assert isinstance(playing, Playing), playing
        return Listener(self, playing)


def gists(body: bytes) -> list[str]:
    parser = Parser()
    return [_gist(frame.data) for frame in (*parser.feed(body), *parser.close())]


def _gist(data: str | None) -> str:
    try:
        value = json.loads(data or "null")
    except ValueError:
        return data or ""
    if not isinstance(value, dict):
        return str(value)
    return str(value.get("delta") or value.get("status") or value["type"].rpartition(".")[2])
