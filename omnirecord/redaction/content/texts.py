"""Masks the texts in a stream, a WebSocket or a body, and follows each text from event to event.

A string may continue the last string of its key or begin a new text: the next message has the same key. If that may
matter, the string is read both ways, and a character that either reading masks is masked. That is always so for a
string with a complete prefix. After an event that may end or begin a text, it is also so for a split prefix.

`BodyMask` masks a body while it passes, as one text. The output has the length of the input.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain

from . import fields, labels
from .fields import Span
from .scanner import PLAIN, Scanner, State
from .strings import Shape, Strings, cut_off, in_place, masked, parted, shape, strings, undone

_TEXT_BEGINS = re.compile(rb'[:\[][ \t]{0,6}"|(?<=data:) ?')
_LONGEST_BEGIN = 8
_PIECE = 64 * 1024
"""Bytes of a body per step: a body may be large, and its parsed form is larger."""


class BodyMask:
    """Masks one body in pieces: `feed` returns the bytes that can be written, `close` the rest.

    `begun`: states of open texts that any string here may continue; a character is masked if any of them masks it.
    `holds`: hold back a split escape until its rest arrives; otherwise its beginning is returned unchanged. `goes_on`:
    the first byte may also be in the middle of such a text.
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
        self._field = fields.NOTHING  # in the raw bytes: no level of JSON in JSON is decoded
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
        given = 0 if self._holds else len(self._cut)
        size = len(raw) - cut_off(raw)
        whole = raw[:size]
        self._cut = raw[size:]
        out = self._masked(whole)
        return out[given:] if self._holds else (out + self._cut)[given:]

    def close(self) -> bytes:
        rest = self._cut
        self._cut = b""
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
        at = 0
        known = len(self._before)
        for match in _TEXT_BEGINS.finditer(self._before + text):
            if match.end() > known:
                found += self._gone_on(text, at, match.end() - known)
                self._going_on = list(self._begun)
                at = match.end() - known
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


LINE = 64 * 1024
"""Longest event or message whose strings are checked one by one, in bytes."""
_FIELDS = 1024
"""Most texts that are followed at a time."""
_CAREFUL_FOR = 1000
"""Number of values after a loss in which the start of a new text may be the rest of a secret."""
_BEGUN = 16
"""Most open texts that a string of an unknown text is taken to continue."""
_READINGS = 16
"""Most readings of one text at a time."""
_SHAPES = 64
"""Most shapes of values in the cache."""
_BOUNDARY = re.compile(
    rb"(?:[\w.]*[._])?(?:created|queued|start|started|added|consumed|done|final|stop|end|ended|completed|failed"
    rb"|incomplete|cancelled|interrupted)"
)
_PLAIN_NAME = re.compile(rb"[ \w.\-]*+")
_TYPE_WITHIN = 1024
_TYPE = re.compile(rb'"type"[ \t]*:[ \t]*"([\w.]{1,100})"')


