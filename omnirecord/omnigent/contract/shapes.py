"""What a valid event looks like but for its words and numbers: nearly all that a stream brings has been seen before.

1. A shape is learnt from a valid frame: the same bytes, but for those strings and numbers of which the models say that
   any will do. So whatever matches one is as valid as that frame was: nothing is taken that would not have been. What
   does not match is judged as if there were no shapes.
2. A string that a model lists, tests or converts (`"running"`, a number in a string) is kept as it was. So is every
   name, so no key comes twice that did not; and every null, flag and space.
3. Strings match with escapes and with any bytes above ASCII (what is no UTF-8 is decoded to U+FFFD, a letter like
   others), but not with a lone surrogate; numbers only where they are short, finite and written as usual.
4. What is kept is bounded, whatever comes. Nothing here raises.

A frame's shapes are looked up by its first line, which names the event; where there is none, by its `type`.
"""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel

from ...wire.sse import BLANK_LINE, data_start

LONGEST = 4096
"""The largest frame that is looked up, in bytes: beyond that, parsing is quicker."""
_LONGEST_LEARNT = 1024
_SEEN = 32
"""How many valid events without a shape it takes to learn one: that costs as much as judging some hundred."""
_MOST_SHAPES = 8
"""Of frames with the same first line, or the same type."""
_MOST_KEYS = 150
"""With shapes; as many are kept that may get some."""
_TOGETHER = 64
"""Frames of a shape that are looked for at once."""
_ROOM = 128 * 1024
"""Bytes of frames that shapes may be made of: they take up to a hundred times as many."""

_with_blank_line = len(BLANK_LINE).__add__
_PAIR = rb"[dD](?:[0-7][0-9a-fA-F]{2}|[89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
_ESCAPE = rb'\\(?:["\\/bfnrt]|u(?:[0-9a-cA-CefEF][0-9a-fA-F]{3}|' + _PAIR + rb"))"
_STRING = rb'"[^"\\\x00-\x1f]*+(?:' + _ESCAPE + rb'[^"\\\x00-\x1f]*+)*+"'
_INTEGER = rb"(?:0|-?+[1-9][0-9]{0,14}+)"
_FLOAT = rb"-?+(?:0|[1-9][0-9]{0,14}+)\.[0-9]{1,17}+"
_KINDS = {str: re.compile(_STRING), int: re.compile(_INTEGER), float: re.compile(_FLOAT)}
_TOKEN = re.compile(rb'[ \t]+|[{}\[\],:]|"(?:[^"\\]|\\.)*"|[^ \t{}\[\],:"]+')

Match = Callable[[bytes, int], object]
Annotation = Any
"""What a model says of a place: a type, a union of types, `Any`. None says nothing that is understood here."""


class Shape(NamedTuple):
    """How frames begin, to the byte; what the rest of them matches, from `at` on; the type of their events; and the
    pattern of that rest."""

    head: bytes
    at: int
    match: Match
    type: str
    rest: bytes

    def run(self, data: bytes, start: int) -> list[int]:
        """How long the frames of this shape are that begin at `start` and follow each other."""
        lengths: list[int] = []
        while more := self._some(data, start):
            lengths += more
            start += sum(more)
        return lengths

    def _some(self, data: bytes, start: int) -> list[int]:
        """The same of the first few. To compare their heads is faster than an expression in which these stand; so it
        passes over them, and over those that are other ones, which is why it is not asked for all."""
        found = _any_head(self.at, self.rest).match(data, start)
        frames = data[start : found.end() if found else start].split(BLANK_LINE)
        has_head = list(map(bytes.startswith, frames, repeat(self.head)))  # without a call in Python
        return list(map(_with_blank_line, map(len, frames[: has_head.index(False)])))  # the last is what is behind them


@functools.lru_cache(maxsize=_MOST_SHAPES)
def _any_head(at: int, rest: bytes) -> re.Pattern[bytes]:
    """What matches some frames of a shape, and what only begins otherwise."""
    return re.compile(b"(?:(?s:.{%d})%s){0,%d}+" % (at, rest, _TOGETHER))


class _Alike:
    """The shapes of frames with the same first line."""

    __slots__ = ("seen", "shapes")

    def __init__(self) -> None:
        self.seen = 0
        self.shapes: tuple[Shape, ...] = ()


