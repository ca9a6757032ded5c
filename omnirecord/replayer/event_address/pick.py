"""The nth of the events that match, within a stream. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from ...model import TimedFrame
from .matcher import Matcher

Ordinal = int | Literal["nearest", "last", "every"]
"""Which of those that match: the nth from 1. `nearest`, unsaid: the first, or the last before another."""
_SUFFIXES = {1: "st", 2: "nd", 3: "rd"}


@dataclass(frozen=True, slots=True)
class Stream:
    """A recorded stream: its number and all of its frames, in order."""

    number: int
    frames: Sequence[TimedFrame]


@dataclass(frozen=True, slots=True)
class Pick:
    """Which of the events that match."""

    ordinal: Ordinal
    matcher: Matcher

    def __str__(self) -> str:
        ordinal = ordinal_text(self.ordinal)
        return f"{ordinal} {self.matcher}" if ordinal else str(self.matcher)

    def among(self, frames: Sequence[TimedFrame], begin: int, end: int, *, backwards: bool = False) -> Iterator[int]:
        """The positions that it means, within `begin` and `end`. `backwards`: the nearest is the last."""
        last = self.ordinal == "last" or (backwards and self.ordinal == "nearest")
        places = range(end - 1, begin - 1, -1) if last else range(begin, end)
        found = (n for n in places if self.matcher.matches(frames[n]))
        if self.ordinal == "every":
            return found
        nth = self.ordinal if isinstance(self.ordinal, int) else 1
        return islice(found, nth - 1, nth)

    def first_among(self, frames: Sequence[TimedFrame], begin: int = 0) -> int | None:
        return next(self.among(frames, begin, len(frames)), None)


def ordinal_text(ordinal: Ordinal) -> str:
    """As it is written: `2nd`; empty for `nearest`."""
    if ordinal == "nearest":
        return ""
    if isinstance(ordinal, str):
        return ordinal
    if ordinal == 1:
        return "first"
    return f"{ordinal}{'th' if ordinal // 10 % 10 == 1 else _SUFFIXES.get(ordinal % 10, 'th')}"
