"""Bytes in, frames out: the `text/event-stream` parser of the WHATWG HTML standard, section 9.2. No I/O, no clock.

Two rules hold for any input:

1. The `raw` of all frames joined is the input (an oversized frame counts with its length).
2. The frames do not depend on how the input is cut.

The work is linear in the input: the parser remembers where the last search ended. Memory is bounded by `limit` plus one
read.

A frame includes the blank line that ends it. Further blank lines belong to the next frame, and a byte order mark to the
first one. The LF of a CRLF stays with its CR. So a frame that ends in a lone CR is held until the next byte, or the
end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

DEFAULT_LIMIT = 64 * 1024 * 1024
"""The largest frame that is kept whole, in bytes."""

_BOM = b"\xef\xbb\xbf"
# Atomic groups: a CRLF must not be given back as a CR and an LF, which would make it a blank line.
_BLANK_LINE = re.compile(rb"(?>\r\n?|\n)(?>\r\n?|\n)")
_CONTENT = re.compile(rb"[^\r\n]")
_LINE_END = re.compile(r"\r\n|\n|\r")
_LONGEST_BLANK_LINE = len(b"\r\n\r\n")
_SURE_END = re.compile(rb"[^\r\n](?:\r?\n){2}")
BLANK_LINE = b"\n\n"
"""What ends a frame, where lines end in LF."""
_LF = BLANK_LINE
_CRLF = b"\r\n\r\n"
_FIELDS = frozenset(("event", "data", "id", "retry"))


@dataclass(slots=True)
class Frame:
    """One frame and its fields. Text is decoded as the standard says: UTF-8, errors replaced by U+FFFD. Treat it as
    immutable: a frozen dataclass takes longer to make than everything else. A frame from the parser reads its fields at
    the first access, because a recorder needs none."""

    raw: bytes | None
    """Its bytes; None if it was larger than the parser's limit."""
    length: int
    """Its length in bytes, kept or not."""
    complete: bool
    """Whether it ends with a blank line. Only the last frame of a stream can lack it."""
    event: str | None = None
    """The `event` field; None if there is none."""
    data: str | None = None
    """The `data` lines joined by LF; None if there is no `data` field."""
    id: str | None = None
    """The `id` field; None if there is none, or if it holds a NUL."""
    retry: int | None = None
    """The `retry` field in ms; None if there is none, or if it is not ASCII digits."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Read the fields: Python calls this for an empty slot."""
            if name not in _FIELDS:
                raise AttributeError(f"a frame has no {name}")
            read = read_fields(self.raw)
            self.event = read.event
            self.data = read.data
            self.id = read.id
            self.retry = read.retry
            return getattr(read, name)


_new = object.__new__


def _unread(raw: bytes) -> Frame:
    """Return a complete frame whose fields are read at the first access."""
    frame = _new(Frame)
    frame.raw = raw
    frame.length = len(raw)
    frame.complete = True
    return frame


