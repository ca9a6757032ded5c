"""The lines that are told: text that knows what it tells, so that a terminal may colour it.

Text cut into lines of a terminal's width. What it is given is made harmless here, whatever was done before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from ...text import cells, fitting, seconds, visible

_WORD = re.compile(" *[^ ]+| +$")
_NARROWEST = 20


def wrap(text: str, width: int, first: str, rest: str) -> Iterator[str]:
    """The text in lines no wider than that, behind `first` and then `rest`; its own line ends are kept."""
    indent, room = first, max(width - len(rest), _NARROWEST)
    for line in text.replace("\r\n", "\n").split("\n"):
        for piece in _pieces(visible(line.expandtabs(4)), room):
            yield (indent + piece).rstrip()
            indent = rest


def _pieces(line: str, room: int) -> Iterator[str]:
    """A line, cut between its words, or in a word that is wider than the room."""
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
"""Where the text begins: behind a turn's number and the time."""
LAST = 1 << 60
"""The place of what comes behind everything of its time."""


class Line(str):
    """One line, harmless and without its end; `kind` is what it tells of."""

    __slots__ = ("kind",)
    kind: Kind

    def __new__(cls, text: str, kind: Kind) -> Line:
        line = super().__new__(cls, text)
        line.kind = kind
        return line


class Piece(NamedTuple):
    """Something that happened, and when; what came at one time is ordered by its place."""

    at_ns: int
    place: int
    text: str
    kind: Kind
    inner: tuple[Line, ...] = ()
    """Lines that are told there instead: what happened in another session."""


@dataclass(slots=True)
class Page:
    """How wide lines may be, and whether what is long is told in full."""

    width: int = WIDTH
    full: bool = False
    cuts: list[int] = field(default_factory=list)
    """How many characters were left out, each time that some were."""
    zero_ns: int | None = 0
    """What times are counted from; None for the beginning of each session that is told by itself."""

    def wrapped(self, text: str, kind: Kind, first: str = "", rest: str = "") -> Iterator[Line]:
        return (Line(line, kind) for line in wrap(text, self.width, first, rest))

    def since(self, begun_ns: int) -> Page:
        """The page for a session that begins then, its times counted from there unless they are the recording's."""
        return replace(self, zero_ns=begun_ns) if self.zero_ns is None else self

    def clock(self, at_ns: int) -> str:
        """A time on this page."""
        return seconds(max(at_ns - (self.zero_ns or 0), 0))

    def narrower(self, by: int) -> Page:
        return replace(self, width=self.width - by)

    def short(self, text: str) -> str:
        """A text in one line, its beginning; how much was left out is said. In full, as it is."""
        return self.cut(text, MAX_DETAIL, flat=True)

    def long(self, text: str) -> str:
        """A text with its own line ends."""
        return self.cut(text, MAX_TEXT)

    def cut(self, text: str, most: int, *, flat: bool = False) -> str:
        rest = len(text) - most
        if self.full or rest <= 0:
            return (" ".join(text.split()) if flat and not self.full else text).strip()
        self.cuts.append(rest)
        head = text[:most]
        head = " ".join(head.split()) if flat else head.strip()
        return f"{head}… ({rest:,} more character{'' if rest == 1 else 's'})"


MAX_TEXT = 4_000
"""How much of one message is told, in characters."""
MAX_DETAIL = 240
"""How much of a tool's arguments, of its output, of an error…"""


def indented(lines: Iterable[Line], by: str) -> Iterator[Line]:
    return (Line((by + line).rstrip(), line.kind) for line in lines)
