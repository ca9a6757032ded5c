"""One run of frames out of all that a session's clients heard.

1. An event that several streams brought is told once. They are copies byte for byte, but for an `id` field, which
   counts the events of one stream: what a stream brought while
   another one was listening, and the other one has as well, is left out.
2. The connect snapshot is marked: it tells how things are, not what happens. While somebody else was listening it is
   left out.
3. The text in flight, which a server sends again to whoever connects in mid-turn, is part of that snapshot.

Linear in the number of frames, whatever their streams.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple

from ..cassette import TimedFrame
from ..greeting import greeting_length

SUBSCRIBING = 50_000_000
"""How long before its first frame came a stream may have begun to listen, in ns."""


class Heard(NamedTuple):
    """A frame, and whether it is of the connect snapshot."""

    frame: TimedFrame
    is_greeting: bool

    @property
    def at_ns(self) -> int:
        return self.frame.offset_ns


_ID_LINE = re.compile(rb"(?:\A|(?<=[\r\n]))id:[^\r\n]*(?:\r\n?|\n)")


def copied(frame: TimedFrame) -> bytes | None:
    """What copies of one event have in common; None for a frame that was not kept."""
    raw = frame.raw
    return raw if raw is None or b"id:" not in raw else _ID_LINE.sub(b"", raw, count=1)


def one_line(frames: Iterable[TimedFrame]) -> list[Heard]:
    """The frames of one session in one recording, each told once, in the order they came."""
    line: list[Heard] = []
    for stream in sorted(_streams(frames), key=lambda stream: stream[0].frame.offset_ns):
        _join(line, stream)
    return line


def _streams(frames: Iterable[TimedFrame]) -> Iterator[list[Heard]]:
    by_stream: dict[int, list[TimedFrame]] = {}
    for frame in frames:
        by_stream.setdefault(frame.stream, []).append(frame)
    for stream in by_stream.values():
        greeting = greeting_length(stream)
        yield [Heard(frame, number < greeting) for number, frame in enumerate(stream)]


def _join(line: list[Heard], stream: list[Heard]) -> None:
    """Add what only this stream brought."""
    begin = bisect_left(line, stream[0].at_ns - SUBSCRIBING, key=attrgetter("at_ns"))
    overlap = line[begin:]
    if not line or line[-1].at_ns < stream[0].at_ns:
        new = stream if not overlap else list(_not_in(overlap, stream))
        line += new
        return
    news = _not_in(overlap, [heard for heard in stream if not heard.is_greeting])
    line[begin:] = sorted([*overlap, *news], key=attrgetter("at_ns"))


def _not_in(others: list[Heard], stream: list[Heard]) -> Iterator[Heard]:
    copies = Counter(copied(heard.frame) for heard in others if not heard.is_greeting)
    for heard in stream:
        raw = copied(heard.frame)
        if heard.is_greeting or raw is None or not copies[raw]:
            yield heard
        else:
            copies[raw] -= 1