class Shapes:
    """The shapes of one contract. `model_of`: the model that says which values of a type's events are free; None where
    something else says more about them.
    """

    def __init__(self, model_of: Callable[[str], Annotation]) -> None:
        self._model_of = model_of
        self._known: dict[bytes, _Alike] = {}
        self._keys = 0  # how many of those have shapes
        self._room = _ROOM
        self.last = Shape(b"\n", 0, lambda _raw, _at: None, "", rb"(?!)")
        """The one that fitted last: whoever tries it first is spared the looking up."""

    def type_of(self, raw: bytes) -> str | None:
        """The type of the event in a whole frame of at most `LONGEST` bytes, if that has the shape of a valid one."""
        alike = self._known.get(_key(raw))
        if alike is not None:
            for shape in alike.shapes:
                head, at, match, type_, _ = shape
                if raw.startswith(head) and match(raw, at):
                    self.last = shape
                    return type_
        return None

    def missed(self, raw: bytes) -> bool:
        """A valid frame had no shape. Whether it is time to `learn` it."""
        if len(raw) > _LONGEST_LEARNT or not raw.startswith((b"event: ", b"data: ")):
            return False
        alike = self._alike(_key(raw))
        alike.seen += 1
        return alike.seen % _SEEN == 0 and not self._is_full(alike) and len(raw) <= self._room

    def _is_full(self, alike: _Alike) -> bool:
        return len(alike.shapes) >= _MOST_SHAPES if alike.shapes else self._keys >= _MOST_KEYS

    def learn(self, raw: bytes, type_: str) -> None:
        """Take the shape of a frame that is surely valid, and of that type."""
        alike, shape = self._alike(_key(raw)), _shape(raw, type_, self._model_of(type_))
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
    """The first line, with its end; where that is the data, what it seems to say of its `type`, without one."""
    at = raw.find(b"\n") + 1
    if at < len(raw) - 1:
        return raw[:at]
    at = raw.find(b'"type"')
    return raw[at : raw.find(b",", at)].rstrip()


def _shape(raw: bytes, type_: str, model: Annotation) -> Shape | None:
    """None where nothing is known of its model."""
    at = start = data_start(raw)
    if model is None or not start:
        return None
    pattern: list[bytes] = []
    for token, place in _tokens(raw[start:-2], model):
        free = _free(token, place)
        if free or pattern:
            pattern.append(free or re.escape(token))
        else:
            at += len(token)
    pattern.append(re.escape(raw[-2:] if pattern else raw[at:]))
    rest = b"".join(pattern)
    return Shape(raw[:at], at, re.compile(rest).fullmatch, type_, rest)


def _free(token: bytes, place: Annotation) -> bytes | None:
    """The pattern of all the values that are as good as this one at that place; None where there are no others."""
    for kind, pattern in _KINDS.items():
        if pattern.fullmatch(token):
            good = (kind, float) if kind is int else (kind,)
            return pattern.pattern if any(one is Any or one in good for one in _members(place)) else None
    return None


def _tokens(data: bytes, model: Annotation) -> Iterator[tuple[bytes, Annotation]]:
    """The tokens of a JSON object, each with what the model says of its place; of names nothing is said."""
    above: list[tuple[Annotation, bool]] = []  # what is open: its annotation, and whether it is an object
    place, is_name = model, False
    name = b""
    for token in _TOKEN.findall(data):
        first = token[:1]
        if first in b"{[":
            above.append((place, first == b"{"))
            place, is_name = _element(place), first == b"{"
        elif first in b"}]":
            above.pop()
        elif first == b",":
            place, is_name = _element(above[-1][0]), above[-1][1]
        elif first == b":":
            place, is_name = _field(above[-1][0], name), False
        if first == b'"' and is_name:
            name = token[1:-1]
        yield token, None if is_name else place


def _origin(annotation: Annotation) -> Any:
    return get_origin(annotation)


def _members(annotation: Annotation) -> tuple[Annotation, ...]:
    return get_args(annotation) if _origin(annotation) in (Union, types.UnionType) else (annotation,)


def _field(annotation: Annotation, name: bytes) -> Annotation:
    """What is said of a field of an object; None where there are several ways to read the object, or none."""
    found = [one for one in _members(annotation) if _is_object(one)]
    if len(found) != 1 or b"\\" in name:  # `"t\u0079pe"` is the type as well
        return None
    return _field_of(found[0], name.decode("utf-8", "replace"))


def _is_object(annotation: Annotation) -> bool:
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation is Any or _origin(annotation) is dict or is_model


def _field_of(annotation: Annotation, name: str) -> Annotation:
    if annotation is Any:
        return Any
    if _origin(annotation) is dict:
        return get_args(annotation)[1]
    field = annotation.model_fields.get(name)
    if field is None:
        return Any if annotation.model_config.get("extra") == "allow" else None
    return None if field.metadata or field.alias else field.annotation


def _element(annotation: Annotation) -> Annotation:
    """What is said of the elements of an array, likewise."""
    found = [one for one in _members(annotation) if one is Any or _origin(one) is list]
    if len(found) != 1:
        return None
    return Any if found[0] is Any else get_args(found[0])[0]
