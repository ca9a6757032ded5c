"""One line of the view: when, what, how it ended, and where to find it in the cassette."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from ...text import visible

Kind = Literal["asked", "said", "thought", "tool", "approval", "child", "trouble", "warning", "note", "end"]
_TIME = 9
_LABEL = 10
_LEAST = 12
"""The fewest columns of a text that is cut."""
_MORE = 3
"""Lines below a failure, at most."""
_UNLIMITED = 400
"""Columns of a text where a line has no width."""


@dataclass(frozen=True, slots=True)
class Told:
    """`head` and `end` are kept whole, as far as the line has room; `text`, between them, is cut."""

    at_ns: int
    """0 where no times were recorded."""
    label: str
    kind: Kind
    head: str = ""
    text: str = ""
    end: str = ""
    place: str = ""
    """Session and address, as `04cc962c 1:34`."""
    keeps: Literal["begin", "end"] = "begin"
    """Which part of a text is shown if not all of it has room."""

    def lines(self, width: int | None = None) -> Iterator[str]:
        """The line, and for a failure the rest of its text, below it."""
        whole = self.line(width)
        text = visible(self.text)
        if width is None or self.kind != "trouble" or not text or text in whole:
            yield whole
            return
        indent = " " * (_TIME + _LABEL + 2)
        place = cells(visible(self.place)) + 2 if self.place else 0
        room = width - len(indent) - place - cells(visible(self.head)) - cells(visible(self.end)) - 2
        first = next(_wrapped(text, room)) if room >= _LEAST else ""
        yield replace(self, text=first).line(width)
        parts = list(_wrapped(text[len(first) :].lstrip(" "), max(width - len(indent), _LEAST)))
        for part in parts[: _MORE - 1]:
            yield f"{indent}{part}"
        if len(parts) >= _MORE:
            yield f"{indent}{cut(' '.join(parts[_MORE - 1 :]), max(width - len(indent), _LEAST))}"

    def line(self, width: int | None = None) -> str:
        """The line in at most `width` columns; without a width, as long as it is."""
        time = f"{self.at_ns / 1e9:.2f}s" if self.at_ns else "-"
        begin = f"{time:>{_TIME}} {visible(self.label):<{_LABEL}} "
        place = visible(self.place)
        if width is None:
            return f"{begin}{self._body(_UNLIMITED)}{f'  {place}' if place else ''}".rstrip()
        room = width - cells(begin)
        if not place or room - cells(place) < 2 * _LEAST:
            return cut(f"{begin}{self._body(room)}", width).rstrip()
        body = self._body(room - cells(place) - 2)
        gap = max(2, width - cells(begin) - cells(body) - cells(place))
        return f"{begin}{body}{' ' * gap}{place}"

    def _body(self, room: int) -> str:
        head, text, end = visible(self.head), visible(self.text), visible(self.end)
        fixed = cells(head) + cells(end) + bool(head) + bool(end)
        if text:
            left = max(room - fixed, _LEAST)
            text = cut(text, left) if self.keeps == "begin" else cut_before(text, left)
        return cut(" ".join(part for part in (head, text, end) if part), room)


def _wrapped(text: str, room: int) -> Iterator[str]:
    """A text in lines of so many columns, cut between words where that can be."""
    while text:
        head = _head(text, room) if cells(text) > room else text
        if len(head) < len(text) and (space := head.rfind(" ")) > 0:
            head = head[:space]
        yield head
        text = text[len(head) :].lstrip(" ")


def cells(text: str) -> int:
    """How many columns a text takes in a terminal; a joined emoji may take fewer."""
    if text.isascii():
        return len(text)
    return sum(map(_width, text))


def _width(c: str) -> int:
    if c.isascii():
        return 1
    if c == "\ufe0f":  # it makes a narrow character before it an emoji, which is wide
        return 1
    if unicodedata.category(c) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(c) in "WF" else 1


def cut(text: str, room: int) -> str:
    """The beginning of a text, in at most so many columns."""
    return text if cells(text) <= room else _head(text, max(room - 1, 0)) + "…"


def cut_before(text: str, room: int) -> str:
    """The end of a text, in at most so many columns."""
    return text if cells(text) <= room else "…" + _head(text[::-1], max(room - 1, 0))[::-1]


def _head(text: str, room: int) -> str:
    used = 0
    for number, c in enumerate(text):
        used += _width(c)
        if used > room:
            return text[:number]
    return text