class Parser:
    """Cuts a byte stream into frames.

    >>> Parser().feed(b"event: ping\\ndata: {}\\n\\n")[0].event
    'ping'
    """

    __slots__ = ("_blank_line", "_dropped", "_first", "_in_content", "_is_odd", "_limit", "_pending", "_searched")

    def __init__(self, limit: int = DEFAULT_LIMIT, *, at_start: bool = True) -> None:
        self._limit = limit
        self._pending = bytearray()
        self._first = at_start  # only there a BOM is one
        self._blank_line = _LF  # that of what is pending
        self._is_odd = False  # what is pending needs the slow way, which the next three are for
        self._dropped = 0  # bytes of an oversized frame that are gone from `_pending`
        self._searched = 0  # `_pending` holds no blank line that starts before this
        self._in_content = False  # the frame has more than a BOM and blank lines

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes, and return the frames that are complete now, in order."""
        blank_line = _blank_line_of(data)
        if (
            self._is_odd
            or blank_line is None
            or (self._pending and blank_line != self._blank_line and b"\n" in data)
            or len(self._pending) + len(data) > self._limit
            or (self._first and data.startswith(_BOM[:1]))
        ):
            if not self._is_odd and (content := _CONTENT.search(self._pending, 0)):
                self._in_content = True
                self._searched = max(content.start(), len(self._pending) - _LONGEST_BLANK_LINE + 1)
            return self._feed_slowly(data)
        frames: list[Frame] = []
        start = 0
        if self._pending:
            start = self._end_in(data, blank_line)
            if not start:
                self._pending += data
                return frames
            frames.append(_unread(b"".join((self._pending, data[:start]))))
            self._pending.clear()
        self._cut(data, start, blank_line, frames)
        self._first = self._first and not frames
        return frames

    def _end_in(self, data: bytes, blank_line: bytes) -> int:
        """Return where the pending frame ends in these bytes; 0 if it does not."""
        if b"\n" not in data:  # faster than a search for two, and true for most reads of a large frame
            return 0
        line_end = blank_line[: len(blank_line) // 2]
        if data.startswith(line_end) and self._pending.endswith(line_end):
            return len(line_end)
        at = data.find(blank_line)
        return at + len(blank_line) if at >= 0 else 0

    def _cut(self, data: bytes, start: int, blank_line: bytes, frames: list[Frame]) -> None:
        """Append all frames from `start` on, in usual bytes: without a BOM, an oversized frame, or mixed line ends."""
        find = data.find
        length = len(blank_line)
        while (end := find(blank_line, start)) >= 0:
            if end == start:  # blank lines before the content
                content = _CONTENT.search(data, start)
                end = find(blank_line, content.start()) if content else -1
                if end < 0:
                    break
            end += length
            frame = _new(Frame)  # as `_unread` makes it, without the call
            frame.raw = data[start:end]
            frame.length = end - start
            frame.complete = True
            frames.append(frame)
            start = end
        if start < len(data):
            self._pending += data[start:]
            self._blank_line = blank_line
            self._is_odd = data[start] in b"\r\n" and _CONTENT.search(data, start) is None

    def _feed_slowly(self, data: bytes) -> list[Frame]:
        frames = []
        self._pending += data
        start = 0
        while (end := self._end_of_frame(start, final=False)) is not None:
            frames.append(self._take(start, end, complete=True))
            start = end
        del self._pending[:start]
        self._searched -= start
        # The head of an oversized frame goes, except for a possible start of a blank line.
        keep_from = max(0, min(self._searched, len(self._pending) - _LONGEST_BLANK_LINE))
        if self.pending > self._limit and keep_from:
            del self._pending[:keep_from]
            self._dropped += keep_from
            self._searched -= keep_from
        self._is_odd = bool(self._pending)
        if frames and self._pending:  # a usual frame may begin here
            self._blank_line = _blank_line_of(self._pending) or b""
            self._is_odd = not self._blank_line or self._dropped > 0 or self._pending[0] in b"\r\n"
        if not self._is_odd:
            self._searched = 0
            self._in_content = False
        return frames

    def close(self) -> list[Frame]:
        """End the stream, once. Return what was held: at most a complete frame and an unfinished one."""
        frames = []
        start = 0
        if (end := self._end_of_frame(0, final=True)) is not None:
            frames.append(self._take(0, end, complete=True))
            start = end
        if start < len(self._pending) or self._dropped:
            frames.append(self._take(start, len(self._pending), complete=False))
        return frames

    @property
    def is_between(self) -> bool:
        """Whether the next byte begins a frame that is not the first one."""
        return not (self._pending or self._first or self._is_odd or self._dropped)

    @property
    def pending(self) -> int:
        """The number of bytes that are in no frame yet."""
        return self._dropped + len(self._pending)

    def _end_of_frame(self, start: int, *, final: bool) -> int | None:
        if not self._in_content and not self._find_content(start):
            return None
        found = _BLANK_LINE.search(self._pending, self._searched)
        if found is None:
            self._searched = max(self._searched, len(self._pending) - _LONGEST_BLANK_LINE + 1)
            return None
        self._searched = found.start()
        end = found.end()
        lf_may_follow = end == len(self._pending) and self._pending[end - 1] == 0x0D
        return None if lf_may_follow and not final else end

    def _find_content(self, start: int) -> bool:
        """Skip the BOM and the blank lines at a frame's head."""
        at_first_byte = self._first and not self._dropped
        if at_first_byte and len(self._pending) < len(_BOM) and _BOM.startswith(self._pending):
            return False
        has_bom = at_first_byte and self._pending.startswith(_BOM)
        found = _CONTENT.search(self._pending, max(start + len(_BOM) * has_bom, self._searched))
        if found is None:
            self._searched = len(self._pending)
            return False
        self._searched = found.start()
        self._in_content = True
        return True

    def _take(self, start: int, end: int, *, complete: bool) -> Frame:
        length = self._dropped + end - start
        raw = bytes(memoryview(self._pending)[start:end]) if length <= self._limit else None
        if raw is None:
            frame = Frame(None, length, complete)
        elif not complete or (self._first and raw.startswith(_BOM)):
            frame = read_fields(raw, complete, bom=self._first)
        else:
            frame = _unread(raw)
        self._first = self._in_content = False
        self._dropped = 0
        self._searched = end
        return frame


