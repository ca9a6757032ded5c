"""One stream on its way to one client: what is left of it, when the next of it is due, how it ends. No clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..cassette import Ending, Exchange
from .script import Piece, start_of
from .timeline import Gate, Timeline

_FRAME_ENDS = (b"\n\n", b"\r\r", b"\n\r\n")


@dataclass(slots=True)
class Sent:
    """How far the frames of one session were sent to anybody, in recorded ns."""

    upto_ns: int = -1


@dataclass(slots=True, eq=False)
class Playing:
    """`opened_at`: when the client came, on the replay's clock. `joined`: made up of what lies ahead, not a recorded
    stream. `coded`: its bytes are compressed, so that nothing can be put in."""

    exchange: Exchange
    timeline: Timeline
    pieces: list[Piece]
    ending: Ending
    opened_at: int
    sent: Sent = field(default_factory=Sent)
    joined: bool = False
    coded: bool = False
    next: int = 0
    _tail: bytes = b""

    @property
    def session_id(self) -> str | None:
        return self.exchange.session_id

    @property
    def has_more(self) -> bool:
        return self.next < len(self.pieces)

    def next_ns(self) -> float:
        """The recorded offset of the next piece behind the connect snapshot; infinite where there is none."""
        rest = (self.pieces[n].offset_ns for n in range(self.next, len(self.pieces)) if not self.pieces[n].greeting)
        return next(rest, float("inf"))

    def due(self, now: int) -> int | None:
        """When the next piece may be sent, or the end where there is none; None while a gate holds it."""
        if not self.has_more:
            return now if self.exchange.end_ns is None else self.timeline.due(self.exchange.end_ns, now)
        piece = self.pieces[self.next]
        if not piece.greeting:
            return self.timeline.due(piece.offset_ns, now)
        if self.joined:
            return now
        return max(now, self.opened_at + self.timeline.between(start_of(self.exchange), piece.offset_ns))

    def waits_for(self) -> Gate | None:
        """The gate that holds what is next."""
        return self.timeline.closed_gate()

    def take(self) -> Piece:
        """The next piece, which is sent now."""
        piece = self.pieces[self.next]
        self.next += 1
        if not piece.greeting:
            self.sent.upto_ns = max(self.sent.upto_ns, piece.offset_ns)
        self._tail = (self._tail + piece.data)[-4:]
        return piece

    @property
    def takes_a_frame(self) -> bool:
        """Whether another frame may be put in here: between two frames, in a body that is not compressed."""
        return not self.coded and (self.next == 0 or self._tail.endswith(_FRAME_ENDS))
