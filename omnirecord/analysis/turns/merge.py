"""One run of frames out of all that a session's clients heard.

1. An event that several streams brought is told once. They are copies byte for byte, but for an `id` field, which
   counts the events of one stream: what a stream brought while
   another one was listening, and the other one has as well, is left out.
2. The connect snapshot is marked: it tells how things are, not what happens. While somebody else was listening it is
   left out.
3. The text in flight, which a server sends again to whoever connects in mid-turn, is part of that snapshot.

Linear in the number of frames, whatever their streams.

Frames of one session told once, as they come: of several streams, the one that was there first is listened to.

`line` does the same for streams that are known to their ends, and knows better what each of them missed. Here, when the
stream that is listened to ends, the next one takes over, behind what has been told.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple

from ...model import TimedFrame
from ...omnigent.connect_snapshot import ConnectSnapshot, connect_snapshot_length

SUBSCRIBING = 50_000_000
"""How long before its first frame came a stream may have begun to listen, in ns."""


class MergedFrame(NamedTuple):
    """A frame, and whether it is of the connect snapshot."""

    frame: TimedFrame
    in_snapshot: bool

    @property
    def at_ns(self) -> int:
        return self.frame.offset_ns


_ID_LINE = re.compile(rb"(?:\A|(?<=[\r\n]))id:[^\r\n]*(?:\r\n?|\n)")


def copied(frame: TimedFrame) -> bytes | None:
    """What copies of one event have in common; None for a frame that was not kept."""
    raw = frame.raw
    return raw if raw is None or b"id:" not in raw else _ID_LINE.sub(b"", raw, count=1)


def merged(frames: Iterable[TimedFrame]) -> list[MergedFrame]:
    """The frames of one session in one recording, each told once, in the order they came."""
    line = _Merge()
    for stream in sorted(_streams(frames), key=lambda stream: stream[0].frame.offset_ns):
        line.join(stream)
    return line.heard()


def _streams(frames: Iterable[TimedFrame]) -> Iterator[list[MergedFrame]]:
    by_stream: dict[int, list[TimedFrame]] = {}
    for frame in frames:
        by_stream.setdefault(frame.stream, []).append(frame)
    for stream in by_stream.values():
        length = connect_snapshot_length(stream)
        yield [MergedFrame(frame, number < length) for number, frame in enumerate(stream)]


class _Merge:
    """What the streams brought so far, each of them added in the order in which they began."""

    def __init__(self) -> None:
        self._heard: list[MergedFrame] = []
        self._last_ns = -(1 << 63)
        self._times: dict[bytes, list[int]] = {}  # of what has been told, by what its copies have in common
        self._unlisted: list[MergedFrame] = []
        """The frames that are not in `_times` yet. Only a further stream needs them there."""

    def join(self, stream: list[MergedFrame]) -> None:
        """Add what only this stream brought."""
        begin = stream[0].at_ns
        if self._last_ns >= begin:  # somebody else was listening
            stream = [heard for heard in stream if not heard.in_snapshot]
        new = list(self._not_in_since(begin - SUBSCRIBING, stream)) if self._heard else stream
        self._heard += new
        self._unlisted += new
        self._last_ns = max([self._last_ns, *(heard.at_ns for heard in new)])

    def heard(self) -> list[MergedFrame]:
        return sorted(self._heard, key=attrgetter("at_ns"))

    def _not_in_since(self, since_ns: int, stream: list[MergedFrame]) -> Iterator[MergedFrame]:
        """Those of which the others brought no copy from then on, as often as they did."""
        self._list()
        copies: Counter[bytes] = Counter()
        for heard in stream:
            raw = None if heard.in_snapshot else copied(heard.frame)
            times = self._times.get(raw, ()) if raw is not None else ()
            if raw is None or copies[raw] >= len(times) - bisect_left(times, since_ns):
                yield heard
            else:
                copies[raw] += 1

    def _list(self) -> None:
        for heard in self._unlisted:
            raw = None if heard.in_snapshot else copied(heard.frame)
            if raw is not None:
                insort(self._times.setdefault(raw, []), heard.at_ns)
        self._unlisted = []


class LiveMerge:
    """`hear` what a stream brought; `end` it."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[MergedFrame]] = {}  # by stream, in the order in which they began
        self._snapshots: dict[int, ConnectSnapshot] = {}
        self._told: deque[MergedFrame] = deque()  # of the last moments before `_told_ns`
        self._told_ns = -1
        self._seam_ns = -1
        """Up to when another stream was listened to than now."""
        self._copies: Counter[bytes | None] = Counter()
        """What was told just before that: the stream that took over may bring it again."""

    def add(self, stream: int, frames: Iterable[TimedFrame]) -> Iterator[MergedFrame]:
        """The frames that are news, of those that came on a stream."""
        snapshot = self._snapshots.setdefault(stream, ConnectSnapshot())
        heard = (MergedFrame(frame, snapshot.takes(frame)) for frame in frames)
        waiting = self._waiting.setdefault(stream, deque())
        if stream == next(iter(self._waiting)):
            yield from self._tell(heard)
        else:
            waiting.extend(one for one in heard if not one.in_snapshot)

    def end(self, stream: int) -> Iterator[MergedFrame]:
        """Nothing follows on that stream: what is news of the one that takes over."""
        was_first = stream in self._waiting and stream == next(iter(self._waiting))
        self._waiting.pop(stream, None)
        self._snapshots.pop(stream, None)
        if was_first:
            self._seam_ns, self._copies = self._told_ns, Counter(heard.frame.raw for heard in self._told)
            following = next(iter(self._waiting.values()), deque())
            yield from self._tell(list(following))
            following.clear()

    def _tell(self, heard: Iterable[MergedFrame]) -> Iterator[MergedFrame]:
        for one in heard:
            if self._is_news(one):
                self._told_ns = max(self._told_ns, one.at_ns)
                self._told.append(one)
                while self._told[0].at_ns < self._told_ns - 2 * SUBSCRIBING:
                    self._told.popleft()
                yield one

    def _is_news(self, heard: MergedFrame) -> bool:
        if heard.at_ns < self._seam_ns - SUBSCRIBING:
            return False
        if heard.at_ns <= self._seam_ns + SUBSCRIBING and self._copies[heard.frame.raw] > 0:
            self._copies[heard.frame.raw] -= 1
            return False
        return True
