"""Lines of a transcript: each with its kind, so that a terminal can colour it, and no wider than the page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from ...text import cells, counted, fitting, seconds, visible

_WORD = re.compile(" *[^ ]+| +$")
_NARROWEST = 20


def wrap(text: str, width: int, first: str, rest: str) -> Iterator[str]:
    """Return the text in lines of at most `width` columns, behind `first` and then `rest`. Line ends are kept."""
    indent, room = first, max(width - len(rest), _NARROWEST)
    for line in text.replace("\r\n", "\n").split("\n"):
        for piece in _pieces(visible(line.expandtabs(4)), room):
            yield (indent + piece).rstrip()
            indent = rest


def _pieces(line: str, room: int) -> Iterator[str]:
    """Return a line in parts, cut between words, or in a word that is wider than `room`."""
    begun, used = "", 0
    for word in _WORD.findall(line):
        if used and used + cells(word) > room:
            yield begun
            begun, used, word = "", 0, word.lstrip(" ")
        while cells(word) > room:
            head = fitting(word, room) or word[:1]
            yield head
            word = word[len(head) :]
        begun, used = begun + word, used + cells(word)
    yield begun


Kind = Literal[
    "verdict", "bad", "head", "asked", "thought", "said", "tool", "approval", "child", "trouble", "note", "silence",
    "end", "total", "stop", "more", "heartbeat", "blank",
]  # fmt: skip
WIDTH = 100
COLUMN = 15
"""The column of the text, after the number of the turn and the time."""
LAST = 1 << 60
"""The place of a piece that comes after all else at its time."""


class Line(str):
    """One line without control characters and line end; `kind` is what it is about."""

    __slots__ = ("kind",)
    kind: Kind

    def __new__(cls, text: str, kind: Kind) -> Line:
        line = super().__new__(cls, text)
        line.kind = kind
        return line


class Piece(NamedTuple):
    """Something that happened. Pieces with equal times are in the order of their places."""

    at_ns: int
    place: int
    text: str
    kind: Kind
    inner: tuple[Line, ...] = ()
    """Lines that stand there instead: of another session."""


@dataclass(slots=True)
class Page:
    """The width of lines, whether long texts are cut, and the zero of times."""

    width: int = WIDTH
    full: bool = False
    cuts: list[int] = field(default_factory=list)
    """The number of characters that each cut left out."""
    zero_ns: int | None = 0
    """The zero of times, in ns; None: the beginning of each top session."""

    def wrapped(self, text: str, kind: Kind, first: str = "", rest: str = "") -> Iterator[Line]:
        return (Line(line, kind) for line in wrap(text, self.width, first, rest))

    def since(self, begun_ns: int) -> Page:
        """Return the page for a session that begins at that time."""
        return replace(self, zero_ns=begun_ns) if self.zero_ns is None else self

    def clock(self, at_ns: int) -> str:
        """Return a time on this page in words."""
        return seconds(max(at_ns - (self.zero_ns or 0), 0))

    def narrower(self, by: int) -> Page:
        return replace(self, width=self.width - by)

    def short(self, text: str) -> str:
        """Return the beginning of a text in one line, and how many characters are left out; all of it if `full`."""
        return self.cut(text, MAX_DETAIL, flat=True)

    def long(self, text: str) -> str:
        """Return a text with its line ends, cut to `MAX_TEXT`."""
        return self.cut(text, MAX_TEXT)

    def cut(self, text: str, most: int, *, flat: bool = False) -> str:
        rest = len(text) - most
        if self.full or rest <= 0:
            return (" ".join(text.split()) if flat and not self.full else text).strip()
        self.cuts.append(rest)
        head = text[:most]
        head = " ".join(head.split()) if flat else head.strip()
        return f"{head}… ({counted(rest, 'more character')})"


MAX_TEXT = 4_000
"""Length of a message, in characters."""
MAX_DETAIL = 240
"""Length of a tool's arguments, its output, or an error, in characters."""


def indented(lines: Iterable[Line], by: str) -> Iterator[Line]:
    return (Line((by + line).rstrip(), line.kind) for line in lines)
