"""What changes a recorded stream on its way out. Pure.

With `resume`, its events get ids: `STREAM.SEQ`, as the proxy gives them, up to where its server gave some itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..parts import Part, frames_of
from ..resume import event_id, parse_event_id, stamp
from ..sse import read_fields
from .script import Script, Session


class Effects:
    """Those of one replay."""

    def __init__(self, script: Script, *, resume: bool) -> None:
        self._script = script
        self._resume = resume
        self._own_ids: dict[int, float] = {}

    def stamped(self, parts: list[Part]) -> list[Part]:
        """The parts with the ids that they get."""
        return list(self._stamp(parts)) if self._resume else parts

    def _stamp(self, parts: list[Part]) -> Iterator[Part]:
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
        named = (
            (frame.stream, frame.seq)
            for x in reversed(streams)
            for frame in reversed(self._script.frames(x))
            if frame.raw and event_id.encode() in frame.raw and read_fields(frame.raw).id == event_id
        )
        return next(named, None)


def _lengthened(frame: Iterable[Part], data: bytes) -> Iterator[Part]:
    """The same parts with longer data between them: all but the first keep their size."""
    first, *others = frame
    end = len(data) - sum(len(part.data) for part in others)
    yield replace(first, data=data[:end])
    for part in others:
        yield replace(part, data=data[end : end + len(part.data)])
        end += len(part.data)
