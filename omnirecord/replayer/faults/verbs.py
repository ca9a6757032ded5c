"""The fault verbs: a value for each, an example, and its reader. Pure.

`parse_fault` reads a fault from a line: a verb, then its arguments. `str` of a fault is its line in the plainest
spelling. A new verb needs a class, a place in a union, and a row in `VERBS` and in `_READERS` here. Its effect on a
stream is in `apply.BoundFault`, that on a request in `faults.Bound.on_request`, its paragraph in `docs/faults.md`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import Literal

from ...omnigent import protocol
from ...omnigent.routes import GATE_EXAMPLE, READ_EXAMPLE
from ..event_address import Address, WordReader, read_address, read_ordinal
from ..event_address.matcher import Field, Ordinal, field_of, ordinal_text

LONGEST_NS = 24 * 3600 * 10**9
"""Longest time: a day, in ns."""
_TIME = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,12})?)\s*(ms|s|min)(?!\S)", re.IGNORECASE)
_UNITS = {"min": 60 * 10**9, "s": 10**9, "ms": 10**6}


def time_text(value_ns: int) -> str:
    """Return a time as text, in the largest unit in which it is a whole number, else in ms."""
    for unit, size in _UNITS.items():
        if value_ns % size == 0:
            return f"{value_ns // size}{unit}"
    return f"{(Decimal(value_ns) / 10**6).normalize():f}ms"


RESET = "reset"
End = Literal["clean", "short", "reset", "freeze"]
"""How a stream ends; with `freeze` it stays open and silent."""
Where = Literal["before", "inside", "inside a character of", "after"]
ENDINGS: dict[End, str] = {"clean": "", "short": " short", "reset": " by reset"}


@dataclass(frozen=True, slots=True)
class OnEvent:
    """A verb whose first argument is an event; by itself, it is the only one."""

    event: Address

    def __str__(self) -> str:
        return f"{type(self).__name__.lower()} {self.event}"


class Drop(OnEvent):
    __slots__ = ()


class Duplicate(OnEvent):
    __slots__ = ()


class Corrupt(OnEvent):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Swap(OnEvent):
    """`other`: None means the next event."""

    other: Address | None

    def __str__(self) -> str:
        return f"swap {self.event}" + (f" with {self.other}" if self.other else "")


@dataclass(frozen=True, slots=True)
class Delay(OnEvent):
    by_ns: int

    def __str__(self) -> str:
        return f"delay {self.event} by {time_text(self.by_ns)}"


@dataclass(frozen=True, slots=True)
class Stall(OnEvent):
    """A delay of the first connection that reaches the event. `each_time`: of every connection."""

    by_ns: int
    each_time: bool = False

    def __str__(self) -> str:
        return f"stall {time_text(self.by_ns)} at {self.event}" + (" each time" if self.each_time else "")


@dataclass(frozen=True, slots=True)
class SetField(OnEvent):
    """`json`: the text of the new value."""

    field: Field
    json: str

    def __str__(self) -> str:
        return f"set {self.field} of {self.event} to {self.json}"


@dataclass(frozen=True, slots=True)
class RemoveField(OnEvent):
    field: Field

    def __str__(self) -> str:
        return f"remove {self.field} of {self.event}"


@dataclass(frozen=True, slots=True)
class StopHeartbeats(OnEvent):
    """`after`: the event itself still goes out if it is a heartbeat."""

    after: bool

    def __str__(self) -> str:
        return f"stop heartbeats {'after' if self.after else 'at'} {self.event}"


@dataclass(frozen=True, slots=True)
class Ends(OnEvent):
    """A cut, or a freeze. `each_time`: on every connection that reaches the event, not only on the first."""

    where: Where
    how: End
    each_time: bool = False

    def __str__(self) -> str:
        again = " each time" if self.each_time else ""
        if self.how == "freeze":
            return f"freeze {'at' if self.where == 'before' else 'after'} {self.event}{again}"
        return f"cut {self.where} {self.event}{ENDINGS[self.how]}{again}"


@dataclass(frozen=True, slots=True)
class Requests:
    """The nth request with this method and path, the `first` so many, or every one."""

    ordinal: Ordinal
    method: str
    glob: str
    first: int = 1

    def __str__(self) -> str:
        ordinal = ordinal_text(self.ordinal) if self.first == 1 else f"first {self.first}"
        return f"{ordinal} {self.method} {self.glob}" if ordinal else f"{self.method} {self.glob}"


@dataclass(frozen=True, slots=True)
class Answer:
    """`status`: 0 for a reset of the connection. `retry_after_ns`: what the answer tells the client; None: nothing."""

    requests: Requests
    status: int
    retry_after_ns: int | None = None

    def __str__(self) -> str:
        later = "" if self.retry_after_ns is None else f" retry after {time_text(self.retry_after_ns)}"
        return f"answer {self.requests} with {self.status or RESET}{later}"


@dataclass(frozen=True, slots=True)
class Slow:
    requests: Requests
    by_ns: int

    def __str__(self) -> str:
        return f"slow {self.requests} by {time_text(self.by_ns)}"


Edit = Corrupt | SetField | RemoveField
"""Faults that change the data of an event."""
Change = Drop | Duplicate | Swap | Delay | Stall | Edit | StopHeartbeats
OnRequest = Answer | Slow
Fault = Change | Ends | OnRequest


VERBS: dict[str, str] = {
    "drop": f"drop 2nd {protocol.SESSION_STATUS}",
    "duplicate": f"duplicate {protocol.RESPONSE_COMPLETED}",
    "swap": f"swap {protocol.RESPONSE_CREATED} with {protocol.RESPONSE_IN_PROGRESS}",
    "delay": f"delay {protocol.RESPONSE_COMPLETED} by 2s",
    "stall": f"stall 20s at {protocol.RESPONSE_COMPLETED}",
    "freeze": f"freeze after 3rd {protocol.RESPONSE_OUTPUT_TEXT_DELTA}",
    "cut": f"cut before {protocol.RESPONSE_COMPLETED} by reset",
    "corrupt": f"corrupt last {protocol.RESPONSE_OUTPUT_TEXT_DELTA}",
    "set": f'set status of last {protocol.SESSION_STATUS} to "failed"',
    "remove": f"remove response.usage of {protocol.RESPONSE_COMPLETED}",
    "stop": f"stop heartbeats after {protocol.SESSION_HEARTBEAT}",
    "answer": f"answer 2nd {GATE_EXAMPLE} with 503",
    "slow": f"slow every {READ_EXAMPLE} by 500ms",
}
"""An example of each verb, by the verb, in the order in which errors list them. `docs/faults.md` has their forms."""


_WORD = re.compile(r"\s*(\S+)")
_METHOD = re.compile(r"[a-z]+|\*")
_STATUS = re.compile(r"[2-5][0-9][0-9]")
_COUNT = re.compile(r"[1-9][0-9]{0,5}")
_COUNTS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def parse_fault(text: str) -> Fault:
    """Return the fault of a line. Raises `UsageError`, with the word that cannot be read and an example."""
    words = WordReader(text, "fault", VERBS["drop"])
    verb = words.peek()
    if verb not in VERBS:
        near = get_close_matches(verb, VERBS, 2)
        words.refuse(f"a fault begins with {' or '.join(near) if near else 'one of ' + ', '.join(VERBS)}")
    words.example = VERBS[verb]
    words.take()
    fault = _READERS[verb](words)
    words.end(each="only a cut, a freeze or a stall happens once: all others happen each time as they are")
    return fault


def _swap(words: WordReader) -> Fault:
    event = _one_event(words)
    return Swap(event, _one_event(words) if words.skip("with") else None)


def _one_event(words: WordReader) -> Address:
    words.skip("the")
    if words.peek() == "every":
        words.refuse("a swap is of two events")
    return read_address(words)


def _stall(words: WordReader) -> Fault:
    by_ns = _time(words)
    _expect(words, "at")
    return Stall(read_address(words), by_ns, words.skip("each", "time"))


def _set(words: WordReader) -> Fault:
    field = _field(words)
    event = read_address(words)
    _expect(words, "to")
    if (value := words.json()) is None:
        words.refuse("a JSON value was expected, a text in double quotes")
    return SetField(event, field, value)


def _remove(words: WordReader) -> Fault:
    field = _field(words)
    return RemoveField(read_address(words), field)


def _field(words: WordReader) -> Field:
    """Read a field and the `of` behind it."""
    found = words.comes(_WORD)
    field = field_of(found[1]) if found else None
    if found is None or field is None:
        words.refuse("a field was expected, its names with a dot between each two")
    words.step(found)
    _expect(words, "of")
    return field


def _stop(words: WordReader) -> Fault:
    _expect(words, "heartbeats")
    after = _is_after(words)
    return StopHeartbeats(read_address(words), after)


def _freeze(words: WordReader) -> Fault:
    where: Where = "after" if _is_after(words) else "before"
    return Ends(read_address(words), where, "freeze", words.skip("each", "time"))


def _cut(words: WordReader) -> Fault:
    where = next((one for one in _WHERE if words.skip(*one.split())), None)
    if where is None:
        words.refuse("before, after or inside an event was expected")
    event = read_address(words)
    how = next((one for one, keywords in _HOW.items() if words.skip(*keywords.split())), None)
    if how is None and words.peek() == "by":
        words.refuse("a cut is made cleanly, short or by reset")
    return Ends(event, where, how or "clean", words.skip("each", "time"))


def _is_after(words: WordReader) -> bool:
    if words.skip("at"):
        return False
    if not words.skip("after"):
        words.refuse("at or after an event was expected")
    return True


def _answer(words: WordReader) -> Fault:
    requests = _requests(words)
    _expect(words, "with")
    if words.skip(RESET):
        return Answer(requests, 0)
    if not _STATUS.fullmatch(words.peek()):
        words.refuse(f"a status from 200 to 599 was expected, or {RESET}")
    status = int(words.take())
    return Answer(requests, status, _time(words) if words.skip("retry", "after") else None)


def _requests(words: WordReader) -> Requests:
    ordinal = read_ordinal(words)
    first = _count(words) if ordinal == 1 else 1
    if ordinal == "last" or not _METHOD.fullmatch(words.peek()):
        words.refuse("a method was expected, with 2nd or every before it if need be")
    method = words.take().upper()
    if words.peek()[:1] not in ("/", "*"):
        words.refuse("a path was expected, or a glob over paths")
    return Requests(ordinal, method, words.take(), first)


def _count(words: WordReader) -> int:
    """Read the number of requests behind `first`; 1 if there is none."""
    word = words.peek()
    if word in _COUNTS:
        words.take()
        return _COUNTS.index(word) + 2
    return int(words.take()) if _COUNT.fullmatch(word) else 1


def _by_time(words: WordReader) -> int:
    _expect(words, "by")
    return _time(words)


def _time(words: WordReader) -> int:
    found = words.comes(_TIME)
    value = int(Decimal(found[1]) * _UNITS[found[2].lower()]) if found else 0
    if found is None or not 0 < value <= LONGEST_NS:
        words.refuse("a time was expected, up to a day, in ms, s or min")
    words.step(found)
    return value


def _expect(words: WordReader, keyword: str) -> None:
    if not words.skip(keyword):
        words.refuse(f"{keyword!r} was expected")


_WHERE: tuple[Where, ...] = ("inside a character of", "inside", "before", "after")  # the longer one first
_HOW: dict[End, str] = {"clean": "cleanly", "short": "short", "reset": "by reset"}
_READERS: dict[str, Callable[[WordReader], Fault]] = {
    "drop": lambda words: Drop(read_address(words)),
    "duplicate": lambda words: Duplicate(read_address(words)),
    "corrupt": lambda words: Corrupt(read_address(words)),
    "delay": lambda words: Delay(read_address(words), _by_time(words)),
    "slow": lambda words: Slow(_requests(words), _by_time(words)),
    "swap": _swap,
    "stall": _stall,
    "freeze": _freeze,
    "cut": _cut,
    "set": _set,
    "remove": _remove,
    "stop": _stop,
    "answer": _answer,
}
"""Reads the arguments of each verb."""
