"""What changes a recorded stream on its way out, and a request's answer: faults and ids. Pure.

With `resume`, its events get ids: `STREAM.SEQ`, as the proxy gives them, up to where its server gave some itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ...wire.event_ids import event_id, parse_event_id, stamp
from ...wire.sse import read_fields
from ..faults import Bound, Faults, RequestFault
from ..parts import Part, frames_of
from .plan import Script, Session
from .playback import Playing


class Effects:
    """Those of one replay. Raises `UsageError` where a fault means nothing in the recording. `happened`: the faults
    that made a difference so far, in the order in which they first did."""

    def __init__(self, script: Script, faults: Faults, *, resume: bool) -> None:
        self._script = script
        self._resume = resume
        self._own_ids: dict[int, float] = {}
        self._bound = _bound(script, faults) if faults else None
        self.happened: dict[str, None] = {}

    def __bool__(self) -> bool:
        """Whether single frames are touched."""
        return self._resume or self._bound is not None

    def reset(self) -> None:
        """Nothing has happened."""
        self.happened.clear()
        if self._bound is not None:
            self._bound.reset()

    def lay_out(self, playing: Playing) -> None:
        """Give a stream the parts that its client gets of `planned`, behind what it has already."""
        parts = list(self._stamp(playing.planned)) if self._resume else playing.planned
        if self._bound is None:
            playing.lay_out(parts)
            return
        faulty = self._bound.on(playing.exchange.stream or 0, list(parts))
        playing.lay_out(list(faulty.parts))
        playing.fault, playing.by = faulty.end, faulty.by or ""
        playing.quiet_from = float("inf") if faulty.quiet_from is None else faulty.quiet_from
        self.happened |= dict.fromkeys(name for name in faulty.names if name != faulty.by)

    def ended(self, playing: Playing) -> bool:
        """A client came to where a fault ends its stream: whether it does. Else it goes on, behind what was sent: it
        happened to somebody else."""
        if self._bound is None or self._bound.happened(playing.by):
            self.happened[playing.by] = None
            return True
        self.lay_out(playing)
        return False

    def on_request(self, method: str, target: str) -> RequestFault | None:
        """What happens to a request; it counts."""
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
        """The first frame of a stream to which its server gave an id."""
        if stream not in self._own_ids:
            exchange = self._script.stream(stream)
            frames = self._script.frames(exchange) if exchange is not None else []
            with_id = (x.seq for x in frames if x.raw and b"id" in x.raw and read_fields(x.raw).id is not None)
            self._own_ids[stream] = next(with_id, float("inf"))
        return self._own_ids[stream]

    def place_of(self, event_id: str | None, session: Session) -> tuple[int, int] | None:
        """The stream and frame that a client names which comes back; None where the session has none of that id."""
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
            for frame in reversed(self._script.frames(x))
            if frame.raw and wanted in frame.raw and read_fields(frame.raw).id == event_id
        )
        return next(named, None)


def _bound(script: Script, faults: Faults) -> Bound:
    asked = [(x.request.method, x.request.target) for x in script.exchanges if x.party != "runner"]
    return faults.bind(script.named_streams(), asked)


def _lengthened(frame: Iterable[Part], data: bytes) -> Iterator[Part]:
    """The same parts with longer data between them: all but the first keep their size."""
    first, *others = frame
    end = len(data) - sum(len(part.data) for part in others)
    yield replace(first, data=data[:end])
    for part in others:
        yield replace(part, data=data[end : end + len(part.data)])
        end += len(part.data)
