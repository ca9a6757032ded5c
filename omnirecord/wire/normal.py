"""Removes what differs from run to run without a meaning: ids, times, temporary folders, sequence numbers. Pure.

`Normal.of` replaces them by marks, so that the rest can be compared. `Ids` compares the removed ids: each id of one
side has exactly one partner on the other.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any, Literal

from .strict_json import MalformedError, parse

Role = Literal["", "noise", "id", "time", "length"]
ID = "\0id"
TIME = "\0time"
"""The marks. They hold a NUL, which recorded JSON hardly ever does."""
_NOISE = frozenset({"sequence_number", "last_event_seq", "stream_epoch", "epoch"})
_LENGTHS = frozenset({"duration", "elapsed", "latency"})
_LONG = 16
"""Characters from which the value of an id field counts as an id without a digit."""
_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_WEEKDAY = r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? +)?"
_CLOCK = r"\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?[AP]M)?(?: ?(?:Z|(?:UTC|GMT)?[+-]\d\d:?\d\d|UTC|GMT))?"
_ID = re.compile(
    r"(?<![\w-])(?:[A-Za-z]{2,24}_)*(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{32})(?![\w-])"
    r"|(?<![\w-])(?:[A-Za-z]{2,24}_)+(?=[a-f]*\d)[0-9a-f]{8,64}(?![\w-])"
    r"|(?<![\w-])(?:call|toolu|msg|resp|conv|run|item)_(?=[A-Za-z]*\d)[0-9A-Za-z]{8,64}(?![\w-])"
    r"|(?<![\w/])(?:/private)?/(?:var/)?tmp/(?:[\w.@+-]+/)+|(?<![\w/])(?:/private)?/var/folders/(?:[\w.@+-]+/)+"
    r"|(?<!\w)tmp[a-z0-9_]{8}(?!\w)"
)
"""Ids of known shapes, and temporary folders with random names. A file's name in such a folder is compared."""
_TIME_OF_DAY = (
    rf"(?<!\d)\d{{4}}[-/]\d\d[-/]\d\d(?:[T ]|, ){_CLOCK}"
    rf"|(?<![\d/])\d{{1,2}}/\d{{1,2}}/\d{{4}},? {_CLOCK}"
    rf"|(?<!\w){_WEEKDAY}\d{{1,2}} {_MONTH} \d{{4}},? {_CLOCK}"
    rf"|(?<!\w){_WEEKDAY}{_MONTH} +\d{{1,2}},? \d{{4}},? {_CLOCK}"
    rf"|(?<!\w){_WEEKDAY}{_MONTH} +\d{{1,2}} +\d\d:\d\d(?::\d\d)?(?: [A-Z]{{3,4}})?(?: \d{{4}})?(?!\w)"
)
_TIME = re.compile(rf"{_TIME_OF_DAY}|(?<!\w){_MONTH} +\d{{1,2}} +\d{{4}}(?!\w)")
"""Times of day with their dates, and dates as `ls -l` prints them."""
_TIME_OF_REQUEST = re.compile(_TIME_OF_DAY)
_SHORTEST_ID = 6
"""Least characters of a generated id in a request."""
_MADE_UP = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{32}")
"""A generated id without a prefix, which a client makes up itself."""
_WORD = re.compile(r"\S{7,}")
"""A text without white space. An id is within one; only words with a digit, or in a temporary folder, are searched."""
_DIGIT = re.compile("[0-9]")
_MAY_HOLD_ID = re.compile(r"[0-9]|tmp|/var/folders/|[a-f]{8}")
_PERHAPS = re.compile(r"^[{\[]|[0-9]|tmp|/var/folders/")
"""Every id and time matches this; so does text that may be JSON."""
_SHORTEST = 8
"""Least characters of an id or a time."""


@functools.lru_cache(maxsize=4096)
def role(name: str) -> Role:
    """The meaning of a field's value, by the field's name."""
    if name in _NOISE:
        return "noise"
    if name == "id" or name.endswith(("_id", "_ids", "Id")):
        return "id"
    if name.endswith(("_at", "_time", "timestamp")):
        return "time"
    words = name.split("_")
    # A duration has a name such as `elapsed`, `tool_duration_s`, `delay` or `timeout_ms`.
    is_length = words[0] == "delay" or (len(words) > 1 and words[-1] == "ms") or not _LENGTHS.isdisjoint(words)
    return "length" if is_length else ""


