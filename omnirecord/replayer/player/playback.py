"""`Playing`: one stream on its way to one client. `Playthrough`: one playing of a session tree. No clock.

`now` is the time on the replay's clock, in ns; offsets are recorded times, in ns. A `Decision` is an answer of the
player, as a value: `server` carries it out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ...model import Ending, Exchange, TimedFrame
from ...wire.content_coding import content_of
from ...wire.headers import header, without
from ..faults.apply import Faulty
from ..matching import Asked
from ..matching.key import Miss
from ..stream_parts import Burst, Chunks, Part, StreamParts
from .gates import Gate
from .plan import Session, Tree, start_of
from .timeline import SortKey, Timeline, sort_key

_CODING = "content-encoding"
_NO_FAULTS = Faulty(())
_FRAME_ENDS = (b"\n\n", b"\r\r", b"\n\r\n")
_BATCH = 64 * 1024
"""Bytes after which no more parts are joined to a write."""
Stop = Literal["open", "clean", "short", "reset", "freeze"]
"""How a response ends: it stays `open`; ends `clean`; the connection is closed (`short`) or `reset` before its end; or
it stays open and silent (`freeze`)."""
Left = Literal["whole", "early", "cut"]
"""How a client was left: with all parts, before its last part, or cut by a fault."""
_STOPS: dict[Ending, Stop] = {"done": "clean", "eof": "clean", "unknown": "clean", "upstream_lost": "short"}


@dataclass(slots=True)
class Sent:
    """The last offset of a session that was sent to any client, in ns."""

    upto_ns: int = -1


@dataclass(slots=True, eq=False)
class Playing:
    """A stream on its way to one client: its remaining parts, when the next one is due, and how it ends.

    `opened_at`: when the recorded response is due to begin, on the replay's clock. `joined`: put together from what
    lies ahead, not one recorded stream. `coded`: its bytes are compressed, so that nothing can be inserted; `decoded`:
    they were compressed.
    """

    exchange: Exchange
    timeline: Timeline
    planned: Sequence[Part]
    """The parts before faults and ids; `parts` are those that go out."""
    opened_at: int
    sent: Sent = field(default_factory=Sent)
    chunks: Chunks = field(default_factory=Chunks)
    joined: bool = False
    coded: bool = False
    decoded: bool = False
    is_behind_end: bool = False
    """Whether the session was played to its end before: the client gets no further event."""
    is_kept_alive: bool = False
    """Whether to insert heartbeats after the last part: a page takes silence for a dead stream, and opens another."""
    begins_at: int = 0
    """Earliest start of the response, in ns on the replay's clock."""
    parts: Sequence[Part] = ()
    faulty: Faulty = _NO_FAULTS
    """How a fault ends the stream, and where heartbeats stop."""
    next: int = 0
    _bursts: Mapping[int, Burst] = field(default_factory=dict)  # by their first part
    _size: int = 0  # bytes sent
    _tail: bytes = b""
    _late: int = 0  # lateness of the parts that has passed, in ns
    _stalled: int | None = None  # end of the stall, on the replay's clock
    _reached: int | None = None  # when the next part's time came, or comes
    _went: tuple[int, int] | None = None  # when the last part went out, and its offset

    def lay_out(self, parts: Sequence[Part], faulty: Faulty = _NO_FAULTS) -> None:
        """Send these parts from now on, without the bytes that were sent."""
        self.parts = list(_behind(parts, self._size)) if self._size else parts
        self.next = 0
        self._bursts = self.parts.bursts if isinstance(self.parts, StreamParts) and self.chunks.joined else {}
        self.faulty = faulty

    @property
    def has_more(self) -> bool:
        return self.next < len(self.parts)

    @property
    def stop(self) -> Stop:
        return self.faulty.end or _STOPS.get(self.exchange.ending, "open")

    @property
    def is_whole(self) -> bool:
        """Whether the client has got the whole recorded answer."""
        return not self.has_more and self.faulty.end is None

    def has_reached(self, key: tuple[int, int]) -> bool:
        """Whether an event, by its stream and frame, is sent, or waits in a stall."""
        upto = self.next + (self._stalled is not None)
        return any((part.stream, part.seq) == key for part in self.parts[:upto])

    def next_ns(self) -> float:
        """Return the offset of the next part behind the connect snapshot; infinite if there is none."""
        rest = (self.parts[n].offset_ns for n in range(self.next, len(self.parts)) if not self.parts[n].in_snapshot)
        return next(rest, float("inf"))

    def next_event(self, frame: Callable[[int, int], TimedFrame | None], behind: SortKey) -> SortKey | None:
        """Return the key of the last part of the next event behind a key; None if there is none, but for comments."""
        for number in range(self.next, len(self.parts)):
            part = self.parts[number]
            if sort_key(part) <= behind:
                continue
            known = frame(part.stream, part.seq)
            if (known is None or known.verdict != "comment") and self._ends_a_frame(number):
                return sort_key(part)
        return None

    def due(self, now: int) -> int | None:
        """Return when the next part, or else the end, may be sent; None while a gate or a pause holds it."""
        if not self.has_more:
            if self.faulty.end or self.exchange.end_ns is None:
                return None if self.timeline.paused else now
            return self.timeline.due(self.exchange.end_ns, now)
        part = self.parts[self.next]
        if self.timeline.paused:
            return now if self.timeline.lets_pass(part, at_once=self.joined and part.in_snapshot) else None
        at: int | None = now
        if not part.in_snapshot:
            at = self.timeline.due(part.offset_ns, now)
        elif not self.joined:
            at = max(now, self.opened_at + self.timeline.between(start_of(self.exchange), part.offset_ns))
        return self._after_stalls(part, at, now) if at is not None and part.late_ns else at

    def _after_stalls(self, part: Part, at: int, now: int) -> int:
        """Return when a part is due after stalls. A stall begins with its part; later parts keep their distance."""
        if part.late_ns > self._late:
            self._reached = at if at > now or self._reached is None else min(at, self._reached)
            if at > now:
                return at
            self._stalled = self._reached + part.late_ns - self._late
            self._late = part.late_ns
        elif self._stalled is None and self._went is not None:
            went, offset_ns = self._went
            at = max(at, went + self.timeline.between(max(offset_ns, self.timeline.jumped_ns), part.offset_ns))
        return max(at, self._stalled or 0)

    def waits_for(self) -> Gate | None:
        """Return the gate that holds the next part, or the end; None if no gate does."""
        if not self.has_more:
            return self.timeline.gates.before(self.exchange.end_ns or 0)
        part = self.parts[self.next]
        return None if part.in_snapshot else self.timeline.gates.before(part.offset_ns)

    def burst(self, now: int) -> bytes | None:
        """Take many parts as one write, if nothing holds or watches any of them; else return None (then see `take`)."""
        burst = self._bursts.get(self.next)
        if burst is None or not self.timeline.runs_freely(burst.last_ns):
            return None
        self._went = now, burst.last_ns
        self.next = burst.upto
        self.sent.upto_ns = max(self.sent.upto_ns, burst.last_ns)
        self._size += len(burst.data)
        self._tail = burst.data[-4:]
        if burst.frame is not None:
            self.timeline.pass_by(burst.frame, now)
        return burst.data

    def take(self, now: int) -> bytes:
        """Take the next part, and the parts that go out with it."""
        first = self.parts[self.next]
        data = [self._take(now)]
        size = len(data[0])
        while self.has_more and size < _BATCH and self._goes_with(first, now):
            data.append(self._take(now))
            size += len(data[-1])
        sent = b"".join(data)
        self._size += len(sent)
        self._tail = (self._tail + sent)[-4:]
        return sent

    def _goes_with(self, first: Part, now: int) -> bool:
        if self.next in self._bursts:
            return False  # it goes out as a burst
        part = self.parts[self.next]
        together = self.chunks.kind != "frame" and (part.stream, part.read) == (first.stream, first.read)
        if not together and not self.chunks.joined:
            return False
        due = self.due(now)
        return due is not None and due <= now

    def _take(self, now: int) -> bytes:
        number = self.next
        part = self.parts[self.next]
        self._went = max(self._stalled or 0, self._reached or 0) or now, part.offset_ns
        self._stalled = self._reached = None
        self._late = max(self._late, part.late_ns)  # a step ends a stall
        self.next += 1
        if part.data and not part.in_snapshot:
            self.sent.upto_ns = max(self.sent.upto_ns, part.offset_ns)
        if self._ends_a_frame(number):
            self.timeline.pass_by(part, now)
        return part.data

    def _ends_a_frame(self, number: int) -> bool:
        if isinstance(self.parts, StreamParts):
            return self.parts.ends_a_frame(number)
        part = self.parts[number]
        if not part.seq or number + 1 == len(self.parts):
            return True
        after = self.parts[number + 1]
        return (after.stream, after.seq) != (part.stream, part.seq)

    @property
    def takes_a_frame(self) -> bool:
        """Whether a heartbeat may be inserted here: between frames, uncompressed, before heartbeats stop."""
        between_frames = not self._size or self._tail.endswith(_FRAME_ENDS)
        quiet_from = self.faulty.quiet_from
        is_quiet = quiet_from is not None and self.next > 0 and self.parts[self.next - 1].offset_ns >= quiet_from
        return not self.coded and between_frames and not is_quiet


