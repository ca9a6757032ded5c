"""Compares the result of a client with its result without faults, in the words of `docs/client-behaviour.md`."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

import httpx

Event = tuple[str, str]
"""Type and content, as JSON."""
DELTA = "response.output_text.delta"
KNOWN = {
    "RemoteProtocolError": "peer closed connection without sending complete message body (incomplete chunked read)",
    "ReadError": "",
    "ReadTimeout": "",
}
"""By exception of httpx, its text."""


@dataclass
class Turn:
    """The result of a call: `events` or a `text`; neither if it raised `error`."""

    events: list[Event] = field(default_factory=list)
    text: str | None = None
    error: Exception | None = None
    rested: bool = False
    """Whether it saw the status that it waited for, and stopped."""
    asides: list[str] = field(default_factory=list)
    """Exceptions of requests other than the stream."""
    again: Turn | None = None
    """The result of a second connection."""


def told(turn: Turn, whole: Turn) -> str:
    """A sentence about `turn`. `whole`: the same turn without faults."""
    if turn.again is not None:
        return came_back(turn, spoken(whole.events))
    if turn.text is not None:
        return answered(turn.text, whole.text or "")
    if whole.text is not None:
        return ending(turn.error)
    end = "" if turn.rested else f", then {ending(turn.error)}"
    return "; ".join([heard(turn.events, whole.events) + end, *turn.asides])


def ending(error: Exception | None) -> str:
    """How a call or an iteration ended."""
    if error is None:
        return "ends"
    if isinstance(error, httpx.HTTPError):
        return _of_httpx(error)
    status = getattr(error, "status_code", None)
    what = f"({status})" if status else f"with the text {json.dumps(str(error)[:40])}"
    return f"raises `{type(error).__name__}` {what}"


def _of_httpx(error: httpx.HTTPError) -> str:
    name, path = type(error).__name__, error.request.url.path
    assert str(error) == KNOWN[name]
    if isinstance(error, httpx.ReadTimeout):
        return "waits" if path.endswith("/stream") else f"waits 30 s and raises `httpx.{name}`"
    return f"raises `httpx.{name}`"


def heard(events: list[Event], whole: list[Event]) -> str:
    """Which events of the turn without faults came."""
    if not events:
        return "no event"
    if events == whole[: len(events)]:
        return "all events" if len(events) == len(whole) else f"all up to {_which(events[-1], whole)}"
    lost, more = Counter(whole) - Counter(events), Counter(events) - Counter(whole)
    if not lost and not more:
        return "all, in another order"
    if not more:
        return f"all but {_listed(lost, whole)}"
    return f"all, {_listed(lost, whole)} changed" if lost else f"all, {_listed(more, whole)} twice"


def _listed(events: Counter[Event], whole: list[Event]) -> str:
    """Each type with its number of events; of a single event, its place among those of its type."""
    types = Counter(type_ for type_, _ in events.elements())
    alone = {event[0]: _which(event, whole) for event in events}
    return " and ".join(alone[type_] if n == 1 else f"{n} `{type_}`" for type_, n in types.items())


def _which(event: Event, whole: list[Event]) -> str:
    """Its type, with a number if events of this type differ."""
    alike = [one for one in whole if one[0] == event[0]]
    return f"`{event[0]}`" + (f" no. {alike.index(event) + 1}" if len(set(alike)) > 1 else "")


def answered(text: str, whole: str) -> str:
    """How a text differs from the whole text."""
    if not text:
        return "an empty text"
    if text == whole:
        return "the answer"
    if whole.startswith(text):
        return f"the first {len(text)} of {len(whole)} characters"
    if sorted(text.split()) == sorted(whole.split()):
        return "the answer with its words in another order"
    gone, come = _difference(text, whole)
    return f"the answer with {json.dumps(come)} twice" if not gone else f"the answer without {json.dumps(gone)}"


def _difference(text: str, whole: str) -> tuple[str, str]:
    """The parts of both texts between their common prefix and their common suffix."""
    tail = _shared(text[::-1], whole[::-1])
    text, whole = text[: len(text) - tail], whole[: len(whole) - tail]
    head = _shared(text, whole)
    return whole[head:], text[head:]


def _shared(one: str, other: str) -> int:
    """Length of the common prefix."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def spoken(events: list[Event]) -> str:
    return "".join(_deltas(events))


def _deltas(events: list[Event]) -> list[str]:
    return [json.loads(data)["delta"] for type_, data in events if type_ == DELTA]


def came_back(turn: Turn, whole: str) -> str:
    """The deltas of the second stream, and the length of all deltas concatenated."""
    assert turn.again is not None
    brought, both = _deltas(turn.again.events), spoken(turn.events + turn.again.events)
    end = "" if turn.again.rested else f", then {ending(turn.again.error)}"
    if not brought:
        return f"no text{end}"
    assert "".join(brought) == whole
    return f"one delta of {len(brought[0])} characters, then the rest{end}; {len(both)} in all"
