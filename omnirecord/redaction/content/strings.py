r"""Finds the strings of a JSON value in its bytes, and those that belong to one text; decodes and encodes escapes.

Strings of two events belong to one text if their path of names, event type and ids (`item_id`, `output_index` and so
on) are equal. Some ids may belong to the event (`id`) or count the pieces (`index` beside a terminal's deltas). Then a
string has two keys, with and without that id. Invalid JSON is read as far as possible.

Escapes are decoded, so that a secret with escapes is found, and they are never split.

A text between quotes (`raw`) becomes one byte per character. What is masked in it becomes `*` again in
`raw`: same length, and an escape stays one (`\u0041` becomes `\u002a`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from .fields import Span

_TOKEN = re.compile(rb'"((?:[^"\\]+|\\.)*+)"([ \t\r\n]*+:)?|([{\[])|([}\]])|([^\s"{}\[\],:]++)|(".*+)', re.DOTALL)
_SAME_TEXT = re.compile(
    rb"type|index|(?:item|message|response|call|tool_call|part|block|session|conversation|agent|run|thread|task|turn"
    rb"|step|elicitation|child_session)_?[iI]d|(?:toolCall|childSession)Id"
    rb"|(?:output|content|summary|choice|candidate|item|part|block|tool_call|toolCall)(?:_index|Index)"
)
_PERHAPS = re.compile(rb"(?:[A-Za-z_]*_)?(?:id|index)|[a-z][A-Za-z]*(?:Id|Index)")
_MAY_BE_JSON = re.compile(rb'[ \t]*+[{\["]')
_PLAIN = re.compile(rb"-?(?:[0-9][0-9.eE+-]*+|Infinity)|true|false|null|NaN")
_NO_ID = (b"null", b"true", b"false")
_STRING, _NAME, _OPENS, _CLOSES, _OTHER = range(1, 6)
_LONGEST_ID = 200
_LONGEST_ALIKE = 4096
_DIGITS = b"0123456789"
_NUMBER = re.compile(rb"[ \t]*+:[ \t]*+[0-9]++[ \t]*+[,}][^0-9]*+")


@lru_cache(4096)
def _tells(name: bytes) -> str:
    """Return what a field of this name says about the text beside it."""
    if _SAME_TEXT.fullmatch(name):
        return "which"
    return "perhaps" if _PERHAPS.fullmatch(name) else ""


def parted(value: bytes) -> list[bytes]:
    """Return a value split at its quotes, so that every other part is a string; an empty list if that is not easy."""
    if len(value) > _LONGEST_ALIKE or b'\\"' in value:
        return []
    parts = value.split(b'"')
    return parts if len(parts) % 2 else []


class Shape:
    """The common parts of similar values: all but texts and whole numbers. A text is the value of a name in an object,
    so nothing beside it belongs to it. If neither the text nor the rest has a secret, the value has none."""

    def __init__(self, parts: list[bytes], texts: dict[int, tuple[int, ...]]) -> None:
        """`texts`: the keys of the parts that are texts."""
        self._parts = parts
        self.missed = 0  # consecutive values that did not fit
        self.texts = list(texts.items())
        self._numbers = [(n, parts[n].translate(None, _DIGITS)) for n in range(2, len(parts), 2) if _counts(parts, n)]

    def fits(self, parts: list[bytes]) -> bool:
        known = self._parts
        for n, rest in self._numbers:
            if parts[n].translate(None, _DIGITS) != rest:
                self.missed += 1
                return False
            known[n] = parts[n]
        for n, _ in self.texts:
            known[n] = parts[n]
        self.missed = 0 if known == parts else self.missed + 1
        return not self.missed


def _counts(parts: list[bytes], n: int) -> bool:
    """Whether this part is a number that distinguishes no texts."""
    name = parts[n - 1]
    return _NUMBER.fullmatch(parts[n]) is not None and name != b"index" and not _tells(name[: _LONGEST_ID + 1])


def shape(parts: list[bytes], found: Strings) -> Shape | None:
    """Return the shape of a value with these parts and these strings; None if it has none."""
    places = {}
    at = 0
    for n, part in enumerate(parts):
        places[at] = n
        at += len(part) + 1
    texts = {places[start]: keys for start, _, keys in found}
    stand_alone = all(parts[n - 1].strip() == b":" and parts[n + 1].lstrip()[:1] in (b",", b"}") for n in texts)
    return Shape(parts, texts) if stand_alone else None


@dataclass(slots=True, eq=False)
class _Place:
    """An object or a list: its path, and the ids in it."""

    above: _Place | None
    name: bytes
    ids: list[tuple[bytes, bytes]] = field(default_factory=list)
    more_ids: list[tuple[bytes, bytes]] = field(default_factory=list)
    sure: int = 0
    wide: int = 0

    def take_id(self, name: bytes, value: bytes) -> bool:
        """Whether that is an id or a similar field."""
        tells = _tells(name) if len(name) <= _LONGEST_ID else ""
        if name == b"index" and self.above is not None and self.above.above is None:  # in the outermost object
            tells = "perhaps"  # it may count the pieces of a text, or the texts of a response
        if tells and value not in _NO_ID and len(value) <= _LONGEST_ID:
            (self.ids if tells == "which" else self.more_ids).append((name, value))
        return tells != ""

    def settle(self) -> None:
        """Make the keys of the strings in it, once all ids are known."""
        above_sure, above_wide = (self.above.sure, self.above.wide) if self.above else (0, 0)
        ids = tuple(sorted(self.ids))
        self.sure = hash((above_sure, self.name, ids))
        if self.more_ids or above_wide != above_sure:
            self.wide = hash((above_wide, self.name, ids, tuple(self.more_ids)))
        else:
            self.wide = self.sure


Leak = tuple[int, int, "_Place | None", bytes]
Strings = list[tuple[int, int, tuple[int, ...]]]


def strings(value: bytes, event: bytes, *, names: bool = True) -> Strings | None:
    """Return all strings of a JSON value in order, as `value[start:end]`, each with the keys of texts it may continue.
    Names and ids have no keys. `event`: the name of the event beside its value. Without `names`, only strings with keys
    are returned. None if the value holds anything but strings, numbers and the like."""
    places, found = _read(value, event, names) if _MAY_BE_JSON.match(value) else ([], None)
    if found is None:
        return None
    for place in places:
        place.settle()
    return [(start, end, _keys(place, name)) for start, end, place, name in found]


def _keys(place: _Place | None, name: bytes) -> tuple[int, ...]:
    if place is None:
        return ()
    sure = hash((place.sure, name))
    return (sure,) if place.sure == place.wide else (sure, hash((place.wide, name)))


def _read(value: bytes, event: bytes, names: bool) -> tuple[list[_Place], list[Leak] | None]:
    place = _Place(None, event)
    name = b""
    places = [place]
    found = list[Leak]()
    above: list[tuple[_Place, bytes]] = []
    for token in _TOKEN.finditer(value):
        what = token.lastindex
        if what == _NAME:
            name = token[1]
            if names:
                found.append((*token.span(1), None, b""))
        elif what == _STRING:
            is_id = place.take_id(name, token[1])
            if names or not is_id:
                found.append((*token.span(1), None if is_id else place, name))
        elif what == _OPENS:
            above.append((place, name))
            place = _Place(place, name)
            name = b""
            places.append(place)
        elif what == _CLOSES:
            place, name = above.pop() if above else (place, name)
        elif what == _OTHER:
            if not _PLAIN.fullmatch(token[_OTHER]):
                return [], None
            place.take_id(name, token[_OTHER])
        else:
            found.append((token.start() + 1, token.end(), place, name))
    return places, found


_ESCAPE = re.compile(rb'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_CUT = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_UNIT = re.compile(rb'\\u[0-9a-fA-F]{4}|\\["\\/bfnrt]|.', re.DOTALL)
_MEANS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_BEYOND = b"\x80"
_LONGEST = 6


def undone(raw: bytes) -> bytes:
    """Return one byte for each byte or escape of `raw`."""
    return _ESCAPE.sub(_meaning, raw) if b"\\" in raw else raw


def _meaning(escape: re.Match[bytes]) -> bytes:
    if escape[1] is None:
        return _MEANS.get(escape[2], escape[2])
    code = int(escape[1], 16)
    return bytes([code]) if code < 0x80 else _BEYOND


def masked(raw: bytes, spans: Sequence[Span]) -> bytes:
    """Return `raw` with these characters of `undone(raw)` masked; spans may overlap."""
    if not spans or b"\\" not in raw:
        return in_place(raw, spans)
    hidden = {n: span.mark for span in spans for n in range(span.start, span.end)}
    units = (unit[0] for unit in _UNIT.finditer(raw))
    return b"".join(_mask(unit, hidden[n]) if n in hidden else unit for n, unit in enumerate(units))


def in_place(raw: bytes, spans: Sequence[Span]) -> bytes:
    """Return `raw` with these bytes masked."""
    if not spans:
        return raw
    out = bytearray(raw)
    for span in spans:
        out[span.start : span.end] = span.mark * (span.end - span.start)
    return bytes(out)


def _mask(unit: bytes, mark: bytes) -> bytes:
    if unit.startswith(b"\\u"):
        return b"\\u00%02x" % mark[0]
    return unit if len(unit) > 1 else mark


def cut_off(raw: bytes) -> int:
    """Return the number of bytes at the end of `raw` that begin an incomplete escape."""
    found = _CUT.search(raw, max(0, len(raw) - _LONGEST))
    if found is None:
        return 0
    before = raw[: found.start()]
    is_escaped = (len(before) - len(before.rstrip(b"\\"))) % 2
    return 0 if is_escaped else len(found[0])
