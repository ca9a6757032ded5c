"""Shapes of valid events. A frame that differs from a valid one only in free strings and numbers needs no parsing.

1. A shape comes from a valid frame: its bytes, with patterns for the strings and numbers that the models do not check.
   So a frame that matches is as valid as that frame. A frame that does not match is judged as usual.
2. A string that a model lists, tests or converts (`"running"`, a number in a string) is literal in the shape. So are
   names, so that no key comes twice, and null, true, false and white space.
3. Strings match with escapes and any bytes above ASCII, but not with a lone surrogate. The caller passes UTF-8 only.
   Numbers match if they are short, finite and in the usual notation.
4. Memory is bounded. Nothing here raises.

A frame's shapes are found by its first line, which names the event; without one, by its `type`.
"""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple, Union, get_args, get_origin

from ..wire.sse import BLANK_LINE, data_start

LONGEST = 4096
"""Size of a frame that is looked up, at most, in bytes: parsing is faster for larger ones."""
_LONGEST_LEARNT = 1024
_SEEN = 32
"""Number of valid events without a shape after which one is learnt: that costs as much as judging about a hundred."""
_MOST_SHAPES = 8
"""Number of shapes of frames with the same first line, or the same type, at most."""
_MOST_KEYS = 150
"""Number of first lines and types with shapes, at most; as many without shapes are counted."""
_TOGETHER = 64
"""Number of frames of a shape in one pattern."""
_ROOM = 128 * 1024
"""Size of all frames that have become shapes, at most, in bytes: shapes take up to a hundred times as many."""

_with_blank_line = len(BLANK_LINE).__add__
_PAIR = rb"[dD](?:[0-7][0-9a-fA-F]{2}|[89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
_ESCAPE = rb'\\(?:["\\/bfnrt]|u(?:[0-9a-cA-CefEF][0-9a-fA-F]{3}|' + _PAIR + rb"))"
_STRING = rb'"[^"\\\x00-\x1f]*+(?>(?:' + _ESCAPE + rb'[^"\\\x00-\x1f]*+)*)"'
_INTEGER = rb"(?:0|-?+[1-9][0-9]{0,14}+)"
_FLOAT = rb"-?+(?:0|[1-9][0-9]{0,14}+)\.[0-9]{1,17}+"
_KINDS = {str: re.compile(_STRING), int: re.compile(_INTEGER), float: re.compile(_FLOAT)}
_TOKEN = re.compile(rb'[ \t]+|[{}\[\],:]|"(?:[^"\\]|\\.)*"|[^ \t{}\[\],:"]+')

Annotation = Any
"""The annotation of a value in a model: a type, a union of types, `Any`; None if it is not understood here."""


class Shape(NamedTuple):
    """The beginning of frames, literally; the matcher of the rest, from `at` on; the type of their events; and the
    pattern of the rest."""

    head: bytes
    at: int
    match: Callable[[bytes, int], object]
    type: str
    rest: bytes

    def run(self, data: bytes, start: int) -> list[int]:
        """Return the lengths of the consecutive frames of this shape from `start` on, in bytes."""
        lengths: list[int] = []
        while more := self._some(data, start):
            lengths += more
            start += sum(more)
        return lengths

    def _some(self, data: bytes, start: int) -> list[int]:
        """Return the lengths of the first few of them. The pattern takes any head, and the heads are compared
        afterwards: faster than a pattern with the head in it. It also takes frames of other shapes, so it is used for
        `_TOGETHER` frames at a time."""
        found = _any_head(self.at, self.rest).match(data, start)
        frames = data[start : found.end() if found else start].split(BLANK_LINE)
        has_head = list(map(bytes.startswith, frames, repeat(self.head)))  # without a call in Python
        return list(map(_with_blank_line, map(len, frames[: has_head.index(False)])))  # the last is what is behind them


@functools.lru_cache(maxsize=_MOST_SHAPES)
def _any_head(at: int, rest: bytes) -> re.Pattern[bytes]:
    """Return the pattern of frames with the same rest and any head."""
    return re.compile(b"(?>(?:(?s:.{%d})%s){0,%d})" % (at, rest, _TOGETHER))


@dataclass(slots=True)
class _Alike:
    """The shapes of frames with the same first line."""

    seen: int = 0
    shapes: tuple[Shape, ...] = ()


