"""One stream on its way to one client: what is left of it, when the next of it is due, how it ends. No clock.

One playing of a session tree: who listens, what was asked, and how far it has come.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ...model import Ending, Exchange, TimedFrame
from ..matching import Asked
from ..parts import Part
from .plan import Session, Tree, start_of
from .stream_parts import Burst, Chunks, StreamParts
from .timeline import Gate, SortKey, Timeline, sort_key

_FRAME_ENDS = (b"\n\n", b"\r\r", b"\n\r\n")
_BATCH = 64 * 1024
"""Bytes after which nothing more is joined to a write, where it is made of parts."""
Stop = Literal["open", "clean", "short", "reset", "freeze"]
"""How a response stops: it stays `open`; ends `clean`; the connection is closed (`short`) or `reset` before its end;
or it stays, and nothing more comes (`freeze`)."""
_STOPS: dict[Ending, Stop] = {"done": "clean", "eof": "clean", "unknown": "clean", "upstream_lost": "short"}


@dataclass(slots=True)
class Sent:
    """How far the frames of one session were sent to anybody, in recorded ns."""

    upto_ns: int = -1


@dataclass(slots=True, eq=False)
class Playing:
    """`opened_at`: when the client came, on the replay's clock. `joined`: made up of what lies ahead, not a recorded
    stream. `coded`: its bytes are compressed, so that nothing can be put in; `decoded`: they were."""

    exchange: Exchange
    timeline: Timeline
    planned: Sequence[Part]
    """What would go out if nothing happened on the way; `parts` is what does."""
    ending: Ending
    opened_at: int
    sent: Sent = field(default_factory=Sent)
    chunks: Chunks = field(default_factory=Chunks)
    joined: bool = False
    coded: bool = False
    decoded: bool = False
    is_kept_alive: bool = False
    """Whether heartbeats are made up once all is played: a page takes silence for a dead stream, and opens another."""
    begins_at: int = 0
    """When the response begins at the earliest, on the replay's clock."""
    parts: Sequence[Part] = ()
    fault: Stop | None = None
    """What a fault makes of the end, right behind the last part."""
    by: str = ""
    """The fault that does."""
    quiet_from: float = float("inf")
    """The recorded offset from which no heartbeat may be made up."""
    next: int = 0
    _bursts: Mapping[int, Burst] = field(default_factory=dict)  # by the part with which they begin
    _size: int = 0  # how many bytes went out
    _tail: bytes = b""
    _late: int = 0  # how much of the parts' lateness has been waited out
    _stalled: int | None = None  # until when, on the replay's clock, it stalls
    _reached: int | None = None  # when the next part's time came, or will
    _went: tuple[int, int] | None = None  # when the part before went out, and its offset

    def lay_out(self, parts: Sequence[Part]) -> None:
        """Send these from now on, without the bytes that went out already."""
        self.parts, self.next = list(_behind(parts, self._size)) if self._size else parts, 0
        self._bursts = self.parts.bursts if isinstance(self.parts, StreamParts) and self.chunks.joined else {}
        self.fault, self.by, self.quiet_from = None, "", float("inf")

    @property
    def session_id(self) -> str | None:
        return self.exchange.session_id

    @property
    def has_more(self) -> bool:
        return self.next < len(self.parts)

    @property
    def stop(self) -> Stop:
        return self.fault or _STOPS.get(self.ending, "open")

    def next_ns(self) -> float:
        """The recorded offset of the next part behind the connect snapshot; infinite where there is none."""
        rest = (self.parts[n].offset_ns for n in range(self.next, len(self.parts)) if not self.parts[n].in_snapshot)
        return next(rest, float("inf"))

    def next_event(self, frame: Callable[[int, int], TimedFrame | None], behind: SortKey) -> SortKey | None:
        """Where the next event ends that lies behind a place: frames without data are none."""
        for number in range(self.next, len(self.parts)):
            part = self.parts[number]
            if sort_key(part) <= behind:
                continue
            known = frame(part.stream, part.seq)
            if (known is None or known.verdict != "comment") and self._ends_a_frame(number):
                return sort_key(part)
        return None

    def due(self, now: int) -> int | None:
        """When the next part may be sent, or the end where there is none; None while a gate or a pause holds it."""
        if not self.has_more:
            return self._end_due(now)
        part = self.parts[self.next]
        if self.timeline.paused:
            return now if self.timeline.lets_pass(part, at_once=self.joined and part.in_snapshot) else None
        at = self._in_time(part, now)
        return self._after_stalls(part, at, now) if at is not None and part.late_ns else at

    def _end_due(self, now: int) -> int | None:
        if self.fault or self.exchange.end_ns is None:
            return None if self.timeline.paused else now
        return self.timeline.due(self.exchange.end_ns, now)

    def _in_time(self, part: Part, now: int) -> int | None:
        if not part.in_snapshot:
            return self.timeline.due(part.offset_ns, now)
        if self.joined:
            return now
        return max(now, self.opened_at + self.timeline.between(start_of(self.exchange), part.offset_ns))

    def _after_stalls(self, part: Part, at: int, now: int) -> int:
        """A stall begins when the time of the part behind it comes. What follows keeps its distance to that."""
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
        """The gate that holds what is next, or the end."""
        if not self.has_more:
            return self.timeline.gate_before(self.exchange.end_ns or 0)
        part = self.parts[self.next]
        return None if part.in_snapshot else self.timeline.gate_before(part.offset_ns)

    def burst(self, now: int) -> bytes | None:
        """Many parts in one, where nothing holds any of them, nor asks for any; else `take` is to be asked, once the
        next part is due."""
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
        """What is sent now: the next part, and what goes out with it."""
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
            return False  # the next write is that
        part = self.parts[self.next]
        together = not self.chunks.alone and (part.stream, part.read) == (first.stream, first.read)
        if not together and not self.chunks.joined:
            return False
        due = self.due(now)
        return due is not None and due <= now

    def _take(self, now: int) -> bytes:
        number, part = self.next, self.parts[self.next]
        self._went = max(self._stalled or 0, self._reached or 0) or now, part.offset_ns
        self._stalled = self._reached = None
        self._late = max(self._late, part.late_ns)  # a step waits for no stall
        self.next += 1
        if part.data and not part.in_snapshot:
            self.sent.upto_ns = max(self.sent.upto_ns, part.offset_ns)
        if self._ends_a_frame(number):
            self.timeline.pass_by(part, now)
        return part.data

    def _ends_a_frame(self, number: int) -> bool:
        """Whether this part is the last of its frame."""
        if isinstance(self.parts, StreamParts):
            return self.parts.ends_a_frame(number)
        part = self.parts[number]
        if not part.seq or number + 1 == len(self.parts):
            return True
        after = self.parts[number + 1]
        return (after.stream, after.seq) != (part.stream, part.seq)

    @property
    def takes_a_frame(self) -> bool:
        """Whether another frame may be put in here: between two frames, in a body that is not compressed, and not
        where heartbeats have stopped."""
        between_frames = not self._size or self._tail.endswith(_FRAME_ENDS)
        reached = self.parts[self.next - 1].offset_ns if self.next else -1
        return not self.coded and between_frames and reached < self.quiet_from


