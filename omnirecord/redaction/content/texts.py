"""The texts in a stream or a WebSocket, each followed from event to event: where it stands, what is masked of it.

Whether a string goes on with the last one of its key is never certain: the next message has the key of the last one. So
it is read both ways where that may matter, as the next piece and as the first one, and what either masks is masked:
always when a whole prefix is in it, and after an event that may end a text or begin one also when its prefix is split.

A body masked as it passes, as one text: what comes out is as long as what came in.
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
"""How much is looked at at a time, in bytes: a body may be large, and what is made of it is larger."""


class BodyMask:
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


LINE = 64 * 1024
"""The longest event or message of which each string is looked at for itself, in bytes."""
_FIELDS = 1024
"""How many texts are followed at a time."""
_CAREFUL_FOR = 1000
"""In how many values the beginning of a text that was not met before may be the rest of a secret, after a loss."""
_BEGUN = 16
"""As the next piece of how many of them a string is taken while it is not known which it goes on with."""
_READINGS = 16
"""In how many ways one text is read at a time."""
_SHAPES = 64
"""How many shapes of values are remembered."""
_BOUNDARY = re.compile(
    rb"(?:[\w.]*[._])?(?:created|queued|start|started|added|consumed|done|final|stop|end|ended|completed|failed"
    rb"|incomplete|cancelled|interrupted)"
)
_PLAIN_NAME = re.compile(rb"[ \w.\-]*+")
_TYPE_WITHIN = 1024
_TYPE = re.compile(rb'"type"[ \t]*:[ \t]*"([\w.]{1,100})"')


class JsonMask:
    """Masks values in the order in which they came."""

    def __init__(self, scanner: Scanner, counts: Counter[str]) -> None:
        self._scanner = scanner
        self._counts = counts
        self._states: dict[int, tuple[State, ...]] = {}  # what it is as one text first
        self._first = PLAIN
        self._careful_for = 0
        self._shapes: dict[tuple[bytes, int], Shape] = {}  # of values without secrets, by event and number of parts
        self._has_named = False  # of this value, named secrets are counted already

    def lose(self) -> None:
        """Something was not seen: whatever comes next of any text may be the rest of a secret."""
        self._states.clear()
        self._first, self._careful_for = self._scanner.unseen, _CAREFUL_FOR

    def begun(self) -> list[State]:
        """Where those stand of which the next piece may be a secret's."""
        states = chain.from_iterable(self._states.values())
        found = dict.fromkeys(state for state in states if self._scanner.is_begun(state))
        first = [self._first] if self._first is not PLAIN else []
        return [*first, *list(found)[-_BEGUN:]]

    def masked(self, value: bytes, event: bytes = b"", *, is_next_line: bool = False) -> bytes:
        """One event's value: JSON, or a piece of a text. `event`: its name."""
        if self._careful_for:
            self._careful_for -= 1
            self._first = self._first if self._careful_for else PLAIN
        if _is_boundary(value, event):
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
        """A value of which only texts and numbers differ from another one."""
        named = self._named(value) if any(labels.may_end(parts[n]) for n, _ in shape.texts) else []
        self._has_named = bool(named)
        may_begin = any(self._scanner.may_find(parts[n]) for n, _ in shape.texts)
        is_changed = False
        for n, keys in shape.texts:
            raw = parts[n]
            parts[n] = self._next(raw, keys, may_begin=may_begin)
            is_changed = is_changed or parts[n] is not raw
        return in_place(b'"'.join(parts) if is_changed else value, named)

    def _named(self, value: bytes) -> list[Span]:
        """The secrets in a value that are known by names in it."""
        self._has_named = False
        if not labels.needs_search(b"", value):
            return []
        named, _ = fields.scan(fields.NOTHING, value)
        self._counts.update(span.kind for span in named if span.begins)
        self._has_named = bool(named)
        return named

    def _followed(self, value: bytes, event: bytes, is_next_line: bool, parts: list[bytes]) -> bytes:
        """A value with each of its texts masked as the next piece of one."""
        may_begin = self._scanner.may_find(value)
        found = strings(value, event, names=may_begin)
        if found is None:
            key = hash(event)
            if is_next_line:
                self._next(b"\n", (key,))
            return self._next(value, (key,), may_begin=may_begin)
        if parts and not may_begin:
            self._remember(value, event, parts, found)
        out, at = [], 0
        for start, end, keys in found:
            raw = value[start:end]
            safe = self._next(raw, keys, may_begin=may_begin)
            if safe is not raw:
                out += [value[at:start], safe]
                at = end
        return b"".join([*out, value[at:]]) if out else value

    def _remember(self, value: bytes, event: bytes, parts: list[bytes], found: Strings) -> None:
        """The shape of a value without a whole prefix, if no name of a secret is in it."""
        last = self._shapes.get((event, len(parts)))
        missed = last.missed if last is not None else 0
        if missed & (missed - 1):
            return  # what differs each time, as ids do, is tried less and less often
        if labels.needs_search(b"", value) or (new := shape(parts, found)) is None:
            return
        if len(self._shapes) >= _SHAPES:
            self._shapes.clear()
        new.missed = missed
        self._shapes[event, len(parts)] = new

    def flow(self, counts: Counter[str], *, goes_on: bool = False) -> BodyMask:
        """What masks bytes of which it is not known which text they go on with; `goes_on`: from the first on."""
        return BodyMask(self._scanner, counts, self.begun(), holds=False, goes_on=goes_on)

    def alone(self, raw: bytes) -> bytes:
        """A text that nothing goes on with."""
        if _PLAIN_NAME.fullmatch(raw) and b"--" not in raw and not self._scanner.may_find(raw):
            return raw
        named = self._named(raw)
        return in_place(self._next(raw, ()), named)

    def _end_texts(self) -> None:
        """The next piece of any text may be its first. Or it goes on: what ended may have been another one."""
        kept = {}
        for key, states in self._states.items():
            begun = tuple(state for state in states if self._scanner.is_begun(state))
            if begun or self._careful_for:
                kept[key] = (*begun, PLAIN)
        self._states = kept

    def _next(self, raw: bytes, keys: tuple[int, ...], *, may_begin: bool = False) -> bytes:
        """The next piece of a text. `keys`: what it may go on with; `may_begin`: a prefix may be in it."""
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
        """The first of these, those in which something was begun or may be, and one of the others, which are alike."""
        first, *more = dict.fromkeys(readings)
        kept = []
        needs_plain = self._scanner.is_begun(first)
        for one in more:
            is_begun = one == PLAIN or self._scanner.is_begun(one)
            if is_begun or needs_plain:
                kept.append(one)
                needs_plain = needs_plain and is_begun
        return (first, *kept[-_READINGS:])


def _is_boundary(value: bytes, event: bytes) -> bool:
    """Whether a text may end or begin with this event."""
    found = _TYPE.search(value, 0, _TYPE_WITHIN)
    return _says_so(event) or (found is not None and _says_so(found[1]))


@lru_cache(256)
def _says_so(name: bytes) -> bool:
    return _BOUNDARY.fullmatch(name) is not None
