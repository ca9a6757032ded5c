"""What a client got, told beside what it gets without faults, in the words of `docs/client-behaviour.md`."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

import httpx

Event = tuple[str, str]
"""Its type and all that it says, as JSON."""
DELTA = "response.output_text.delta"
KNOWN = {
    "RemoteProtocolError": "peer closed connection without sending complete message body (incomplete chunked read)",
    "ReadError": "",
    "ReadTimeout": "",
}
"""By exception of httpx, its text."""


@dataclass
class Turn:
    """What a caller got: `events`, or a `text`, or both missing where it raised `error`."""

    events: list[Event] = field(default_factory=list)
    text: str | None = None
    error: Exception | None = None
    rested: bool = False
    """It saw the status that it was waiting for, and left."""
    asides: list[str] = field(default_factory=list)
    """What was raised by requests beside the stream."""
    again: Turn | None = None
    """What it got when it opened the stream once more."""


def told(turn: Turn, whole: Turn) -> str:
    """In words. `whole`: the same turn without faults."""
    if turn.again is not None:
        return came_back(turn, spoken(whole.events))
    if turn.text is not None:
        return f"returns {answered(turn.text, whole.text or '')}"
    if whole.text is not None:
        return ending(turn.error)
    end = "" if turn.rested else f", then {ending(turn.error)}"
    return "; ".join([heard(turn.events, whole.events) + end, *turn.asides])


def ending(error: Exception | None) -> str:
    """How a call or an iteration ended."""
    if error is None:
        return "ends without an error"
    if isinstance(error, httpx.HTTPError):
        return _of_httpx(error)
    status = getattr(error, "status_code", None)
    what = f"({status})" if status else f"with the text {json.dumps(str(error)[:40])}"
    return f"raises `{type(error).__name__}` {what}"


def _of_httpx(error: httpx.HTTPError) -> str:
    name, path = type(error).__name__, error.request.url.path
    assert str(error) == KNOWN[name]
    if isinstance(error, httpx.ReadTimeout):
        is_stream = path.endswith(("/stream", "/v1/responses"))
        return "waits" if is_stream else f"waits 30 s and raises `httpx.{name}`"
    return f"raises `httpx.{name}`"


def heard(events: list[Event], whole: list[Event]) -> str:
    """Which of the events that come without faults came."""
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
    """Each type with how many they are; of one alone which of its type it is."""
    types = Counter(type_ for type_, _ in events.elements())
    alone = {event[0]: _which(event, whole) for event in events}
    return " and ".join(alone[type_] if n == 1 else f"{n} `{type_}`" for type_, n in types.items())


def _which(event: Event, whole: list[Event]) -> str:
    """With its number, where there are others of its type that say something else."""
    alike = [one for one in whole if one[0] == event[0]]
    return f"`{event[0]}`" + (f" no. {alike.index(event) + 1}" if len(set(alike)) > 1 else "")


def answered(text: str, whole: str) -> str:
    """A text beside the whole one."""
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
    """What is between the head and the tail that they share."""
    tail = _shared(text[::-1], whole[::-1])
    text, whole = text[: len(text) - tail], whole[: len(whole) - tail]
    head = _shared(text, whole)
    return whole[head:], text[head:]


def _shared(one: str, other: str) -> int:
    """The length of the head that they share."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def spoken(events: list[Event]) -> str:
    return "".join(_deltas(events))


def _deltas(events: list[Event]) -> list[str]:
    return [json.loads(data)["delta"] for type_, data in events if type_ == DELTA]


def came_back(turn: Turn, whole: str) -> str:
    """What the second stream brought, and what comes of it where one puts all deltas behind each other."""
    assert turn.again is not None
    brought, both = _deltas(turn.again.events), spoken(turn.events + turn.again.events)
    end = "" if turn.again.rested else f", then {ending(turn.again.error)}"
    if not brought:
        return f"no text{end}"
    assert "".join(brought) == whole
    twice = f"deltas put behind each other: {len(both)} characters for {len(whole)}"
    return f"one delta with the first {len(brought[0])} characters, then what follows{end}; {twice}"
