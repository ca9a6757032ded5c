"""Masks an event stream while it passes: follows each text field from event to event.

The output has the length and the positions of the input. The text that a string continues may be named behind it in the
event (`{"delta": "…", "item_id": …}`), so a line is masked finally when it is complete. Until then, a part of a line is
returned at once, masked if any open text would continue as a secret. It is returned `again` if that masked too much. Of
a line longer than `LINE` bytes, the first masking stays.

The final result does not depend on how the stream was split, except for escapes in such long lines.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .scanner import Scanner
from .texts import LINE, BodyMask, JsonMask

_LINE = re.compile(rb"([^\r\n]*)(\r\n|\r|\n|)")
_FIELD = re.compile(rb"(?:\xef\xbb\xbf)?(?:(data|event): ?)?")
_BEGINS = re.compile(rb"(?:\xef\xbb\xbf)?(?:(?:data|event|id|retry)?:|data\Z)")
_LONGEST_EVENT = 200
_EVENTS = 256
"""Event-name lines in the cache."""
_NAMES = b"data: ", b"event: ", b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class MaskedPart:
    """Bytes to write at `start`; `again`: they replace bytes that were written before."""

    start: int
    data: bytes
    again: bool = False


class StreamMask:
    """Masks one stream. `settled`: number of bytes from the start that are masked finally."""

    def __init__(self, scanner: Scanner, counts: Counter[str]) -> None:
        self._counts = counts
        self._texts = JsonMask(scanner, counts)
        self._at = self.settled = 0
        self._event = b""  # the name of the frame's event
        self._event_lines: dict[bytes, bytes] = {}  # those without a secret, and the names in them
        self._in_data = False  # the frame has a data line before this one
        self._after_cr = False
        self._is_torn = False  # the beginning of the line was not seen
        self._line = bytearray()  # the start of an incomplete line
        self._given: list[MaskedPart] = []  # the parts of it that were returned
        self._flow: BodyMask | None = None
        self._found: Counter[str] = Counter()
        self._long = False  # the line is longer than LINE

    def feed(self, data: bytes) -> list[MaskedPart]:
        """Take the next bytes; return the parts to write."""
        whole = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        out = self._whole(data[:whole]) if whole else []
        if whole < len(data):
            out.append(self._begin(data[whole:]))
        return out

    def begin_again(self) -> None:
        """Count positions from 0 again. Call it at the end of a line."""
        self._at = 0
        self._end_line()

    def lose(self, size: int) -> None:
        """Skip lost bytes; open texts end there."""
        self._at += size
        self._texts.lose()
        self._end_line()
        self._event = b""
        self._in_data = False
        self._after_cr = False
        self._is_torn = True

    def _end_line(self) -> None:
        self._line.clear()
        self._given.clear()
        self._flow = None
        self._long = False
        self.settled = self._at

    def _whole(self, data: bytes) -> list[MaskedPart]:
        """Mask bytes that end with a line end."""
        out: list[MaskedPart] = []
        if self._long:
            end = _LINE.match(data).end(1)  # type: ignore[union-attr]  # it always matches
            rest = data[:end]
            data = data[end:]
            out += [self._begin(rest)] if rest else []
            self._end_line()
        masked = self._masked_lines(bytes(self._line) + data)
        for piece in self._given:
            again = masked[: len(piece.data)]
            masked = masked[len(piece.data) :]
            if again != piece.data:
                out.append(MaskedPart(piece.start, again, again=True))
        out.append(MaskedPart(self._at, masked))
        self._at += len(masked)
        self._end_line()
        return out

    def _masked_lines(self, data: bytes) -> bytes:
        out: list[bytes] = []
        for text, end in _lines(data):
            if text:
                out.append(self._masked_line(text))
            elif end and not (self._after_cr and end == b"\n"):  # that is the second half of CRLF
                self._event = b""
                self._in_data = False
            out.append(end)
            if text or end:
                self._after_cr = end == b"\r"
                self._is_torn = False
        return b"".join(out)

    def _masked_line(self, line: bytes) -> bytes:
        event = self._event_lines.get(line)
        if event is not None:
            self._event = event
            return line
        field = _FIELD.match(line)
        assert field is not None
        is_data = field[1] == b"data"
        goes_on = self._goes_on(line)
        if len(line) > LINE or goes_on:
            return self._texts.flow(self._counts, goes_on=goes_on).feed(line)
        name = line[: field.end()]
        value = line[field.end() :]
        if is_data:
            is_next = self._in_data
            self._in_data = True
            return name + self._texts.masked(value, self._event, is_next_line=is_next)
        safe = name + self._texts.alone(value)
        if field[1] == b"event":
            self._event = value[:_LONGEST_EVENT]
            if safe == line and len(line) <= _LONGEST_EVENT:
                if len(self._event_lines) >= _EVENTS:
                    self._event_lines.clear()
                self._event_lines[line] = self._event
        return safe

    def _goes_on(self, line: bytes) -> bool:
        """Whether the line may be the rest of a line whose beginning was lost."""
        return self._is_torn and _BEGINS.match(line) is None

    def _begin(self, data: bytes) -> MaskedPart:
        """Mask bytes of an incomplete line."""
        before = bytes(self._line) if self._flow is None else b""
        if not self._long:
            self._line += data
        if self._flow is None and any(name.startswith(self._line) for name in _NAMES):
            piece = MaskedPart(self._at, data)  # the beginning of a field's name
        else:
            if self._flow is None:
                goes_on = self._goes_on(before + data)
                self._flow = self._texts.flow(self._found, goes_on=goes_on)
            piece = MaskedPart(self._at, self._flow.feed(before + data)[len(before) :])
        self._at += len(data)
        self._given.append(piece)
        if len(self._line) > LINE or self._long:
            self._long = True
            self.settled = self._at
            self._line.clear()
            self._given.clear()
            self._counts += self._found
            self._found = Counter()
        return piece


def _lines(data: bytes) -> Iterable[Sequence[bytes]]:
    """Yield each line and its line end; the data ends with one."""
    if b"\r" in data:
        return (line.groups() for line in _LINE.finditer(data))
    return [(text, b"\n") for text in data[:-1].split(b"\n")]