class JsonMask:
    """Masks JSON values in order; their strings may continue each other."""

    def __init__(self, scanner: Scanner, counts: Counter[str]) -> None:
        self._scanner = scanner
        self._counts = counts
        self._states: dict[int, tuple[State, ...]] = {}  # the reading as one text first
        self._first = PLAIN
        self._careful_for = 0
        self._shapes: dict[tuple[bytes, int], Shape] = {}  # of values without secrets, by event and number of parts
        self._has_named = False  # the named secrets of this value are counted

    def lose(self) -> None:
        """Note lost values: the next piece of any text may be the rest of a secret."""
        self._states.clear()
        self._first = self._scanner.unseen
        self._careful_for = _CAREFUL_FOR

    def begun(self) -> list[State]:
        """Return the states of texts whose next piece may belong to a secret."""
        states = chain.from_iterable(self._states.values())
        found = dict.fromkeys(state for state in states if self._scanner.is_begun(state))
        first = [self._first] if self._first is not PLAIN else []
        return [*first, *list(found)[-_BEGUN:]]

    def masked(self, value: bytes, event: bytes = b"", *, is_next_line: bool = False) -> bytes:
        """Return the masked value of an event: JSON, or a piece of a text. `event`: its name."""
        if self._careful_for:
            self._careful_for -= 1
            self._first = self._first if self._careful_for else PLAIN
        found = _TYPE.search(value, 0, _TYPE_WITHIN)
        if _is_boundary(event) or (found is not None and _is_boundary(found[1])):
            self._end_texts()
        if len(value) > LINE:
            return self.flow(self._counts).feed(value)
        parts = parted(value)
        shape = self._shapes.get((event, len(parts))) if parts else None
        if shape is not None and shape.fits(parts):
            return self._like_before(value, parts, shape)
        named = self._named(value)
        return in_place(self._followed(value, event, is_next_line, parts), named)

    def _like_before(self, value: bytes, parts: list[bytes], shape: Shape) -> bytes:
        """Mask a value that differs from a cached one in texts and numbers only."""
        named = self._named(value) if any(labels.may_end(parts[n], parts[n]) for n, _ in shape.texts) else []
        self._has_named = bool(named)
        may_begin = any(self._scanner.may_find(parts[n]) for n, _ in shape.texts)
        is_changed = False
        for n, keys in shape.texts:
            raw = parts[n]
            parts[n] = self._next(raw, keys, may_begin=may_begin)
            is_changed = is_changed or parts[n] is not raw
        return in_place(b'"'.join(parts) if is_changed else value, named)

    def _named(self, value: bytes) -> list[Span]:
        self._has_named = False
        if not labels.may_find(value):
            return []
        named, _ = fields.scan(fields.NOTHING, value)
        self._counts.update(span.kind for span in named if span.begins)
        self._has_named = bool(named)
        return named

    def _followed(self, value: bytes, event: bytes, is_next_line: bool, parts: list[bytes]) -> bytes:
        """Return a value with each string masked as the next piece of its text."""
        may_begin = self._scanner.may_find(value)
        found = strings(value, event, names=may_begin)
        if found is None:
            key = hash(event)
            if is_next_line:
                self._next(b"\n", (key,))
            return self._next(value, (key,), may_begin=may_begin)
        if parts and not may_begin:
            self._remember(value, event, parts, found)
        out = []
        at = 0
        for start, end, keys in found:
            raw = value[start:end]
            safe = self._next(raw, keys, may_begin=may_begin)
            if safe is not raw:
                out += [value[at:start], safe]
                at = end
        return b"".join([*out, value[at:]]) if out else value

    def _remember(self, value: bytes, event: bytes, parts: list[bytes], found: Strings) -> None:
        """Cache the shape of a value without a complete prefix and without a secret's name."""
        last = self._shapes.get((event, len(parts)))
        missed = last.missed if last is not None else 0
        if missed & (missed - 1):
            return  # a value that differs each time, as ids do, is tried less and less often
        if labels.may_find(value) or (new := shape(parts, found)) is None:
            return
        if len(self._shapes) >= _SHAPES:
            self._shapes.clear()
        new.missed = missed
        self._shapes[event, len(parts)] = new

    def flow(self, counts: Counter[str], *, goes_on: bool = False) -> BodyMask:
        """Return a mask for bytes of an unknown text; `goes_on`: from the first byte on."""
        return BodyMask(self._scanner, counts, self.begun(), holds=False, goes_on=goes_on)

    def alone(self, raw: bytes) -> bytes:
        """Return a masked text that no string continues."""
        if _PLAIN_NAME.fullmatch(raw) and b"--" not in raw and not self._scanner.may_find(raw):
            return raw
        named = self._named(raw)
        return in_place(self._next(raw, ()), named)

    def _end_texts(self) -> None:
        """Note that the next piece of any text may begin a new text, or continue."""
        kept = {}
        for key, states in self._states.items():
            begun = tuple(state for state in states if self._scanner.is_begun(state))
            if begun or self._careful_for:
                kept[key] = (*begun, PLAIN)
        self._states = kept

    def _next(self, raw: bytes, keys: tuple[int, ...], *, may_begin: bool = False) -> bytes:
        """Return the masked next piece of a text. `keys`: texts it may continue; `may_begin`: it may hold a prefix."""
        text = undone(raw)
        spans = []
        for key in keys or (None,):
            before = (PLAIN,) if key is None else self._states.pop(key, (self._first,))
            if PLAIN not in before and (may_begin or labels.may_find(text)):
                before = (*before, PLAIN)
            after = []
            for state in before:
                found, state = self._scanner.scan(state, text)
                spans += found
                after.append(state)
            if key is not None:
                self._states[key] = (after[0],) if len(after) == 1 else self._worth_it(after)
        if len(self._states) > _FIELDS:
            del self._states[next(iter(self._states))]
        if not spans:
            return raw
        begun = {(span.start, span.kind): span for span in spans if span.begins}.values()
        self._counts.update(span.kind for span in begun if not (self._has_named and span.named))
        return masked(raw, spans)

    def _worth_it(self, readings: Iterable[State]) -> tuple[State, ...]:
        """Return the first state, those with a possible open secret, and one of the other states, which are alike."""
        first, *more = dict.fromkeys(readings)
        kept = []
        needs_plain = self._scanner.is_begun(first)
        for one in more:
            is_begun = one == PLAIN or self._scanner.is_begun(one)
            if is_begun or needs_plain:
                kept.append(one)
                needs_plain = needs_plain and is_begun
        return (first, *kept[-_READINGS:])


@lru_cache(256)
def _is_boundary(name: bytes) -> bool:
    """Whether a text may end or begin with an event of this name."""
    return _BOUNDARY.fullmatch(name) is not None