def _behind(parts: Iterable[Part], size: int) -> Iterator[Part]:
    """What follows the first bytes. A part without bytes stays: something is to end behind it, and not before."""
    for part in parts:
        if not size:
            yield part
        elif size < len(part.data):
            yield replace(part, data=part.data[size:])
        size = max(0, size - len(part.data))


@dataclass(slots=True, eq=False)
class Playthrough:
    """`name`: its root session, or `stream N`; `opened`: how often each session's stream was opened; `asked`: what else
    was asked for."""

    name: str
    start_ns: int
    """The recorded offset at which its first stream began."""
    tree: Tree
    timeline: Timeline
    gate_of: dict[int, Gate]
    opened: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    asked: Asked = field(default_factory=Asked)
    sent: dict[str, Sent] = field(default_factory=lambda: defaultdict(Sent))
    live: list[Playing] = field(default_factory=list)

    @property
    def started(self) -> bool:
        return self.timeline.started

    def came(self, exchange: Exchange, now: int) -> None:
        """A request came that is matched with this one: if it is a gate, that opens.

        Where nobody has opened a stream so far, time begins here, so that a client that only polls gets on.
        """
        gate = self.gate_of.get(exchange.exchange)
        if gate is None:
            return
        if not self.timeline.started:
            self.timeline.move(gate.at_ns, now)
        self.timeline.open(gate, now)

    def came_again(self, recorded: list[Exchange], now: int) -> None:
        """The same for a read, which is not counted: it opens the first closed gate among these, if any is one."""
        gates = (x for x in recorded if x.exchange in self.gate_of and not self.gate_of[x.exchange].open)
        if (first := next(gates, None)) is not None:
            self.came(first, now)

    def skips(self, session: Session, recorded: Exchange) -> bool:
        """Whether somebody would miss something if this recorded stream were played now: it lies before its start,
        behind a closed gate or still to be sent to who listens."""
        at = recorded.request.at_ns
        behind_a_gate = self.timeline.gate_before(at) is not None
        return behind_a_gate or any(playing.next_ns() < at for playing in self.listeners(session))

    def begin(self, playing: Playing) -> None:
        """A recorded stream is played; the playhead goes to its start, unless others are being played to."""
        if not any(other.has_more for other in self.live):
            self.timeline.move(start_of(playing.exchange), playing.opened_at)
        self.live.append(playing)

    def join(self, playing: Playing, start_ns: int) -> None:
        """A client joins what is going on. Time begins at `start_ns` where nothing was played before."""
        if not self.timeline.started:
            self.timeline.move(start_ns, playing.opened_at)
        self.live.append(playing)

    def horizon(self, now: int) -> float:
        """What a read may know: all that came before the next frame that is still to be sent, and before a closed
        gate. What nobody listens to goes by with the time, but not beyond where a client has to come back."""
        gate = self.timeline.closed_gate()
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
        return [playing for playing in self.live if playing.session_id == session.session_id]
