"""A body masked as it passes, as one text: what comes out is as long as what came in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from . import fields
from .escapes import cut_off, in_place, masked, undone
from .fields import Span
from .scanner import PLAIN, Scanner, State

_TEXT_BEGINS = re.compile(rb'[:\[][ \t]{0,6}"|(?<=data:) ?')
_LONGEST_BEGIN = 8
_PIECE = 64 * 1024
"""How much is looked at at a time, in bytes: a body may be large, and what is made of it is larger."""


class Flow:
    """`feed` returns what can be written by now, `close` the rest.

    `begun`: where texts stand of which any string in here may be the next piece; each is then taken for that of all,
    and masked where any of them would be. `holds`: an escape that is cut in two is held back until the rest is there;
    else its beginning is given out as it is. `goes_on`: the first byte, too, may be in the middle of such a text.
    """

    def __init__(
        self,
        scanner: Scanner,
        counts: Counter[str],
        begun: Sequence[State] = (),
        *,
        holds: bool = True,
        goes_on: bool = False,
    ) -> None:
        self._scanner = scanner
        self._counts = counts
        self._holds = holds
        self._state = PLAIN
        self._strict = goes_on
        self._field = fields.NOTHING  # in the bytes as they stand: of JSON in JSON, no level is undone
        self._begun = begun
        self._going_on: list[State] = list(begun) if goes_on else []
        self._before = b""
        self._cut = b""

    def feed(self, data: bytes) -> bytes:
        if len(data) <= _PIECE:
            return self._fed(data)
        return b"".join(self._fed(data[at : at + _PIECE]) for at in range(0, len(data), _PIECE))

    def _fed(self, data: bytes) -> bytes:
        raw = self._cut + data
        given, size = 0 if self._holds else len(self._cut), len(raw) - cut_off(raw)
        whole, self._cut = raw[:size], raw[size:]
        out = self._masked(whole)
        return out[given:] if self._holds else (out + self._cut)[given:]

    def close(self) -> bytes:
        rest, self._cut = self._cut, b""
        return rest if self._holds else b""

    def _masked(self, raw: bytes) -> bytes:
        text = undone(raw)
        spans, self._state = self._scanner.scan_kinds(self._state, text)
        named, self._field = fields.scan(self._field, raw, strict=self._strict)
        if self._begun:
            spans += self._spans_of_begun(text)
        for span in (*spans, *named):
            self._counts[span.kind] += span.begins
        return in_place(masked(raw, spans), named)

    def _spans_of_begun(self, text: bytes) -> list[Span]:
        found: list[Span] = []
        at, known = 0, len(self._before)
        for match in _TEXT_BEGINS.finditer(self._before + text):
            if match.end() > known:
                found += self._gone_on(text, at, match.end() - known)
                self._going_on, at = list(self._begun), match.end() - known
        found += self._gone_on(text, at, len(text))
        self._before = (self._before + text)[-_LONGEST_BEGIN:]
        return found

    def _gone_on(self, text: bytes, start: int, end: int) -> list[Span]:
        found: list[Span] = []
        states = []
        for state in self._going_on:
            spans, state = self._scanner.scan(state, text[start:end], strict=True)
            found += [Span(start + one.start, start + one.end, one.kind, False, one.mark) for one in spans]
            states.append(state)
        self._going_on = states
        return found