class Shapes:
    """The shapes of one contract. `model_of`: the model that says which values of a type's events are free; None where
    something else says more about them."""

    def __init__(self, model_of: Callable[[str], Annotation]) -> None:
        self._model_of = model_of
        self._known: dict[bytes, _Alike] = {}
        self._keys = 0  # how many of those have shapes
        self._room = _ROOM
        self.last = Shape(b"\n", 0, lambda _raw, _at: None, "", rb"(?!)")
        """The shape that matched last: tried first, it saves the look-up."""

    def type_of(self, raw: bytes) -> str | None:
        """Return the type of the event in a frame of at most `LONGEST` bytes if it has a shape, else None."""
        alike = self._known.get(_key(raw))
        if alike is not None:
            for shape in alike.shapes:
                head, at, match, type_, _ = shape
                if raw.startswith(head) and match(raw, at):
                    self.last = shape
                    return type_
        return None

    def missed(self, raw: bytes) -> bool:
        """Count a valid frame without a shape; return whether to `learn` it."""
        if len(raw) > _LONGEST_LEARNT or not raw.startswith((b"event: ", b"data: ")):
            return False
        alike = self._alike(_key(raw))
        alike.seen += 1
        return alike.seen % _SEEN == 0 and not self._is_full(alike) and len(raw) <= self._room

    def _is_full(self, alike: _Alike) -> bool:
        return len(alike.shapes) >= _MOST_SHAPES if alike.shapes else self._keys >= _MOST_KEYS

    def learn(self, raw: bytes, type_: str) -> None:
        """Add the shape of a valid frame of that type."""
        alike = self._alike(_key(raw))
        shape = _shape(raw, type_, self._model_of(type_))
        if shape is not None:
            self._keys += not alike.shapes
            self._room -= len(raw)
            alike.shapes = (*alike.shapes, shape)

    def _alike(self, key: bytes) -> _Alike:
        alike = self._known.get(key)
        if alike is None:
            if len(self._known) >= 2 * _MOST_KEYS:  # those of which nothing came make room
                self._known = {key: one for key, one in list(self._known.items()) if one.shapes}
            alike = self._known[key] = _Alike()
        return alike


def _key(raw: bytes) -> bytes:
    """Return the key of a frame: its first line with the line end; if that is the data, the part with the `type`."""
    at = raw.find(b"\n") + 1
    if at < len(raw) - 1:
        return raw[:at]
    at = raw.find(b'"type"')
    return raw[at : raw.find(b",", at)].rstrip()


def _shape(raw: bytes, type_: str, model: Annotation) -> Shape | None:
    """Return the shape of a frame; None without a known model."""
    at = start = data_start(raw)
    if model is None or not start:
        return None
    pattern: list[bytes] = []
    for token, place in _tokens(raw[start:-2], model):
        if (free := _free(token, place)) or pattern:
            pattern.append(free or re.escape(token))
        else:
            at += len(token)
    pattern.append(re.escape(raw[-2:] if pattern else raw[at:]))
    rest = b"".join(pattern)
    return Shape(raw[:at], at, re.compile(rest).fullmatch, type_, rest)


def _free(token: bytes, place: Annotation) -> bytes | None:
    """Return the pattern of all values that the model accepts in place of this one; None if there are no others."""
    for kind, pattern in _KINDS.items():
        if pattern.fullmatch(token):
            good = (kind, float) if kind is int else (kind,)
            return pattern.pattern if any(one is Any or one in good for one in _members(place)) else None
    return None


def _tokens(data: bytes, model: Annotation) -> Iterator[tuple[bytes, Annotation]]:
    """Return the tokens of a JSON object, each with the annotation of its place; names have none."""
    above: list[tuple[Annotation, bool]] = []  # what is open: its annotation, and whether it is an object
    place = model
    is_name = False
    name = b""
    for token in _TOKEN.findall(data):
        first = token[:1]
        if first in b"{[":
            above.append((place, first == b"{"))
            place = _element(place)
            is_name = first == b"{"
        elif first in b"}]":
            above.pop()
        elif first == b",":
            place = _element(above[-1][0])
            is_name = above[-1][1]
        elif first == b":":
            place = _field(above[-1][0], name)
            is_name = False
        if first == b'"' and is_name:
            name = token[1:-1]
        yield token, None if is_name else place


class AnyEvent:
    """In place of a model: an event with any values, in which only the `type` is literal."""

    model_config: ClassVar[Mapping[str, str]] = {"extra": "allow"}
    model_fields: ClassVar[Mapping[str, Any]] = {"type": SimpleNamespace(metadata=(), alias=None, annotation=None)}


_origin: Callable[[Annotation], Any] = get_origin


def _members(annotation: Annotation) -> tuple[Annotation, ...]:
    return get_args(annotation) if _origin(annotation) in (Union, types.UnionType) else (annotation,)


def _field(annotation: Annotation, name: bytes) -> Annotation:
    """Return the annotation of a field of an object; None if no model may describe the object, or if several do and
    differ on the field. A model without that field takes any value."""
    if b"\\" in name:  # `"t\u0079pe"` is the type as well
        return None
    objects = filter(_is_object, _members(annotation))
    found = [_field_of(one, name.decode("utf-8", "replace")) for one in objects]
    named = [one for one in found if one is not Any]
    if not found or any(one != named[0] for one in named):
        return None
    return named[0] if named else Any


def _is_object(annotation: Annotation) -> bool:
    return annotation is Any or _origin(annotation) is dict or hasattr(annotation, "model_fields")


def _field_of(annotation: Annotation, name: str) -> Annotation:
    if annotation is Any:
        return Any
    if _origin(annotation) is dict:
        return get_args(annotation)[1]
    field = annotation.model_fields.get(name)
    if field is None:
        return Any if annotation.model_config.get("extra") == "allow" else None
    return None if field.alias or _is_checked(field.metadata) else field.annotation


def _is_checked(metadata: Sequence[Any]) -> bool:
    if not metadata:
        return False
    from .base import ByType

    return any(not isinstance(one, ByType) for one in metadata)


def _element(annotation: Annotation) -> Annotation:
    """Return the annotation of the elements of an array, likewise."""
    found = [one for one in _members(annotation) if one is Any or _origin(one) is list]
    if len(found) != 1:
        return None
    return Any if found[0] is Any else get_args(found[0])[0]
