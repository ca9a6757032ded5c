"""Addresses of recorded events: `2nd session.status`, `last event before [DONE]`. No I/O and no clock.

`parse_address` reads an address, `Address.resolve` finds its frames in recorded streams. `faults` extends the language
with `WordReader` and `Field`. `matcher` finds the events, or describes the nearest ones; `Matcher.matches` tests one
frame, also of a live stream.

EVENT   := WHICH [after WHICH] [before WHICH] [in stream N | in every stream]
WHICH   := [the] [first | last | every | 2nd] NAME [with FIELD=VALUE]...
NAME    := a type, with * ? and [abc] as in file names | event | [DONE] | #17

Behind an ordinal, NAME is optional: any event. Keywords may be in any case.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NoReturn

from ...errors import UsageError
from ...omnigent.protocol import SESSION_STATUS
from ...text import clip, dumps
from .matcher import ANY, DONE, Condition, Matcher, Ordinal, Pick, Stream, field_of, why_not


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address, as `2nd session.status with status=idle after response.created in stream 1`.

    `place`: the number of a stream, or `every`. None: an `every` event is in every stream, one event in the first
    stream that has it.
    """

    pick: Pick
    after: Pick | None = None
    before: Pick | None = None
    place: int | Literal["every"] | None = None

    def __str__(self) -> str:
        words = [str(self.pick)]
        words += [f"after {self.after}"] if self.after else []
        words += [f"before {self.before}"] if self.before else []
        words += [f"in stream {self.place}"] if isinstance(self.place, int) else []
        words += ["in every stream"] if self.place == "every" else []
        return " ".join(words)

    def resolve(self, streams: Iterable[Stream]) -> list[tuple[int, int]]:
        """Return the stream number and the frame number of each event, in recorded order. Raises `UsageError` if there
        is none, with the nearest events."""
        streams = list(streams)
        places = [stream for stream in streams if self.place in (None, "every", stream.number)]
        found: list[tuple[int, int]] = []
        for stream in places:
            found += [(stream.number, seq) for seq in self.within(stream)]
            if found and self.place is None and self.pick.ordinal != "every":
                break
        if not found:
            what = str(self).removeprefix("every ")
            picks = [pick for pick in (self.pick, self.after, self.before) if pick is not None]
            raise UsageError(f"there is no {what}: {why_not(picks, streams, places)}")
        return found

    def within(self, stream: Stream) -> list[int]:
        """Return the numbers of its frames in one stream."""
        frames = stream.frames
        begin = 0
        end = len(frames)
        if self.after is not None:
            at = self.after.first_among(frames)
            begin = end if at is None else at + 1
        if self.before is not None:
            counted_behind = begin if self.before.ordinal == "nearest" else 0
            at = self.before.first_among(frames, counted_behind)
            end = 0 if at is None else at
        backwards = self.before is not None and self.after is None
        return [frames[n].seq for n in self.pick.among(frames, begin, end, backwards=backwards)]


_WORD = re.compile(r"\s*(\S+)")
_SHOWN = 160
"""Characters of a text that an error repeats."""


