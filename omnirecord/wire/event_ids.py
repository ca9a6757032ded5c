"""Ids for the events of a stream whose server gives none, so that a client can resume after its last event. No I/O.

An id is `STREAM.SEQ`, the number of the recorded stream and of the frame: `2.26`. A stamped stream parses as before,
apart from `lastEventId`. After an id of the server's own, no more ids are added.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .sse import Frame, Parser, read_fields

_UNLIMITED = 1 << 62
_ID = re.compile(r"([1-9][0-9]{0,17})\.([1-9][0-9]{0,17})", re.ASCII)
_DATA_LINE = re.compile(rb"(?:\A|(?<=[\r\n]))(data)(?=[:\r\n])")
_DATA_LINE_OR_BOM = re.compile(rb"(?:\A(?:\xef\xbb\xbf)?|(?<=[\r\n]))(data)(?=[:\r\n])")
_LINE_END = re.compile(rb"\r\n?|\n")
_BLANK_LINE_AT_END = re.compile(rb"(?>\r\n?|\n)(?>\r\n?|\n)\Z")
_LONGEST_BLANK_LINE = 4


def event_id(stream: int, seq: int) -> str:
    """Return the id of frame `seq` of stream number `stream`, both from 1.

    >>> event_id(2, 26)
    '2.26'
    """
    return f"{stream}.{seq}"


def parse_event_id(text: str) -> tuple[int, int] | None:
    """Return the stream and the frame of an id; None for an id of another form."""
    found = _ID.fullmatch(text)
    return (int(found[1]), int(found[2])) if found else None


def stamp(frame: bytes, id: str, *, bom: bool = True) -> bytes:
    """Return the frame with an `id` line before its data, with the line ending of that. A frame that is no event
    (without data, or unterminated), or that has an `id`, stays as it is. `bom`: it is the first of its stream, where a
    byte order mark is no content and stays in front. `id` holds no line end."""
    return _stamped(frame, read_fields(frame, bom=bom), id, bom=bom)


def _stamped(frame: bytes, fields: Frame, id: str, *, bom: bool) -> bytes:
    whole = _BLANK_LINE_AT_END.search(frame[-_LONGEST_BLANK_LINE:])
    if fields.data is None or fields.id is not None or not whole:
        return frame
    line = (_DATA_LINE_OR_BOM if bom else _DATA_LINE).search(frame)
    assert line is not None
    at = line.start(1)
    ending = _LINE_END.search(frame, at)
    assert ending is not None  # a blank line follows
    return b"%bid: %b%b%b" % (frame[:at], id.encode(), ending[0], frame[at:])


@dataclass(frozen=True, slots=True)
class Stamped:
    """Bytes to pass on: a whole frame, or any bytes after the last id."""

    seq: int
    data: bytes
    has_id: bool
    is_done: bool
    """It is `[DONE]`."""


class StreamStamper:
    """Adds ids to a stream of bytes, cut anywhere. An incomplete frame is held until it is complete: a client could not
    use it. A frame that ends in a lone CR is not held, although an LF may follow. After an id of the server's own, or a
    frame over `limit` bytes, all bytes are passed on at once and unchanged: `stamps` is false then."""

    def __init__(self, stream: int, limit: int) -> None:
        self._parser = Parser(_UNLIMITED, hold_cr=False)
        self._stream, self._limit = stream, limit
        self._seq = 0
        self._has_own_ids = False
        self.stamps = True

    @property
    def held(self) -> int:
        return self._parser.pending if self.stamps else 0

    def feed(self, data: bytes) -> list[Stamped]:
        """Take the next bytes, and return what can be passed on now, in order."""
        if not self.stamps:
            return [Stamped(self._seq + 1, data, has_id=False, is_done=False)]
        out = [self._next(frame) for frame in self._parser.feed(data)]
        if self._has_own_ids or self._parser.pending > self._limit:
            out += self.close()
            self.stamps = False
        return out

    def close(self) -> list[Stamped]:
        """End the stream, and return what was held."""
        return [self._next(frame) for frame in self._parser.close()] if self.stamps else []

    def _next(self, frame: Frame) -> Stamped:
        assert frame.raw is not None  # there is no limit
        self._seq += 1
        self._has_own_ids = self._has_own_ids or frame.id is not None
        data = frame.raw
        if not self._has_own_ids:
            data = _stamped(data, frame, event_id(self._stream, self._seq), bom=self._seq == 1)
        return Stamped(self._seq, data, len(data) > frame.length, frame.data == "[DONE]")