def _blank_line_of(data: bytes | bytearray) -> bytes | None:
    """Return the blank line of bytes whose lines all end in LF, or all in CRLF; None for mixed ones."""
    if b"\r" not in data:
        return _LF
    return _CRLF if data.count(b"\r\n") == data.count(b"\r") == data.count(b"\n") else None


def last_end(data: bytes) -> int:
    """Return the end of the last frame that ends in these bytes, whatever precedes them; 0 if none does. Lines that end
    in a lone CR are ignored."""
    return max((found.end() for found in _SURE_END.finditer(data)), default=0)


def read_fields(raw: bytes, complete: bool = True, *, bom: bool = False) -> Frame:
    """Return a frame with the fields of these bytes. `bom`: it is the first of its stream, where a BOM is no
    content."""
    start = data_start(raw)
    if start:
        return Frame(raw, len(raw), complete, event_before(raw, start), raw[start:-2].decode("utf-8", "replace"))
    text = (raw[len(_BOM) :] if bom and raw.startswith(_BOM) else raw).decode("utf-8", "replace")
    return _read_lines(raw, complete, text)


def data_start(raw: bytes) -> int:
    """Return where the data begins in a frame of the usual form, `event: …\\ndata: …\\n\\n`, with or without its first
    line. The data ends two bytes before the end of the frame. 0 for any other form.
    """
    line = raw.find(b"\n") + 1 if raw.startswith(b"event: ") else 0
    start = line + len(b"data: ")
    # The data is one line, and an empty line ends the frame.
    usual = raw[line:start] == b"data: " and raw[raw.find(b"\n", start) :] == b"\n\n"
    return start if usual and b"\r" not in raw else 0


def is_utf8(data: bytes) -> bool:
    return data.isascii() or first_not_utf8(data) is None


def first_not_utf8(data: bytes) -> tuple[int, int] | None:
    """Return where the first bytes that are not UTF-8 start and end; None if there are none."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start, error.end
    return None


def with_lf(raw: bytes) -> bytes:
    """Return the frame with LF in the place of CRLF."""
    return raw.replace(b"\r\n", b"\n") if b"\r" in raw else raw


def is_comment(raw: bytes) -> bool:
    """Return whether a frame is one comment line, as servers send it to keep a connection alive."""
    return raw.startswith(b":") and raw.find(b"\n") == len(raw) - 2 and b"\r" not in raw


def event_before(raw: bytes, start: int) -> str | None:
    """Return the `event` of a frame of the usual form, whose data begins at `start`."""
    line = start - len(b"data: ")
    return raw[len(b"event: ") : line - 1].decode("utf-8", "replace") if line else None


def _read_lines(raw: bytes, complete: bool, text: str) -> Frame:
    event = id_ = None
    retry = None
    data = StringIO(newline="")
    has_data = False  # a list of lines would take ten times the memory
    for line in _lines(text):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.write(f"\n{value}" if has_data else value)
            has_data = True
        elif name == "event":
            event = value
        elif name == "id" and "\0" not in value:
            id_ = value
        elif name == "retry" and value.isascii() and value.isdigit():
            retry = int(value) if len(value) < 20 else None
    return Frame(raw, len(raw), complete, event, data.getvalue() if has_data else None, id_, retry)


def _lines(text: str) -> Iterator[str]:
    start = 0
    for end in _LINE_END.finditer(text):
        yield text[start : end.start()]
        start = end.end()
    yield text[start:]
