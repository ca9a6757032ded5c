"""One playing of a session tree: who listens, what was asked, and how far it has come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...model import Exchange
from ..matching import Asked
from .plan import Session, Tree, start_of
from .playback import Playing, Sent
from .timeline import Gate, Timeline


@dataclass(slots=True, eq=False)
class Run:
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
