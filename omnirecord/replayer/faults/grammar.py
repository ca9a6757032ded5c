"""Reads a fault from a line: a verb, then its arguments. `docs/faults.md` lists the forms."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches

from ..event_address import HOW_CONDITIONS, Field, WordReader, field_of, read_address, read_ordinal
from .verbs import (
    EACH_TIME,
    EXAMPLE,
    RESET,
    TIME,
    VERBS,
    Answer,
    Corrupt,
    Delay,
    Drop,
    Duplicate,
    End,
    Ends,
    Fault,
    RemoveField,
    Requests,
    SetField,
    Slow,
    Stall,
    StopHeartbeats,
    Swap,
    Where,
    time_ns,
)

_WORD = re.compile(r"\s*(\S+)")
_METHOD = re.compile(r"[a-z]+|\*")
_STATUS = re.compile(r"[2-5][0-9][0-9]")
_COUNT = re.compile(r"[1-9][0-9]{0,5}")
_COUNTS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WITH = {"with": HOW_CONDITIONS}


def parse_fault(text: str) -> Fault:
    """Return the fault of a line. Raises `UsageError`, with the word that cannot be read and an example."""
    words = WordReader(text, "fault", EXAMPLE)
    verb = words.peek()
    if verb not in VERBS:
        near = get_close_matches(verb, VERBS, 2)
        words.refuse(f"a fault begins with {' or '.join(near) if near else 'one of ' + ', '.join(VERBS)}")
    words.example = VERBS[verb]
    words.take()
    fault = _READERS[verb](words)
    words.end(each=EACH_TIME, **_WITH)
    return fault


def _swap(words: WordReader) -> Fault:
    _no_every(words)
    event = read_address(words)
    if not words.skip("with"):
        return Swap(event, None)
    _no_every(words)
    return Swap(event, read_address(words))


def _no_every(words: WordReader) -> None:
    words.skip("the")
    if words.peek() == "every":
        words.refuse("a swap is of two events")


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
    where = _where(words)
    return Ends(read_address(words), where, _how(words), words.skip("each", "time"))


def _where(words: WordReader) -> Where:
    where = next((one for one in _WHERE if words.skip(*one.split())), None)
    if where is None:
        words.refuse("before, after or inside an event was expected")
    return where


def _how(words: WordReader) -> End:
    for how, keywords in _HOW.items():
        if words.skip(*keywords.split()):
            return how
    if words.peek() == "by":
        words.refuse("a cut is made cleanly, short or by reset")
    return "clean"


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
    found = words.comes(TIME)
    value = time_ns(found) if found else None
    if found is None or value is None:
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
    "swap": _swap, "stall": _stall, "freeze": _freeze, "cut": _cut, "set": _set, "remove": _remove, "stop": _stop,
    "answer": _answer,
}  # fmt: skip
"""Reads the arguments of each verb."""