def _behind(parts: Iterable[Part], size: int) -> Iterator[Part]:
    """Yield the parts behind the first `size` bytes. A part without bytes stays: a fault ends the stream behind it."""
    for part in parts:
        if not size:
            yield part
        elif size < len(part.data):
            yield replace(part, data=part.data[size:])
        size = max(0, size - len(part.data))


@dataclass(slots=True, eq=False)
class Playthrough:
    """One playing of a session tree. `name`: its root session, or `stream N`. `opened`: how often each session's stream
    was opened. `asked`: the exchanges that have answered. `live`: the streams of connected clients."""

    name: str
    start_ns: int
    """Recorded offset of the start of its first stream, in ns."""
    tree: Tree
    timeline: Timeline
    opened: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    asked: Asked = field(default_factory=set)
    sent: dict[str, Sent] = field(default_factory=lambda: defaultdict(Sent))
    live: list[Playing] = field(default_factory=list)
    left: dict[str, Left] = field(default_factory=dict)
    """How the last stream of each session ended."""

    def closed(self, playing: Playing) -> None:
        """Remove a stream whose client left, or that ended."""
        self.live.remove(playing)
        left: Left = "early" if playing.has_more else "cut"
        self.left[playing.exchange.session_id or ""] = "whole" if playing.is_whole else left

    def is_over(self, now: int) -> bool:
        """Whether every recorded stream was opened, played to its end and closed. If a client left before the end, the
        session is over once the time of its last event has come: such a client often skips the last events."""
        with_streams = [session for session in self.tree.sessions if session.opens]
        if (
            self.live
            or not with_streams
            or any(self.opened[session.session_id] < len(session.opens) for session in with_streams)
        ):
            return False
        left = {self.left.get(session.session_id) for session in with_streams}
        return left <= {"whole"} or (left <= {"whole", "early"} and self.timeline.is_at_end(now))

    def came(self, exchange: Exchange, now: int) -> None:
        """Open the gate of this exchange, if it is one: a request was matched with it. If no stream was opened so far,
        time begins here, so that a client that only polls makes progress."""
        gate = self.timeline.gates.of(exchange)
        if gate is not None:
            self._open(gate, now)

    def came_again(self, recorded: list[Exchange], now: int) -> None:
        """Open the first closed gate among these exchanges: reads are not counted."""
        gate = self.timeline.gates.closed_of(recorded)
        if gate is not None:
            self._open(gate, now)

    def _open(self, gate: Gate, now: int) -> None:
        if not self.timeline.started:
            self.timeline.move(gate.at_ns, now)
        self.timeline.open(gate, now)

    def skips(self, session: Session, recorded: Exchange) -> bool:
        """Whether playing this recorded stream now would skip a closed gate, or events for a connected client."""
        at = recorded.request.at_ns
        behind_a_gate = self.timeline.gates.before(at) is not None
        return behind_a_gate or any(playing.next_ns() < at for playing in self.listeners(session))

    def horizon(self, now: int) -> float:
        """Return the recorded offset up to which a read may know the session, in ns. It is before the next frame to be
        sent and before a closed gate. Without a client, it follows the time up to the next recorded open."""
        gate = self.timeline.gates.closed()
        bounds = [self.timeline.next_point(now), *(playing.next_ns() for playing in self.live)]
        return min([*bounds, *self._next_opens(), *([gate.at_ns] if gate else [])])

    def _next_opens(self) -> Iterator[int]:
        for session in self.tree.sessions:
            number = self.opened.get(session.session_id, 0)
            if 0 < number < len(session.opens) and not self.listeners(session):
                start = start_of(session.opens[number])
                if start > self.sent[session.session_id].upto_ns:
                    yield start

    def listeners(self, session: Session) -> list[Playing]:
        return [playing for playing in self.live if playing.exchange.session_id == session.session_id]


