"""One sequence of frames out of all streams of a session, each event once.

1. Copies of an event are equal byte for byte, apart from the `id` field, which counts the events of one stream. An
   event that came on several streams at once is kept once.
2. Frames of a connect snapshot are marked: they tell a state, and nothing happened. While another stream is open, the
   snapshot is left out.
3. Text in flight, which a server sends again to a client that connects in the middle of a turn, is part of the
   snapshot.

`merged` does this for complete streams, `LiveMerge` during the recording: it follows the oldest open stream, and when
that ends, the next one. Both are linear in the number of frames.
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
"""Time between a subscription and the first frame of its stream, at most, in ns."""


class MergedFrame(NamedTuple):
    """A frame, and whether it belongs to a connect snapshot."""

    frame: TimedFrame
    in_snapshot: bool

    @property
    def at_ns(self) -> int:
        return self.frame.offset_ns


_ID_LINE = re.compile(rb"(?:\A|(?<=[\r\n]))id:[^\r\n]*(?:\r\n?|\n)")


def copied(frame: TimedFrame) -> bytes | None:
    """Return what the copies of an event have in common: the frame without its `id` field; None if it was not kept."""
    raw = frame.raw
    return raw if raw is None or b"id:" not in raw else _ID_LINE.sub(b"", raw, count=1)


def merged(frames: Iterable[TimedFrame]) -> list[MergedFrame]:
    """Return the frames of one session in one recording, each event once, by time."""
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
    """The frames of the streams so far. Streams are added in the order in which they began."""

    def __init__(self) -> None:
        self._heard: list[MergedFrame] = []
        self._last_ns = -(1 << 63)
        self._times: dict[bytes, list[int]] = {}  # of the events so far, by `copied`
        self._unlisted: list[MergedFrame] = []
        """The frames that are not in `_times` yet. Only a further stream needs them there."""

    def join(self, stream: list[MergedFrame]) -> None:
        """Add the frames that only this stream has."""
        begin = stream[0].at_ns
        if self._last_ns >= begin:  # another stream is open
            stream = [heard for heard in stream if not heard.in_snapshot]
        new = list(self._not_in_since(begin - SUBSCRIBING, stream)) if self._heard else stream
        self._heard += new
        self._unlisted += new
        self._last_ns = max([self._last_ns, *(heard.at_ns for heard in new)])

    def heard(self) -> list[MergedFrame]:
        return sorted(self._heard, key=attrgetter("at_ns"))

    def _not_in_since(self, since_ns: int, stream: list[MergedFrame]) -> Iterator[MergedFrame]:
        """Return the frames without a copy on the other streams from that time on; each copy counts once."""
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
    """The same during the recording: `add` takes the new frames of a stream, `end` its end."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[MergedFrame]] = {}  # by stream, in the order of their beginnings
        self._snapshots: dict[int, ConnectSnapshot] = {}
        self._told: deque[MergedFrame] = deque()  # the events shortly before `_told_ns`
        self._told_ns = -1
        self._seam_ns = -1
        """The time of the last event of the stream before."""
        self._copies: Counter[bytes | None] = Counter()
        """The events just before that time: the next stream may bring them again."""

    def add(self, stream: int, frames: Iterable[TimedFrame]) -> Iterator[MergedFrame]:
        """Return the frames of a stream that are new events."""
        snapshot = self._snapshots.setdefault(stream, ConnectSnapshot())
        heard = (MergedFrame(frame, snapshot.takes(frame)) for frame in frames)
        waiting = self._waiting.setdefault(stream, deque())
        if stream == next(iter(self._waiting)):
            yield from self._tell(heard)
        else:
            waiting.extend(one for one in heard if not one.in_snapshot)

    def end(self, stream: int) -> Iterator[MergedFrame]:
        """Return the new events of the stream that is followed next; nothing follows on this one."""
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
