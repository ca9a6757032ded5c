"""How an event is named, read.

EVENT   := WHICH [after WHICH] [before WHICH] [in stream N | in every stream]
WHICH   := [the] [first | last | every | 2nd] NAME [with FIELD=VALUE]...
NAME    := a type, with * ? and [abc] as in file names | event | [DONE] | #17

NAME may be left out behind an ordinal: any event. Keywords may be written in any case. Pure.
"""

from __future__ import annotations

import re
from typing import Literal

from .address import Address
from .fields import field_of
from .matcher import ANY, DONE, Condition, Matcher
from .pick import Ordinal, Pick
from .tokens import Words

EXAMPLE = "2nd session.status"
HOW_CONDITIONS = "a condition is written with FIELD=VALUE"
_ORDINAL = re.compile(r"([0-9]+)(?:st|nd|rd|th)")
_ORDINALS: dict[str, Ordinal] = {"first": 1, "second": 2, "third": 3, "last": "last", "every": "every"}
_KEYWORDS = frozenset({"with", "after", "before", "in", "by", "to", "of", "at", "each", "cleanly", "short"})
"""What ends a NAME that was left out."""
_CONDITION = re.compile(r"\s*with\s+([^\s=]+)\s*=\s*", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,9}")


def parse_address(text: str) -> Address:
    """Raises `UsageError`, with the word that cannot be read and an example."""
    words = Words(text, "event", EXAMPLE)
    address = read_address(words)
    words.end(**{"with": HOW_CONDITIONS})
    return address


def read_address(words: Words) -> Address:
    """As many words as make an address."""
    pick = _pick(words)
    after = _anchor(words) if words.skip("after") else None
    before = _anchor(words) if words.skip("before") else None
    return Address(pick, after, before, _place(words))


def read_ordinal(words: Words) -> Ordinal:
    """Which of several; `nearest` where it is not said."""
    words.skip("the")
    word = words.peek()
    if word in _ORDINALS:
        words.take()
        return _ORDINALS[word]
    numbered = _ORDINAL.fullmatch(word)
    if not numbered:
        return "nearest"
    if not _NUMBER.fullmatch(numbered[1]) or int(numbered[1]) == 0:
        words.refuse("is no number that events have: they count from 1")
    words.take()
    return int(numbered[1])


def _pick(words: Words) -> Pick:
    ordinal = read_ordinal(words)
    word = words.peek()
    if ordinal != "nearest" and (not word or word in _KEYWORDS):
        name = ANY
    elif not word or word in _KEYWORDS:
        words.refuse("an event was expected")
    else:
        name = _name(words, ordinal)
    return Pick(ordinal, Matcher(name, tuple(_conditions(words))))


def _name(words: Words, ordinal: Ordinal) -> str:
    word = words.peek()
    if word in (ANY, DONE.lower()):
        words.take()
        return ANY if word == ANY else DONE
    if word.startswith("#"):
        if not _NUMBER.fullmatch(word[1:]) or int(word[1:]) == 0:
            words.refuse("is no frame's number: they are written #1, #2 and so on")
        if ordinal != "nearest":
            words.refuse("is one frame already: leave out the word before it")
        words.take()
        return f"#{int(word[1:])}"
    return words.take()


def _conditions(words: Words) -> list[Condition]:
    found = []
    while condition := words.comes(_CONDITION):
        field = field_of(condition[1])
        if field is None:
            words.refuse(f"{condition[1]!r} is no field: write its names with a dot between each two")
        words.step(condition)
        if (value := words.json()) is not None:
            found.append(Condition(field, value))
            continue
        if words.peek()[:1] in ("", '"', "{"):
            words.refuse("a value was expected, as JSON or one word")
        found.append(Condition(field, words.take(), is_glob=True))
    return found


def _anchor(words: Words) -> Pick:
    if words.peek() == "every":
        words.refuse("one event was expected here")
    return _pick(words)


def _place(words: Words) -> int | Literal["every"] | None:
    if words.skip("in", "every", "stream"):
        return "every"
    if not words.skip("in", "stream"):
        return None
    if not _NUMBER.fullmatch(words.peek()):
        words.refuse("a stream's number was expected")
    return int(words.take())