@dataclass(frozen=True, slots=True)
class Answering:
    """An answer that is no stream. `earliest`: when it is due, in ns on the replay's clock; `gates`: the gates before
    it."""

    exchange: Exchange
    body: bytes
    earliest: int
    gates: tuple[Gate, ...] = ()
    timeline: Timeline | None = None

    def due(self, now: int) -> int | None:
        """Return when it may be sent, in ns on the replay's clock; None while a gate holds it."""
        return None if self.waits_for() else max(now, self.earliest)

    def waits_for(self) -> Gate | None:
        return next((gate for gate in self.gates if not gate.open), None)

    @property
    def content(self) -> bytes | None:
        """The decoded body; None if it cannot be decoded."""
        response = self.exchange.response
        if response is None:
            return None
        content = content_of(self.body, header(response.headers, _CODING))
        return content.data if content.is_whole else None

    def with_content(self, content: bytes) -> Answering:
        """Return the answer with another body, which is not compressed."""
        response = self.exchange.response
        assert response is not None
        response = replace(response, headers=without(response.headers, {_CODING}))
        return replace(self, exchange=replace(self.exchange, response=response), body=content)


class NoContent:
    """204 for a bookkeeping request that was not recorded."""


@dataclass(frozen=True, slots=True)
class Refused:
    """403 for what is never replayed."""

    message: str


class Updates:
    """The WebSocket `/v1/sessions/updates`, served from the recorded session list."""


@dataclass(frozen=True, slots=True)
class Failing:
    """A status that a fault sends instead of the recorded answer; 0 for a reset of the connection. `due`: in ns on the
    replay's clock. `retry_after_ns`: what the answer tells the client; None: nothing."""

    status: int
    message: str
    due: int
    retry_after_ns: int | None = None


Decision = Playing | Answering | Failing | Miss | NoContent | Refused | Updates
