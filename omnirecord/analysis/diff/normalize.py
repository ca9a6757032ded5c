"""What differs from run to run and means nothing: ids, times, temporary folders, counters of the wire.

`Normal.of` replaces them by marks, so that what is left can be compared; the ids that it took out are compared by
`Ids`, which allows each id of one side exactly one on the other.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any, Literal

from ...wire.strict_json import MalformedError, parse

Role = Literal["", "noise", "id", "time", "length"]
ID, TIME = "\0id", "\0time"
"""The marks: no text that was recorded as JSON is likely to have them."""
_NOISE = frozenset({"sequence_number", "last_event_seq", "stream_epoch", "epoch"})
_LENGTHS = frozenset({"duration", "elapsed", "latency"})
_LONG = 16
"""From how many characters on the value of an id's field is one, though it has no digit."""
_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_IDS = (
    r"(?<![\w-])(?:[A-Za-z]{2,24}_)*(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{32})(?![\w-])"
    r"|(?<![\w-])(?:[A-Za-z]{2,24}_)+(?=[a-f]*\d)[0-9a-f]{8,64}(?![\w-])"
    r"|(?<![\w-])(?:call|toolu|msg|resp|conv|run|item)_(?=[A-Za-z]*\d)[0-9A-Za-z]{8,64}(?![\w-])"
    r"|(?<![\w/])(?:/private)?/(?:var/)?tmp/(?:[\w.@+-]+/)+|(?<![\w/])(?:/private)?/var/folders/(?:[\w.@+-]+/)+"
    r"|(?<!\w)tmp[a-z0-9_]{8}(?!\w)"
)
"""Ids of known shapes, and temporary folders, whose names are as random; the name of a file in one counts."""
_TIMES = (
    r"(?<!\d)\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?"
    rf"|(?<!\w){_MONTH} +\d{{1,2}} +(?:\d\d:\d\d(?::\d\d)?(?: [A-Z]{{3,4}})?(?: \d{{4}})?|\d{{4}})(?!\w)"
)
_ID = re.compile(_IDS)
_ID_OR_TIME = re.compile(f"(?P<id>{_IDS})|{_TIMES}")
_DIGIT = re.compile("[0-9]")
_PERHAPS = re.compile(r"^[{\[]|[0-9]|tmp|/var/folders/")
"""What all of them have, or JSON at its beginning, in which there may be some."""
_SHORTEST = 8
"""No id and no time is shorter."""


@functools.lru_cache(maxsize=4096)
def role(name: str) -> Role:
    """What the value of a field means, by its name."""
    if name in _NOISE:
        return "noise"
    if name == "id" or name.endswith(("_id", "_ids", "Id")):
        return "id"
    if name.endswith(("_at", "_time", "timestamp")):
        return "time"
    return "length" if _is_length(name) else ""


def _is_length(name: str) -> bool:
    """Returns whether a field's value is a duration: `elapsed`, `tool_duration_s`, `delay`, `timeout_ms`."""
    words = name.split("_")
    return words[0] == "delay" or (len(words) > 1 and words[-1] == "ms") or not _LENGTHS.isdisjoint(words)


def is_absent(value: Any, name: str) -> bool:
    """Whether a field says nothing: null is the same as no field."""
    return value is None or role(name) == "noise"


class Normal:
    """Normalises values, and gathers the ids in them in `ids`, in an order that only the meaning decides."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def of(self, value: Any, name: str = "") -> Any:
        """A JSON value without what means nothing. `name`: the field that it is the value of."""
        kind = type(value)
        if kind is str:
            return self._named(value, role(name))
        if kind is dict:
            return self._dict(value)
        if kind is list:
            return [self.of(item, name) for item in value]
        return _number(value, role(name))

    def _dict(self, value: dict[str, Any]) -> dict[str, Any]:
        """Its fields in the order of their names, so that it is written alike whatever order they came in."""
        made = {}
        for key in sorted(value):
            one = value[key]
            if one is None or (meaning := role(key)) == "noise":
                continue
            if meaning == "" and type(one) is str and not _PERHAPS.search(one):
                made[key] = one  # most of what there is: no call for each
            else:
                made[key] = self.of(one, key)
        return made

    def _named(self, text: str, role: Role) -> Any:
        if role == "id" and (len(text) >= _LONG or _DIGIT.search(text)):
            self.ids.append(text)
            return ID
        if role == "time" and _DIGIT.search(text):
            return TIME
        return self.written(text)

    def written(self, text: str) -> Any:
        """A text in which there may be JSON, as in a tool's arguments and output; else dates count as little."""
        if text[:1] in ("{", "["):
            try:
                return {"\0json": self.of(parse(text)[0])}
            except (MalformedError, RecursionError):
                pass
        return self._replaced(_ID_OR_TIME, text)

    def said(self, text: str) -> str:
        """What somebody said: a date in it is content."""
        return self._replaced(_ID, text)

    def _replaced(self, pattern: re.Pattern[str], text: str) -> str:
        if len(text) < _SHORTEST or not _PERHAPS.search(text):
            return text
        return pattern.sub(self._mark, text)

    def _mark(self, found: re.Match[str]) -> str:
        if found.re is _ID_OR_TIME and found["id"] is None:
            return TIME
        self.ids.append(found[0])
        return ID


def _number(value: Any, role: Role) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if role == "time":
        return TIME
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Ids:
    """Which id of one side is which of the other: one for one."""

    def __init__(self) -> None:
        self._there: dict[str, str] = {}
        self._back: dict[str, str] = {}

    def bind(self, a: str, b: str) -> bool:
        """Whether they are the same, as far as is known; from now on they are."""
        if a not in self._there and b not in self._back:
            self._there[a], self._back[b] = b, a
        return self._there.get(a) == b and self._back.get(b) == a

    def bind_all(self, a: Sequence[str], b: Sequence[str]) -> bool:
        """The same for ids at the same places."""
        bound = [self.bind(one, other) for one, other in zip(a, b, strict=False)]
        return len(a) == len(b) and all(bound)
