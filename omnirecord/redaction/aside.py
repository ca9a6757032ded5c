"""Masks `token=…` in text beside the data: comments, ids and event names of a stream, reasons of close frames.

Lengths stay, unless `replace` changes them. Only the characters before a character decide whether it is masked, so the
beginning of a line is masked like the whole line. No I/O.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from .names import is_secret_field, words

_HEAD = re.compile(
    rb"""(?<![\w.\-])(?P<name>[\w.\-]{1,64}+)[ \t]?(?:=|:[ \t])[ \t]{0,4}(?P<quote>["']?)(?=[^\s"'&;,<>])"""
)
_VALUES = {b"": re.compile(rb"""[^\s"'&;,<>]*"""), b'"': re.compile(rb'[^"\r\n]*'), b"'": re.compile(rb"[^'\r\n]*")}
_LINE = re.compile(rb"[^\r\n\"']*")
"""The value of `Authorization` or `Cookie`, which has several words."""
_LONGEST_HEAD = 80


def stars(secret: bytes) -> bytes:
    return b"*" * len(secret)


class Aside:
    """One text: `feed` returns the next piece without secrets. `replace` returns what replaces a piece of a secret."""

    def __init__(self, counts: Counter[str], replace: Callable[[bytes], bytes] = stars) -> None:
        self._counts = counts
        self._replace = replace
        self._before = b""
        self._value: re.Pattern[bytes] | None = None  # matches the rest of an open value
        self._kind = ""

    def feed(self, data: bytes) -> bytes:
        text, at = self._before + data, len(self._before)
        out: list[bytes] = []
        while at < len(text):
            start = at if self._value is not None else self._behind_name(text, at)
            out.append(text[at:start])
            at = self._safe(text, start, out) if start < len(text) else start
        self._before = text[-_LONGEST_HEAD:]
        return b"".join(out)

    def _behind_name(self, text: bytes, at: int) -> int:
        """The start of the next secret, at `at` or later; the end of the text if there is none."""
        for head in _HEAD.finditer(text, max(0, at - _LONGEST_HEAD)):
            if head.end() >= at and is_secret_field(name := head["name"].decode("ascii", "replace")):
                has_words = head["quote"] == b"" and words(name)[-1:] in (("authorization",), ("cookie",))
                self._value, self._kind = _LINE if has_words else _VALUES[head["quote"]], f"text {name.lower()}"
                return head.end()
        return len(text)

    def _safe(self, text: bytes, at: int, out: list[bytes]) -> int:
        assert self._value is not None
        end = self._value.match(text, at).end()  # type: ignore[union-attr]  # it always matches
        out.append(self._replace(text[at:end]))
        if out[-1] != text[at:end]:
            self._counts[self._kind] += 1
        if end < len(text):
            self._value = None
        return end
