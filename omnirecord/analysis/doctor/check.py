"""What every check uses: the events of a stream, and the signs of something wrong.

A check reads each event of a stream once, and returns its signs when the stream is over. No event breaks a check,
whatever it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, NamedTuple, Protocol

from ...model import TimedFrame, Verdict
from ...omnigent import protocol
from ...omnigent.connect_snapshot import connect_snapshot_length
from ...text import clip, one_line
from ...wire.strict_json import payload_of
from .finding import MAX_SEQS, Sign

BEGINS, ENDS, HEARTBEATS = protocol.RESPONSE_BEGINS, protocol.ENDS, protocol.HEARTBEATS
WORKING = frozenset({"running", "launching", "waiting"})
SECOND = 1_000_000_000
_LONGEST_SNAPSHOT = 300
"""How many frames of a stream are looked at for the connect snapshot."""
_UNREADABLE = frozenset({"comment", "sentinel", "truncated", "malformed"})


class FrameRef(NamedTuple):
    """Where and when something was seen."""

    stream: int
    seq: int
    at_ns: int


class Event(NamedTuple):
    stream: int
    seq: int
    at_ns: int
    type: str | None
    verdict: Verdict
    number: int | None
    """Its `sequence_number`."""
    data: dict[str, Any]
    """Empty where there is none that can be read."""
    in_snapshot: bool
    """Whether it is of the connect snapshot: it tells how things are, not what happens."""
    frame: TimedFrame
    ref: FrameRef


Handler = Callable[[Event], None]
Handlers = Mapping[str, Handler]


class Check(Protocol):
    """Something that is looked for in one stream."""

    def signs(self) -> Iterable[Sign]:
        """What was found, once the stream is over."""
        ...


def events(frames: Iterable[TimedFrame]) -> Iterator[Event]:
    """The frames of one stream."""
    coming = iter(frames)
    head = list(islice(coming, _LONGEST_SNAPSHOT))
    snapshot_length = connect_snapshot_length(head)
    for n, frame in enumerate(chain(head, coming)):
        data = {} if frame.verdict in _UNREADABLE else payload_of(frame)
        data = data if isinstance(data, dict) else {}
        number = data.get("sequence_number")
        yield Event(
            frame.stream, frame.seq, frame.offset_ns, frame.type, frame.verdict,
            number if type(number) is int else None, data, n < snapshot_length, frame,
            FrameRef(frame.stream, frame.seq, frame.offset_ns),
        )  # fmt: skip


class Group:
    """Things of one kind in one stream, told as one finding: how many, and the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self.refs: list[FrameRef] = []
        self.until_ns = 0

    def add(self, event: Event) -> None:
        self.count += 1
        self.until_ns = max(self.until_ns, event.at_ns)
        if len(self.refs) < MAX_SEQS:
            self.refs.append(event.ref)

    def sign(self, code: str, message: str, **more: Any) -> Sign:
        first = self.refs[0]
        seqs = tuple(ref.seq for ref in self.refs if ref.stream == first.stream)
        return Sign(code, message, first.at_ns, self.until_ns, first.stream, seqs, **more)


def sign_at(code: str, message: str, refs: Iterable[FrameRef], **more: Any) -> Sign:
    """A finding that rests on these events; of several streams the first's are named."""
    known = list(refs)
    seqs = tuple(dict.fromkeys(ref.seq for ref in known if ref.stream == known[0].stream))
    times = [ref.at_ns for ref in known]
    since, until = more.pop("since_ns", min(times)), more.pop("until_ns", max(times))
    return Sign(code, message, since, until, known[0].stream, seqs, **more)


def said(text: str | None, limit: int = 60) -> str:
    """What somebody else wrote, in a sentence of ours: short, on one line, harmless."""
    return clip(one_line((text or "")[: 4 * limit]), limit)


def seconds(ns: int) -> str:
    """A length of time for a person."""
    value = ns / SECOND
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s" if value < 600 else f"{value / 60:.0f} min"


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
