"""Counts the frames of a session as they come, in columns: a frame takes some 30 bytes, and is not held."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, islice, pairwise
from typing import Any

from ...model import Exchange, TimedFrame, Verdict
from ...omnigent import protocol
from ...omnigent.line import MergedFrame
from ...wire.strict_json import payload
from ..turns.builder import Span
from .values import NS, Gaps, Spread, StreamStats, percentiles, seconds, spread, type_of

_MS = 1_000_000
_AT_ONCE = 256
"""Frames that are counted together."""


class StreamTally:
    """Counts the frames of one stream."""

    def __init__(self) -> None:
        self.frames = 0
        self.content_bytes = 0
        self.delays = array("q")
        """How long the proxy kept each event that it sent, in ns."""
        self.unsent = 0
        """The events that were not sent."""
        self._edges = list[int]()
        """The times of the first and the last frame, in ns."""
        self._first_event_ns: int | None = None

    def add(self, frames: Sequence[TimedFrame]) -> None:
        """Count the next frames."""
        if not frames:
            return
        self.frames += len(frames)
        self.content_bytes += sum([frame.length for frame in frames])
        self._edges = [self._edges[0] if self._edges else frames[0].offset_ns, frames[-1].offset_ns]
        events = [frame for frame in frames if frame.verdict != "comment"]
        if events and self._first_event_ns is None:
            self._first_event_ns = events[0].offset_ns
        delays = [frame.sent_ns - frame.offset_ns for frame in events if frame.sent_ns is not None]
        self.delays.extend(delays)
        self.unsent += len(events) - len(delays)

    def measured(self, x: Exchange) -> tuple[Span, StreamStats]:
        """Return the time that the stream covers, in ns, and its numbers. `x`: its exchange."""
        asked = x.request.at_ns
        times = [x.response.at_ns if x.response else asked, *self._edges]
        span = min(times), max([end_of(x), *times])
        first_ns = self._first_event_ns
        return span, StreamStats(
            stream=x.stream or 0,
            party=x.party,
            ending=x.ending,
            duration_s=seconds(span[1] - asked),
            first_event_s=seconds(None if first_ns is None else max(0, first_ns - asked)),
            frames=self.frames,
            events=len(self.delays) + self.unsent,
            content_bytes=self.content_bytes,
            wire_bytes=x.response_bytes,
            proxy_delay_ms=spread(self.delays, _MS),
            never_sent=self.unsent,
        )


class _Numbers(dict[tuple[str | None, Verdict], int]):
    """The numbers of types and verdicts, from 0. `names` has the name of each type."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __missing__(self, key: tuple[str | None, Verdict]) -> int:
        self.names.append(type_of(*key))
        self[key] = number = len(self)
        return number


