"""A line of a small language, read word by word, and what is said where it cannot be read. Pure."""

from __future__ import annotations

import json
import re
from typing import NoReturn

from ...errors import UsageError
from ...text import clip, dumps

_WORD = re.compile(r"\s*(\S+)")
_SHOWN = 160
"""How much of a text is repeated to whoever wrote it."""


class Words:
    """`what` the text is, and an `example` of one, for whoever wrote it wrong. Keywords are read in any case."""

    def __init__(self, text: str, what: str, example: str) -> None:
        self._text = text
        self._at = 0
        self.what = what
        self.example = example
        if not text.isascii() and text != text.encode("utf-8", "replace").decode():
            raise UsageError(f"the {what} {_quoted(text)} is not UTF-8: write it anew, for instance {example!r}")

    def peek(self) -> str:
        """The next word in lower case; empty at the end."""
        found = _WORD.match(self._text, self._at)
        return found[1].lower() if found else ""

    def take(self) -> str:
        """The next word as it is written; empty at the end."""
        found = _WORD.match(self._text, self._at)
        self._at = found.end() if found else len(self._text)
        return found[1] if found else ""

    def skip(self, *keywords: str) -> bool:
        """Step over these words, if they come next."""
        before = self._at
        if all(self.take().lower() == keyword for keyword in keywords):
            return True
        self._at = before
        return False

    def comes(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """What the pattern makes of the text that comes next."""
        return pattern.match(self._text, self._at)

    def step(self, match: re.Match[str]) -> None:
        """Step over what `comes` found."""
        self._at = match.end()

    def json(self) -> str | None:
        """Take a JSON value that ends at a blank, as its canonical text; None where there is none."""
        found = _WORD.match(self._text, self._at)
        if not found:
            return None
        try:
            value, end = _DECODER.raw_decode(self._text, found.start(1))
            text = dumps(value)
        except (ValueError, RecursionError):
            return None
        if not self._text[end : end + 1].strip():
            self._at = end
            return text
        return None

    def end(self, **hints: str) -> None:
        """Nothing may be left. `hints`: what to say of a word that is."""
        if word := self.peek():
            self.refuse(hints.get(word, "nothing more is expected"))

    def refuse(self, why: str) -> NoReturn:
        """Say that the next word cannot be read."""
        found = _WORD.match(self._text, self._at)
        word = f"{_quoted(found[1])} at character {found.start(1) + 1}" if found else "where it ends"
        raise UsageError(
            f"cannot read the {self.what} {_quoted(self._text)}: {word}, {why}; write for instance {self.example!r}"
        )


def _quoted(text: str) -> str:
    return repr(clip(text, _SHOWN))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(text)
    return value


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
