"""The turns of a session, from its exchanges, frames and client actions. No I/O, no clock, no printing.

    session, drafts = session_of(exchanges, frames, acts)
    for turn in session.turns: ...

- Here, the frames of a session's streams become one sequence, so that each event is in it once. A `SessionBuilder`
  gives them to a `TurnBuilder` (`builder`), which has the turns. A turn is a `Draft` until nothing follows, and then a
  frozen `Turn` (`values`).
- `events` adds each event to its turn by its type, `builder` each output item.
- `requests` reads what clients did: messages, interrupts, answers, and what the server refused.
- `why_stopped` finds out why a recording holds no more of a session; `conclusion` has that in one line.

No frame makes it fail: an event that fits no type is counted, and read as far as possible.

One sequence of frames:

1. Copies of an event are equal byte for byte, apart from the `id` field, which counts the events of one stream. An
   event that came on several streams at once is kept once.
2. Frames of a connect snapshot are marked: they tell a state, and nothing happened. While another stream is open, the
   snapshot is left out.
3. Text in flight, which a server sends again to a client that connects in the middle of a turn, is part of the
   snapshot.

`merged` does this for complete streams, `LiveMerge` during the recording. Both are linear in the number of frames.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, groupby, repeat
from operator import attrgetter
from typing import NamedTuple

from ...model import Exchange, TimedFrame, wall_clock
from ...omnigent import protocol
from ...omnigent.protocol import ConnectSnapshot, connect_snapshot_length
from ...omnigent.routes import party_name
from ...wire.strict_json import Payload, fresh_payload
from .aftermath import Aftermath
from .builder import TurnBuilder, absences_of, leavings_of, with_listeners
from .draft import LONG_SILENCE, Draft
from .events import add_event, add_resent
from .requests import Act, deleted_at
from .stored import Stored, complete
from .values import SESSION_DELETED, Fault, Listening, Session, Snapshot, Turn

_new = tuple.__new__
_NO_EVENTS = frozenset({"comment", "sentinel"})
_STREAM = attrgetter("stream")
_AT_NS = attrgetter("frame.offset_ns")  # without the call of `at_ns`
SUBSCRIBING = 50_000_000
"""Time between a subscription and the first frame of its stream, at most, in ns."""
COPIES_WITHIN = 60_000_000_000
"""Time between copies of an event on two open streams, at most, in ns: older events are forgotten."""
_RECENT = 20 * SUBSCRIBING
"""The same while one stream is open: another one may begin."""
_ID_LINE = re.compile(rb"(?:\A|(?<=[\r\n]))id:[^\r\n]*(?:\r\n?|\n)")


class Around(NamedTuple):
    """The facts about a session that lie outside of it, in its recording."""

    snapshot: Snapshot | None = None
    """The last one that a client asked for."""
    aftermath: Aftermath | None = None
    """Of the whole recording."""
    started_at: str | None = None
    """The wall clock at 0 ns."""
    last_known_ns: int = 0
    """The time of the last data in the recording."""
    request: str | None = None
    """The request in words if the stream is of an unknown API, which has no turns; else None."""
    unreadable: str | None = None
    last_error: str | None = None
    """The fields of `Session` with these names."""
    reads: Callable[[], Iterable[Stored]] = tuple
    """Returns the reads of the session by clients, the newest first."""


ALONE = Around()
UNKNOWN_AFTERMATH = Aftermath(tuple)


class SessionBuilder:
    """Takes the frames of a session in order; `turns` builds its turns."""

    def __init__(
        self, acts: Iterable[Act] = (), *, is_child: bool, long_silence: int = LONG_SILENCE,
        payload: Payload = fresh_payload,
    ) -> None:  # fmt: skip
        self._payload = payload
        self.turns = TurnBuilder(acts, is_child=is_child, long_silence=long_silence)
        self.heartbeats = 0
        self.last_ns = 0
        """The time of the last frame of any kind, in ns."""

    def add(self, heard: MergedFrame) -> None:
        """Add the next frame. No frame makes this fail."""
        (frame, in_snapshot), builder, before = heard, self.turns, self.turns.open
        self.last_ns = at_ns = frame.offset_ns
        if in_snapshot or frame.type in protocol.HEARTBEATS:
            self._keepalive(heard)
        elif frame.verdict not in _NO_EVENTS and frame.type != protocol.SESSION_PRESENCE:
            if before is not None:
                before.touch(at_ns)
            add_event(builder, frame.type, at_ns, self._payload(frame))
            if builder.open is not None and builder.open is not before:
                builder.open.touch(at_ns)
            draft = builder.open or before
            if draft is None and builder.drafts and not builder.drafts[-1].events:  # its only event ended it
                draft = builder.drafts[-1]
                draft.touch(at_ns)
            if draft is not None and frame.verdict != "valid":
                draft.odd_events += 1

    def add_all(self, line: Iterable[MergedFrame]) -> None:
        for heard in line:
            self.add(heard)

    def session(
        self, exchanges: Sequence[Exchange], parent_id: str | None, around: Around
    ) -> tuple[Session, list[Draft]]:
        """Return the session and the drafts of its turns; no frame follows. `session_of` describes the arguments."""
        first, aftermath = exchanges[0], around.aftermath or Aftermath(lambda: exchanges)
        session = self.so_far(exchanges, parent_id, (), aftermath, around.last_known_ns)
        listenings = session.streams
        drafts = self.turns.finish(max([self.last_ns, *(one.until_ns or 0 for one in listenings)]))
        absences, leavings = absences_of(listenings), leavings_of(listenings)
        is_at_rest = around.snapshot is not None and around.snapshot.status == "idle"
        if any(not draft.events for draft in drafts):
            complete(drafts, around.reads(), is_at_rest=is_at_rest)
        deleted_ns = deleted_at(exchanges)
        if deleted_ns is not None:
            _delete(drafts, deleted_ns, listenings)
        told = (draft.freeze(first.recording, first.session_id, number) for number, draft in enumerate(drafts, 1))
        turns = tuple(with_listeners(turn, absences, leavings) for turn in told)
        started_at = around.started_at if any(x.has_times for x in exchanges) else None
        snapshot = around.snapshot
        status, status_ns = self.turns.status or (None, None)
        if snapshot is not None and snapshot.status is not None and snapshot.at_ns > (status_ns or 0):
            status, status_ns = snapshot.status, snapshot.at_ns
        whole = replace(
            session, turns=turns, status=status, status_ns=status_ns, snapshot=snapshot,
            cost_usd=self.turns.cost_usd, heartbeats=self.heartbeats, deleted_ns=deleted_ns, request=around.request,
            unreadable=around.unreadable, last_error=around.last_error,
            started_at=wall_clock(started_at, session.begun_ns) if started_at else None,
        )  # fmt: skip
        return whole, drafts

    def so_far(
        self, exchanges: Sequence[Exchange], parent_id: str | None, turns: Iterable[Turn],
        aftermath: Aftermath = UNKNOWN_AFTERMATH, last_known_ns: int = 0,
    ) -> Session:  # fmt: skip
        """Return the session while frames follow. `turns`: as they are now."""
        first, ends = exchanges[0], [x.end_ns for x in exchanges]
        return Session(
            recording=first.recording, session_id=first.session_id, parent_id=parent_id,
            begun_ns=min(x.request.at_ns for x in exchanges),
            ended_ns=None if None in ends else max(end for end in ends if end is not None),
            streams=tuple(
                Listening(x.stream, x.party, x.request.at_ns, x.end_ns, x.ending, aftermath.of(x), party_name(x))
                for x in exchanges if x.stream is not None
            ),
            turns=tuple(turns), until_ns=max(self.last_ns, *(_until(x, last_known_ns) for x in exchanges)),
        )  # fmt: skip

    def _keepalive(self, heard: MergedFrame) -> None:
        """Add a heartbeat, or a frame of a connect snapshot, which may have text that no stream has brought yet."""
        builder, frame = self.turns, heard.frame
        if not heard.in_snapshot:
            self.heartbeats += 1
            if builder.open is not None:
                builder.open.heartbeats += 1
        elif frame.type is not None and frame.type in protocol.RESENT:
            add_resent(builder, frame.type, frame.offset_ns, self._payload(frame))
            if builder.open is not None:
                builder.open.joined_ns = frame.offset_ns
        elif frame.type == protocol.SESSION_HEARTBEAT and builder.open is not None:
            builder.open.note("a client connected", frame.offset_ns)


def session_of(
    exchanges: Sequence[Exchange], frames: Iterable[TimedFrame], acts: Iterable[Act] = (), around: Around = ALONE, *,
    parent_id: str | None = None, long_silence: int = LONG_SILENCE, line: Iterable[MergedFrame] | None = None,
) -> tuple[Session, list[Draft]]:  # fmt: skip
    """Return one session of one recording, and the drafts of its turns, which have the growth of their texts.

    `exchanges`: all of the session in that recording, at least one. `frames`: of all its streams, each stream's in
    order. `acts`: the client actions. `long_silence`: length of a silence that is kept, at least, in ns. `line`: the
    frames, if they are merged already.
    """
    builder = SessionBuilder(acts, is_child=parent_id is not None, long_silence=long_silence)
    if around.request is None:
        builder.add_all(merged(frames) if line is None else line)
    return builder.session(exchanges, parent_id, around)


def _delete(drafts: Sequence[Draft], at_ns: int, listenings: Iterable[Listening]) -> None:
    """Note that the session was deleted, in its unfinished turn if a stream was open at that time."""
    draft = next((one for one in reversed(drafts) if one.started_ns <= at_ns), None)
    is_heard = any(one.from_ns <= at_ns and (one.until_ns is None or one.until_ns >= at_ns) for one in listenings)
    if draft is not None and draft.ended == "unfinished" and is_heard:
        draft.error = Fault(SESSION_DELETED, "a client deleted the session")
        draft.note("a client deleted the session", at_ns)


def _until(x: Exchange, last_known_ns: int) -> int:
    """Return the end of an exchange, or the last known time before it."""
    answered = x.response.at_ns if x.response else x.request.at_ns
    return x.end_ns if x.end_ns is not None else max(answered, last_known_ns)


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


def merged(frames: Iterable[TimedFrame]) -> list[MergedFrame]:
    """Return the frames of one session in one recording, each event once, by time."""
    heard, last = list[MergedFrame](), list[MergedFrame]()
    times: dict[bytes, list[int]] = {}  # of the events before `last`, by `copied`
    last_ns = -(1 << 63)
    for stream in sorted(_streams(frames), key=lambda stream: stream[0].at_ns):
        begin = stream[0].at_ns
        if last_ns >= begin:  # another stream is open
            stream = [one for one in stream if not one.in_snapshot]
        for one in last:
            if (raw := _copied(one)) is not None:
                insort(times.setdefault(raw, []), one.at_ns)
        last = list(_not_in(times, begin - SUBSCRIBING, stream)) if heard else stream
        heard += last
        last_ns = max([last_ns, *map(_AT_NS, last)])
    return sorted(heard, key=_AT_NS)


def _copied(heard: MergedFrame) -> bytes | None:
    """Return what other streams may have of a frame, too."""
    return None if heard.in_snapshot else copied(heard.frame)


def _not_in(times: Mapping[bytes, list[int]], since_ns: int, stream: list[MergedFrame]) -> Iterator[MergedFrame]:
    """Return the frames without a copy on the other streams from that time on; each copy counts once."""
    copies: Counter[bytes] = Counter()
    for heard in stream:
        raw = _copied(heard)
        there = times.get(raw, ()) if raw is not None else ()
        if raw is None or copies[raw] >= len(there) - bisect_left(there, since_ns):
            yield heard
        else:
            copies[raw] += 1


def by_stream(frames: Iterable[TimedFrame]) -> dict[int, list[TimedFrame]]:
    streams: dict[int, list[TimedFrame]] = {}
    for stream, some in groupby(frames, key=_STREAM):
        streams.setdefault(stream, []).extend(some)
    return streams


def _streams(frames: Iterable[TimedFrame]) -> Iterator[list[MergedFrame]]:
    for stream in by_stream(frames).values():
        flags = chain(repeat(True, connect_snapshot_length(stream)), repeat(False))
        yield list(map(_new, repeat(MergedFrame), zip(stream, flags, strict=False)))


class LiveMerge:
    """The same during the recording: `open` announces a stream, `add` takes its new frames, `end` its end. An event
    counts when the first stream brings it. `settle` ends a batch: the caller has added what each stream has by now."""

    def __init__(self) -> None:
        self._begins: dict[int, int] = {}
        """The open streams, and the times of their requests in ns."""
        self._snapshots: dict[int, ConnectSnapshot] = {}
        self._told: deque[tuple[int, bytes]] = deque()
        """The recent events: time and bytes."""
        self._counts: Counter[bytes] = Counter()
        """How often `_told` has an event."""
        self._brought: dict[int, Counter[bytes]] = {}
        """How many of these each stream has brought, or cannot bring."""
        self._told_ns = -1

    def open(self, stream: int, at_ns: int) -> None:
        """Announce a stream that was requested at that time."""
        self._begins[stream] = at_ns

    def add(self, stream: int, frames: Sequence[TimedFrame]) -> Iterator[MergedFrame]:
        """Yield the frames of a stream that are new events."""
        if not frames:
            return
        begin, others = frames[0].offset_ns, [at for other, at in self._begins.items() if other != stream]
        is_second = self._told_ns >= begin or any(at < self._begins.get(stream, begin) for at in others)
        snapshot = self._snapshots.setdefault(stream, ConnectSnapshot())
        if stream not in self._brought:
            self._brought[stream] = Counter(raw for at_ns, raw in self._told if at_ns < begin - SUBSCRIBING)
        brought, counts, told = self._brought[stream], self._counts, self._told
        first_ns = min(others, default=0) - SUBSCRIBING  # another stream may bring the events since then
        for frame in frames:
            heard, at_ns = MergedFrame(frame, snapshot.takes(frame)), frame.offset_ns
            raw = _copied(heard)
            if raw is None:
                if not (heard.in_snapshot and is_second):
                    yield heard
                continue
            if brought.get(raw, 0) < counts.get(raw, 0):
                brought[raw] += 1
                continue
            if at_ns >= first_ns:
                told.append((at_ns, raw))
                counts[raw] += 1
                brought[raw] += 1
                if not others:
                    self._forget(at_ns - _RECENT)
            self._told_ns = max(self._told_ns, at_ns)
            yield heard

    def end(self, stream: int) -> None:
        """Note that nothing follows on a stream."""
        self._begins.pop(stream, None)
        self._snapshots.pop(stream, None)

    def settle(self) -> None:
        """Forget the events that no stream can bring again."""
        self._forget(self._told_ns - (COPIES_WITHIN if len(self._begins) > 1 else _RECENT))
        self._brought = {stream: brought for stream, brought in self._brought.items() if stream in self._begins}

    def _forget(self, before_ns: int) -> None:
        while self._told and self._told[0][0] < before_ns:
            raw = self._told.popleft()[1]
            for counts in (self._counts, *self._brought.values()):
                counts[raw] -= 1
                if counts[raw] <= 0:
                    del counts[raw]