class LineTally:
    """Counts the merged frames of a session. `at_ns` has the times of its events, in ns."""

    def __init__(self) -> None:
        self.at_ns = array("q")
        self._streams = array("q")
        self._seqs = array("q")
        self._kinds = array("q")
        """The type of each event: a number of `_numbers`."""
        self._numbers = _Numbers()
        self.verdicts: Counter[str] = Counter()
        """Of all frames, comments included."""
        self.joined = set[int]()
        """The times at which a connect snapshot repeated the text so far, in ns."""
        self._usage: TimedFrame | None = None

    def add(self, some: Sequence[MergedFrame]) -> None:
        """Count the next frames."""
        self.verdicts.update([heard.frame.verdict for heard in some])
        events = [heard.frame for heard in some if heard.frame.verdict != "comment"]
        self.at_ns.extend([frame.offset_ns for frame in events])
        self._streams.extend([frame.stream for frame in events])
        self._seqs.extend([frame.seq for frame in events])
        numbers = self._numbers
        self._kinds.extend([numbers[frame.type, frame.verdict] for frame in events])
        if usages := [frame for frame in events if frame.type == protocol.SESSION_USAGE]:
            self._usage = usages[-1]
        for frame in [heard.frame for heard in some if heard.in_snapshot]:
            if frame.type == protocol.RESPONSE_OUTPUT_TEXT_DELTA:
                self.joined.add(frame.offset_ns)

    @property
    def usage(self) -> dict[str, Any]:
        """The last `session.usage`; empty without one."""
        return {} if self._usage is None else payload(self._usage)

    def by_type(self) -> dict[str, int]:
        """Return how many events each type has."""
        found = Counter[str]()
        counts = Counter(self._kinds)
        for number, name in enumerate(self._numbers.names):
            found[name] += counts[number]
        return found

    def places(self, without: Collection[str]) -> Sequence[int]:
        """Return the places of the events of all types but these."""
        left = {number for number, name in enumerate(self._numbers.names) if name in without}
        if not left:
            return range(len(self.at_ns))
        return array("q", [place for place, kind in enumerate(self._kinds) if kind not in left])

    def gaps(self, spans: Sequence[Span], without: Collection[str] = ()) -> Gaps | None:
        """Return the gaps between consecutive events, of all types but these; None without any. Between two spans no
        client listened: that is no gap."""
        of_events = self.places(without)
        times = self.at_ns if isinstance(of_events, range) else [self.at_ns[place] for place in of_events]
        begins = [begin for begin, _ in spans]
        lengths = [later - earlier for earlier, later in pairwise(times)]
        if lengths and min(lengths) < 0:
            lengths = [max(0, length) for length in lengths]
        gaps: Sequence[int] = range(len(lengths))  # the number of the event before each
        if len(begins) > 1 and lengths:
            of = [bisect_right(begins, at) for at in times]
            gaps = [gap for gap in gaps if of[gap] == of[gap + 1]]
            lengths = [lengths[gap] for gap in gaps]
        if not lengths:
            return None
        p50, p99 = percentiles(sorted(lengths))
        length = max(lengths)
        first = gaps[lengths.index(length)]
        longest_from, longest_from_type = self._event(of_events[first])
        longest_to, longest_to_type = self._event(of_events[first + 1])
        return Gaps(
            count=len(lengths),
            p50_s=round(p50 / NS, 9),
            p99_s=round(p99 / NS, 9),
            longest_s=length / NS,
            longest_from=longest_from,
            longest_from_type=longest_from_type,
            longest_to=longest_to,
            longest_to_type=longest_to_type,
        )

    def _event(self, place: int) -> tuple[str, str]:
        """Return an event as `STREAM:SEQ`, and its type."""
        return f"{self._streams[place]}:{self._seqs[place]}", self._numbers.names[self._kinds[place]]


class SessionTally:
    """Counts the frames of a session: those of each stream, and the line that is merged of them."""

    def __init__(self) -> None:
        self.streams: dict[int, StreamTally] = {}
        self.line = LineTally()

    def brought(self, frames: Sequence[TimedFrame]) -> None:
        """Count the next frames of a stream."""
        if frames:
            self.streams.setdefault(frames[0].stream, StreamTally()).add(frames)

    def heard(self, line: Iterable[MergedFrame]) -> Iterator[MergedFrame]:
        """Count the merged frames, and return them. `line` is read ahead."""
        return chain.from_iterable(self._counted(iter(line)))

    def _counted(self, line: Iterator[MergedFrame]) -> Iterator[list[MergedFrame]]:
        while some := list(islice(line, _AT_ONCE)):
            self.line.add(some)
            yield some


def delays_of(streams: Iterable[StreamTally]) -> Spread | None:
    """Return how long the proxy kept the events of these streams."""
    return spread(chain.from_iterable(one.delays for one in streams), _MS)


def end_of(x: Exchange) -> int:
    """Return the last known time of an exchange, in ns."""
    return max(x.request.at_ns, x.response.at_ns if x.response else 0, x.end_ns or 0)
