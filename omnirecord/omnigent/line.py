"""The events of a session as one sequence: which copy of an event counts, and what a connect snapshot is. Pure.

    line = Line()
    line.listen(stream, end_ns)           # a stream begins, or its end becomes known
    for merged in line.add(frames): ...   # new frames of all streams, by time

Several clients may listen to a session at once, each on a stream of its own. These rules make one sequence:

1. Copies of an event are equal byte for byte, apart from the `id` field, which counts the events of one stream. The
   earliest copy counts.
2. The frames of a connect snapshot are marked: they tell a state, and nothing happened. While another stream is open,
   the snapshot is left out.
3. Text in flight, which a server sends again to a client that connects in the middle of a turn, is part of the
   snapshot.

A `Line` gives the same sequence for a complete recording and for one that is read bit by bit. The work is linear in the
number of frames. It remembers an event until each open stream has brought it.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby, repeat, takewhile
from operator import attrgetter
from typing import Any, NamedTuple

from ..model import Exchange, TimedFrame
from ..wire.strict_json import payload_of
from .protocol import RESENT, SESSION_HEARTBEAT, SNAPSHOT_TYPES

SUBSCRIBING = 50_000_000
"""Time between a subscription and the first frame of its stream, at most, in ns."""
COPIES_WITHIN = 60_000_000_000
"""Time between copies of an event, at most, in ns: older events are forgotten."""
SNAPSHOT_LASTS = 1_000_000_000
"""Duration of a connect snapshot at most, in ns. The longest that was seen took 0.1 s."""
_NEVER = 1 << 62
_new: Any = tuple.__new__
"""Makes a named tuple in half of the time."""
_STREAM = attrgetter("stream")
_AT_NS = attrgetter("offset_ns")
_ID_LINE = re.compile(rb"(?:\A|(?<=[\r\n]))id:[^\r\n]*(?:\r\n?|\n)")


class MergedFrame(NamedTuple):
    """A frame, and whether it belongs to a connect snapshot."""

    frame: TimedFrame
    in_snapshot: bool

    @property
    def at_ns(self) -> int:
        return self.frame.offset_ns


def copied(frame: TimedFrame) -> bytes | None:
    """Return what the copies of an event have in common: the frame without its `id` field; None if it was not kept."""
    raw = frame.raw
    return raw if raw is None or b"id:" not in raw else _ID_LINE.sub(b"", raw, count=1)


class _Stream:
    """One stream that has begun. `is_second`: whether another one was open at that time."""

    def __init__(self, brought: Counter[bytes], *, is_second: bool) -> None:
        self.brought = brought
        """How many of the remembered copies of an event it has brought, or cannot bring."""
        self.is_second = is_second
        self.snapshot: ConnectSnapshot | None = ConnectSnapshot()


class Line:
    """`dropped` is called with each frame that `add` leaves out, and with whether it belongs to a connect snapshot.
    `knows_all`: whether all streams are announced before the first frame."""

    def __init__(
        self,
        dropped: Callable[[TimedFrame, bool], object] = lambda _frame, _in_snapshot: None,
        *,
        knows_all: bool = False,
    ) -> None:
        self._dropped = dropped
        self._knows_all = knows_all
        self._is_alone = False
        """Whether no other stream is open or follows: no frame can be a copy."""
        self._ends: dict[int, int] = {}
        """When each stream ended, in ns; `_NEVER` for a stream that goes on."""
        self._streams: dict[int, _Stream] = {}
        self._open: dict[int, _Stream] = {}
        """The streams that have begun and may bring more."""
        self._first_end_ns = _NEVER
        """When the first of the open streams ends, in ns, or earlier."""
        self._recent: deque[TimedFrame] = deque()
        """The last events while one stream is open: a stream that begins may bring them, too."""
        self._told: deque[tuple[int, bytes]] = deque()
        """The events that an open stream may still bring: time and `copied`."""
        self._counts: Counter[bytes] = Counter()
        """How often `_told` has an event."""

    def listen(self, stream: int, end_ns: int | None = None) -> None:
        """Announce a stream, or its end in ns; None while it goes on."""
        self._ends[stream] = _NEVER if end_ns is None else end_ns
        self._first_end_ns = min(self._first_end_ns, self._ends[stream])

    def add(self, frames: Iterable[TimedFrame]) -> Iterator[MergedFrame]:
        """Yield the frames that are new events. `frames`: of all streams, by time."""
        streams = self._streams
        recent = self._recent
        coming = iter(frames)
        for frame in coming:
            at_ns = frame.offset_ns
            stream = streams.get(frame.stream) or self._begin(frame.stream, at_ns)
            if stream.snapshot is not None:
                if stream.snapshot.takes(frame):
                    if stream.is_second:
                        self._dropped(frame, True)
                    else:
                        yield _new(MergedFrame, (frame, True))
                    continue
                stream.snapshot = None
            if self._is_alone:
                yield _new(MergedFrame, (frame, False))
                yield from map(_new, repeat(MergedFrame), zip(coming, repeat(False)))
                return
            if (self._told or len(self._open) > 1) and self._is_copy(stream, frame):
                self._dropped(frame, False)
                continue
            if len(self._open) == 1:
                recent.append(frame)
                while recent[0].offset_ns < at_ns - SUBSCRIBING:
                    recent.popleft()
            yield _new(MergedFrame, (frame, False))

    def _begin(self, number: int, at_ns: int) -> _Stream:
        self._leave(at_ns)
        is_second = bool(self._open)
        for frame in self._recent:
            if frame.offset_ns >= at_ns - SUBSCRIBING and (event := copied(frame)) is not None:
                self._remember(frame.offset_ns, event, self._open.values())
        self._recent.clear()
        missed = Counter(event for then, event in self._told if then < at_ns - SUBSCRIBING)
        stream = self._streams[number] = self._open[number] = _Stream(missed, is_second=is_second)
        self._first_end_ns = min(self._first_end_ns, self._ends.get(number, _NEVER))
        follows = not self._knows_all or len(self._streams) < len(self._ends)
        self._is_alone = not (follows or is_second or self._told)
        return stream

    def _is_copy(self, stream: _Stream, frame: TimedFrame) -> bool:
        """Return whether another stream has brought this event. Remember it if another one may bring it later."""
        at_ns = frame.offset_ns
        event = copied(frame)
        if at_ns > self._first_end_ns:
            self._leave(at_ns)
        if self._told and self._told[0][0] < at_ns - SUBSCRIBING:
            self._forget(at_ns)
        if event is None:
            return False
        brought = stream.brought.get(event, 0)
        if brought < self._counts.get(event, 0):
            stream.brought[event] = brought + 1
            return True
        if len(self._open) > 1:
            self._remember(at_ns, event, [stream])
        return False

    def _remember(self, at_ns: int, event: bytes, brought_by: Iterable[_Stream]) -> None:
        self._told.append((at_ns, event))
        self._counts[event] = self._counts.get(event, 0) + 1
        for stream in brought_by:
            stream.brought[event] = stream.brought.get(event, 0) + 1

    def _forget(self, at_ns: int) -> None:
        """Forget the events that no stream can bring any more."""
        told = self._told
        streams = self._open.values()
        while told:
            then, event = told[0]
            is_settled = then < at_ns - SUBSCRIBING and all(event in stream.brought for stream in streams)
            if not is_settled and then >= at_ns - COPIES_WITHIN:
                return
            told.popleft()
            for counts in (self._counts, *(stream.brought for stream in streams)):
                left = counts.pop(event, 0) - 1
                if left > 0:
                    counts[event] = left

    def _leave(self, at_ns: int) -> None:
        """Close the streams that ended before that time."""
        self._open = {n: one for n, one in self._open.items() if self._ends.get(n, _NEVER) >= at_ns}
        self._first_end_ns = min((self._ends.get(number, _NEVER) for number in self._open), default=_NEVER)


def merged(frames: Iterable[TimedFrame], exchanges: Iterable[Exchange] = ()) -> list[MergedFrame]:
    """Return the frames of one session in one recording, each event once, by time. `exchanges`: those of its streams;
    the stream of another exchange ends with its last frame."""
    streams = by_stream(frames)
    line = Line(knows_all=True)
    for number, some in streams.items():
        line.listen(number, some[-1].offset_ns)
    for x in exchanges:
        if x.stream is not None:
            line.listen(x.stream, x.end_ns)
    return list(line.add(in_order(streams.values())))


def in_order(streams: Iterable[Iterable[TimedFrame]]) -> list[TimedFrame]:
    """Return the frames of all streams by time."""
    return sorted(chain.from_iterable(streams), key=_AT_NS)


def by_stream(frames: Iterable[TimedFrame]) -> dict[int, list[TimedFrame]]:
    streams: dict[int, list[TimedFrame]] = {}
    for stream, some in groupby(frames, key=_STREAM):
        streams.setdefault(stream, []).extend(some)
    return streams


class ConnectSnapshot:
    """The connect snapshot of one stream, found frame by frame. It ends before a second heartbeat, and before a late
    frame: the first events of a message may have the same types."""

    def __init__(self) -> None:
        self._begun_ns: int | None = None
        self._number = 0
        self._in_flight = 0  # the number of the frame after which text in flight may come: the heartbeat
        self._over = False

    def takes(self, frame: TimedFrame) -> bool:
        """Return whether the next frame belongs to it. After the first one that does not, none does."""
        if self._begun_ns is None:
            self._begun_ns = frame.offset_ns
        self._over = self._over or not self._is_part(frame, self._begun_ns)
        self._number += 1
        return not self._over

    def _is_part(self, frame: TimedFrame, begun_ns: int) -> bool:
        is_late = frame.offset_ns - begun_ns > SNAPSHOT_LASTS
        if is_late or (self._number and frame.type == SESSION_HEARTBEAT):
            return False
        if frame.type in SNAPSHOT_TYPES:
            return True
        if self._number != self._in_flight + 1 or frame.type not in RESENT or _is_numbered(frame):
            return False
        self._in_flight = self._number
        return True


def connect_snapshot_length(frames: Iterable[TimedFrame]) -> int:
    """Return the number of frames in the connect snapshot of a stream, which is the number of its last frame."""
    return sum(1 for _ in takewhile(ConnectSnapshot().takes, frames))


def _is_numbered(frame: TimedFrame) -> bool:
    value = payload_of(frame)
    return not isinstance(value, dict) or value.get("sequence_number") is not None