class WordReader:
    """The words of a text, to be read one by one. `what` and `example` are for errors. Keywords may be in any case."""

    def __init__(self, text: str, what: str, example: str) -> None:
        self._text = text
        self._at = 0
        self.what = what
        self.example = example
        if not text.isascii() and text != text.encode("utf-8", "replace").decode():
            said = clip(text, _SHOWN)
            raise UsageError(f"the {what} {said!r} is not UTF-8: write it anew, for instance {example!r}")

    def peek(self) -> str:
        """Return the next word in lower case; empty at the end."""
        found = _WORD.match(self._text, self._at)
        return found[1].lower() if found else ""

    def take(self) -> str:
        """Take the next word as it is written; empty at the end."""
        found = _WORD.match(self._text, self._at)
        self._at = found.end() if found else len(self._text)
        return found[1] if found else ""

    def skip(self, *keywords: str) -> bool:
        """Step over these words, and return whether they came next."""
        before = self._at
        if all(self.take().lower() == keyword for keyword in keywords):
            return True
        self._at = before
        return False

    def comes(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Return the match of a pattern with the rest of the text."""
        return pattern.match(self._text, self._at)

    def step(self, match: re.Match[str]) -> None:
        self._at = match.end()

    def json(self) -> str | None:
        """Take a JSON value that ends at a blank, as canonical JSON; None if there is none."""
        if not (found := _WORD.match(self._text, self._at)):
            return None
        try:
            value, end = _DECODER.raw_decode(self._text, found.start(1))
            json.dumps(value, allow_nan=False)  # neither NaN nor an infinity is JSON
            text = dumps(value)
        except (ValueError, RecursionError):
            return None
        if not self._text[end : end + 1].strip():
            self._at = end
            return text
        return None

    def end(self, **hints: str) -> None:
        """Raise `UsageError` if a word is left. `hints`: texts for certain words."""
        if word := self.peek():
            hints = {"with": "a condition is written with FIELD=VALUE", **hints}
            self.refuse(hints.get(word, "nothing more is expected"))

    def refuse(self, why: str) -> NoReturn:
        """Raise `UsageError` about the next word."""
        found = _WORD.match(self._text, self._at)
        word = f"{clip(found[1], _SHOWN)!r} at character {found.start(1) + 1}" if found else "where it ends"
        said = clip(self._text, _SHOWN)
        raise UsageError(f"cannot read the {self.what} {said!r}: {word}, {why}; write for instance {self.example!r}")


_DECODER = json.JSONDecoder()


EXAMPLE = f"2nd {SESSION_STATUS}"
_ORDINAL = re.compile(r"([0-9]+)(?:st|nd|rd|th)")
_ORDINALS: dict[str, Ordinal] = {"first": 1, "second": 2, "third": 3, "last": "last", "every": "every"}
_KEYWORDS = frozenset({"with", "after", "before", "in", "by", "to", "of", "at", "each", "cleanly", "short"})
"""Keywords behind a NAME that is left out."""
_CONDITION = re.compile(r"\s*with\s+([^\s=]+)\s*=\s*", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,9}")


def parse_address(text: str) -> Address:
    """Return the address of a text. Raises `UsageError`, with the word that cannot be read and an example."""
    words = WordReader(text, "event", EXAMPLE)
    address = read_address(words)
    words.end()
    return address


def read_address(words: WordReader) -> Address:
    pick = _pick(words)
    after = _anchor(words) if words.skip("after") else None
    before = _anchor(words) if words.skip("before") else None
    return Address(pick, after, before, _place(words))


def read_ordinal(words: WordReader) -> Ordinal:
    """Read an ordinal; `nearest` if there is none."""
    words.skip("the")
    word = words.peek()
    if word in _ORDINALS:
        words.take()
        return _ORDINALS[word]
    if not (numbered := _ORDINAL.fullmatch(word)):
        return "nearest"
    if not _NUMBER.fullmatch(numbered[1]) or int(numbered[1]) == 0:
        words.refuse("is no number that events have: they count from 1")
    words.take()
    return int(numbered[1])


def _pick(words: WordReader) -> Pick:
    ordinal = read_ordinal(words)
    word = words.peek()
    if ordinal != "nearest" and (not word or word in _KEYWORDS):
        name = ANY
    elif not word or word in _KEYWORDS:
        words.refuse("an event was expected")
    else:
        name = _name(words, ordinal)
    return Pick(ordinal, Matcher(name, tuple(_conditions(words))))


def _name(words: WordReader, ordinal: Ordinal) -> str:
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


def _conditions(words: WordReader) -> list[Condition]:
    found = []
    while condition := words.comes(_CONDITION):
        if (field := field_of(condition[1])) is None:
            words.refuse(f"{condition[1]!r} is no field: write its names with a dot between each two")
        words.step(condition)
        if (value := words.json()) is not None:
            found.append(Condition(field, value))
            continue
        if words.peek()[:1] in ("", '"', "{"):
            words.refuse("a value was expected, as JSON or one word")
        found.append(Condition(field, words.take(), is_glob=True))
    return found


def _anchor(words: WordReader) -> Pick:
    if words.peek() == "every":
        words.refuse("one event was expected here")
    return _pick(words)


def _place(words: WordReader) -> int | Literal["every"] | None:
    if words.skip("in", "every", "stream"):
        return "every"
    if not words.skip("in", "stream"):
        return None
    if not _NUMBER.fullmatch(words.peek()):
        words.refuse("a stream's number was expected")
    return int(words.take())
