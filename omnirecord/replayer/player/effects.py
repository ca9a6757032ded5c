"""Changes to a recorded stream on its way out, and to an answer: faults and event ids. Pure.

With `resume`, events get ids: `STREAM.SEQ`, as the proxy gives them, up to the first event with an id of its server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from ...wire.event_ids import event_id, parse_event_id, stamp
from ...wire.sse import read_fields
from ..faults import Bound, Faults, RequestFault
from ..parts import Part, frames_of
from .plan import ReplayPlan, Session
from .playback import Playing


class Effects:
    """The effects of one replay. Raises `UsageError` if a fault has no event in the recording. `happened`: the faults
    that have changed an answer, in the order in which they first did."""

    def __init__(self, plan: ReplayPlan, faults: Faults, *, resume: bool) -> None:
        self._plan = plan
        self._resume = resume
        self._own_ids: dict[int, float] = {}
        self._bound: Bound | None = None
        if faults:
            asked = [(x.request.method, x.request.target) for x in plan.exchanges if x.party != "runner"]
            self._bound = faults.bind(plan.named_streams(), asked)
        self.happened: dict[str, None] = {}
        self._stalling: set[tuple[str, Playing]] = set()  # connections that stall, or have stalled

    def __bool__(self) -> bool:
        """Whether single frames are changed."""
        return self._resume or self._bound is not None

    def reset(self) -> None:
        """Forget the faults that have happened."""
        self.happened.clear()
        self._stalling.clear()
        if self._bound is not None:
            self._bound.reset()

    def lay_out(self, playing: Playing) -> None:
        """Set the parts of a stream from its `planned` ones, behind the bytes that were sent."""
        parts = list(self._stamp(playing.planned)) if self._resume else playing.planned
        if self._bound is None:
            playing.lay_out(parts)
            return
        faulty = self._bound.on(playing.exchange.stream or 0, list(parts), self._stalls_over(playing))
        self._stalling |= {(name, playing) for name in faulty.names if name in self._bound.stalls}
        playing.lay_out(list(faulty.parts))
        playing.fault, playing.by = faulty.end, faulty.by or ""
        playing.quiet_from = float("inf") if faulty.quiet_from is None else faulty.quiet_from
        self.happened |= dict.fromkeys(name for name in faulty.names if name != faulty.by)

    def ended(self, playing: Playing) -> bool:
        """Whether the fault at the end of these parts ends the stream. If it has ended another client's stream, this
        one gets the rest."""
        if self._bound is None or self._bound.happened(playing.by):
            self.happened[playing.by] = None
            return True
        self.lay_out(playing)
        return False

    def closed(self, playing: Playing) -> None:
        """Note the end of a connection: a stall that it did not reach is left for another one."""
        bound = self._bound
        if bound is not None:
            self._stalling -= {
                (name, one)
                for name, one in self._stalling
                if one is playing and not any(playing.has_reached(key) for key in bound.stalled_at(name))
            }

    def _stalls_over(self, playing: Playing) -> set[str]:
        """Return the stalls that other connections have had, as often as they were given."""
        stalls = self._bound.stalls if self._bound is not None else {}
        had = Counter(name for name, other in self._stalling if other is not playing)
        return {name for name, count in stalls.items() if had[name] >= count}

    def on_request(self, method: str, target: str) -> RequestFault | None:
        """Count a request, and return the faults on it; None if there are none."""
        fault = self._bound.on_request(method, target) if self._bound is not None else None
        if fault is not None:
            self.happened |= dict.fromkeys(fault.names)
        return fault

    def _stamp(self, parts: Iterable[Part]) -> Iterator[Part]:
        for frame in frames_of(parts):
            seq, stream = frame[0].seq, frame[0].stream
            if not seq or seq >= self._first_own_id(stream):
                yield from frame
                continue
            raw = b"".join(part.data for part in frame)
            stamped = stamp(raw, event_id(stream, seq), bom=seq == 1)
            yield from _lengthened(frame, stamped)

    def _first_own_id(self, stream: int) -> float:
        """Return the number of the first frame with an id of its server; infinite if there is none."""
        if stream not in self._own_ids:
            exchange = self._plan.stream(stream)
            frames = self._plan.frames(exchange) if exchange is not None else []
            with_id = (x.seq for x in frames if x.raw and b"id" in x.raw and read_fields(x.raw).id is not None)
            self._own_ids[stream] = next(with_id, float("inf"))
        return self._own_ids[stream]

    def frame_of_id(self, event_id: str | None, session: Session) -> tuple[int, int] | None:
        """Return the stream and frame of an event id; None if the session has no event with this id."""
        if not self._resume or not event_id:
            return None
        streams = [x for x in session.opens if x.kind == "sse"]
        place = parse_event_id(event_id)
        if place is not None and any(x.stream == place[0] for x in streams):
            return place
        wanted = event_id.encode("utf-8", "surrogateescape")
        named = (
            (frame.stream, frame.seq)
            for x in reversed(streams)
            for frame in reversed(self._plan.frames(x))
            if frame.raw and wanted in frame.raw and read_fields(frame.raw).id == event_id
        )
        return next(named, None)


def _lengthened(frame: Iterable[Part], data: bytes) -> Iterator[Part]:
    """Yield the parts of a frame with longer data: all but the first keep their size."""
    first, *others = frame
    end = len(data) - sum(len(part.data) for part in others)
    yield replace(first, data=data[:end])
    for part in others:
        yield replace(part, data=data[end : end + len(part.data)])
        end += len(part.data)
