"""What every check uses: the events of a stream, and the signs of something wrong.

A check reads each event of a stream once, and returns its signs when the stream is over. No event breaks a check,
whatever it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, NamedTuple, Protocol

from ...model import TimedFrame, Verdict
from ...omnigent.connect_snapshot import connect_snapshot_length
from ...text import clip, one_line
from ...wire.strict_json import payload_of
from .finding import MAX_SEQS, Sign

WORKING = frozenset({"running", "launching", "waiting"})
SECOND = 1_000_000_000
_LONGEST_SNAPSHOT = 300
"""Frames at the start of a stream among which the connect snapshot is."""
_UNREADABLE = frozenset({"comment", "sentinel", "truncated", "malformed"})


class FrameRef(NamedTuple):
    """A frame that a finding names, and its time in ns of its recording."""

    stream: int
    seq: int
    at_ns: int


class Event(NamedTuple):
    """A frame as the checks see it."""

    stream: int
    seq: int
    at_ns: int
    type: str | None
    verdict: Verdict
    number: int | None
    """Its `sequence_number`."""
    data: dict[str, Any]
    """Empty if the data is no JSON object."""
    in_snapshot: bool
    """Whether it belongs to the connect snapshot, which describes a state and no change."""
    frame: TimedFrame
    ref: FrameRef


Handler = Callable[[Event], None]
Handlers = Mapping[str, Handler]


class Check(Protocol):
    """A check of one stream."""

    def signs(self) -> Iterable[Sign]:
        """The signs, once the stream is over."""
        ...


def payload(frame: TimedFrame) -> dict[str, Any]:
    """The JSON object in a frame; empty if there is none."""
    data = None if frame.verdict in _UNREADABLE else payload_of(frame)
    return data if isinstance(data, dict) else {}


Payload = Callable[[TimedFrame], dict[str, Any]]
"""Returns what `payload` returns."""


def events(frames: Iterable[TimedFrame], payload: Payload = payload) -> Iterator[Event]:
    """The frames of one stream as events."""
    coming = iter(frames)
    head = list(islice(coming, _LONGEST_SNAPSHOT))
    snapshot_length = connect_snapshot_length(head)
    for n, frame in enumerate(chain(head, coming)):
        data = payload(frame)
        number = data.get("sequence_number")
        yield Event(
            frame.stream, frame.seq, frame.offset_ns, frame.type, frame.verdict,
            number if type(number) is int else None, data, n < snapshot_length, frame,
            FrameRef(frame.stream, frame.seq, frame.offset_ns),
        )  # fmt: skip


class Group:
    """Events of one kind in one stream that become one finding: their count, and the first `MAX_SEQS` of them."""

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
    """A sign that names these events; if they belong to several streams, only those of the first."""
    known = list(refs)
    seqs = tuple(dict.fromkeys(ref.seq for ref in known if ref.stream == known[0].stream))
    times = [ref.at_ns for ref in known]
    since, until = more.pop("since_ns", min(times)), more.pop("until_ns", max(times))
    return Sign(code, message, since, until, known[0].stream, seqs, **more)


def said(text: str | None, limit: int = 60) -> str:
    """A recorded text for use in a message: clipped, on one line, without control characters."""
    return clip(one_line((text or "")[: 4 * limit]), limit)


def seconds(ns: int) -> str:
    """A duration in ns as text with a unit."""
    value = ns / SECOND
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s" if value < 600 else f"{value / 60:.0f} min"