def is_absent(value: Any, name: str) -> bool:
    """Whether a field is ignored: null counts as no field."""
    return value is None or role(name) == "noise"


def is_made_up(value: Any, name: str) -> bool:
    """Whether the value of a field is nothing but a generated id or a time, such as one client adds and another does
    not."""
    if role(name) == "time" and not isinstance(value, dict | list | bool):
        return value is not None
    is_text = isinstance(value, str)
    return is_text and (_MADE_UP.fullmatch(value) or _TIME_OF_REQUEST.fullmatch(value)) is not None


class Normal:
    """Normalises values, and collects their ids in `ids`, in an order that does not depend on the order of keys.

    `of_request`: a date without a time of day, and a very short id, are content: they select an answer.
    """

    def __init__(self, *, of_request: bool = False) -> None:
        self.ids: list[str] = []
        self._of_request = of_request
        self._time = _TIME_OF_REQUEST if of_request else _TIME

    def of(self, value: Any, name: str = "") -> Any:
        """The normalised JSON value. `name`: the field that holds it."""
        kind = type(value)
        if kind is str:
            return self._named(value, role(name))
        if kind is dict:
            return self._dict(value)
        if kind is list:
            return [self.of(item, name) for item in value]
        if kind is bool or value is None:
            return value
        if role(name) == "time":
            return TIME
        return int(value) if kind is float and value.is_integer() else value

    def _dict(self, value: dict[str, Any]) -> dict[str, Any]:
        made = {}
        for key in sorted(value):
            one = value[key]
            if one is None or (meaning := role(key)) == "noise":
                continue
            if meaning == "" and type(one) is str and not _PERHAPS.search(one):
                made[key] = one  # the common case, without a call
            else:
                made[key] = self.of(one, key)
        return made

    def _named(self, text: str, role: Role) -> Any:
        is_short = self._of_request and len(text) < _SHORTEST_ID
        if role == "id" and not is_short and (len(text) >= _LONG or _DIGIT.search(text)):
            self.ids.append(text)
            return ID
        if role == "time" and _DIGIT.search(text):
            return TIME
        return self.written(text)

    def written(self, text: str) -> Any:
        """A normalised text that may hold JSON, such as a tool's arguments. Ids and times are marks."""
        if text[:1] in ("{", "["):
            try:
                return {"\0json": self.of(parse(text)[0])}
            except (MalformedError, RecursionError):
                pass
        return self._without_times(self.said(text), self._time)

    def asked(self, text: str) -> str:
        """A normalised text of a message in a request. Ids and times of day are marks: clients add the current time. A
        date without a time is content."""
        return self._without_times(self.said(text), _TIME_OF_REQUEST)

    def said(self, text: str) -> str:
        """A normalised message text. Only ids are marks: a date in a message is content."""
        if len(text) < _SHORTEST or not _PERHAPS.search(text):
            return text
        return _WORD.sub(self._word, text)

    def _word(self, found: re.Match[str]) -> str:
        word = found[0]
        return _ID.sub(self._mark, word) if _MAY_HOLD_ID.search(word) else word

    def _mark(self, found: re.Match[str]) -> str:
        self.ids.append(found[0])
        return ID

    @staticmethod
    def _without_times(text: str, time: re.Pattern[str]) -> str:
        if len(text) < _SHORTEST or not _DIGIT.search(text):
            return text
        return ID.join(time.sub(TIME, part) for part in text.split(ID))


class Ids:
    """The one-to-one mapping between the ids of both sides."""

    def __init__(self) -> None:
        self._there: dict[str, str] = {}
        self._back: dict[str, str] = {}

    def bind(self, a: str, b: str) -> bool:
        """Whether both ids are partners; ids without a partner become partners."""
        if a not in self._there and b not in self._back:
            self._there[a] = b
            self._back[b] = a
        return self._there.get(a) == b and self._back.get(b) == a

    def bind_all(self, a: Sequence[str], b: Sequence[str]) -> bool:
        """Whether all ids at equal indexes are partners, as in `bind`."""
        bound = [self.bind(one, other) for one, other in zip(a, b, strict=False)]
        return len(a) == len(b) and all(bound)
