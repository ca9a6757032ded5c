"""Text cut into lines of a terminal's width. What it is given is made harmless here, whatever was done before."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from ...text import visible

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
            head = _head_of(word, room)
            yield head
            word = word[len(head) :]
        begun, used = begun + word, used + cells(word)
    yield begun


def _head_of(word: str, room: int) -> str:
    """As much of a word as fits."""
    used = 0
    for number, c in enumerate(word):
        used += cells(c)
        if used > room:
            return word[: max(number, 1)]
    return word


def cells(text: str) -> int:
    """How many columns a text takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)
