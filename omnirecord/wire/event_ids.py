"""Ids for replayed events that have none, so that a client can resume after its last event (`serve --resume`). No I/O.

An id is `STREAM.SEQ`, the number of the recorded stream and of the frame: `2.26`. A stream with ids parses as before,
apart from `lastEventId`.
"""

from __future__ import annotations

import re

from .sse import read_fields

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
    fields = read_fields(frame, bom=bom)
    whole = _BLANK_LINE_AT_END.search(frame[-_LONGEST_BLANK_LINE:])
    if fields.data is None or fields.id is not None or not whole:
        return frame
    line = (_DATA_LINE_OR_BOM if bom else _DATA_LINE).search(frame)
    assert line is not None
    at = line.start(1)
    ending = _LINE_END.search(frame, at)
    assert ending is not None  # a blank line follows
    return b"%bid: %b%b%b" % (frame[:at], id.encode(), ending[0], frame[at:])
