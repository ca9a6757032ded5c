"""When nobody listened to a session: what was silent then may have said something. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple

from ...text import seconds
from .values import Listening, Note, Silence, Turn

LAST = 1 << 60
"""The place of a note that comes behind everything of its time."""


class Absence(NamedTuple):
    """A stretch between two streams."""

    from_ns: int
    until_ns: int


def absences_of(listenings: Iterable[Listening]) -> Iterator[Absence]:
    """The stretches in which no stream was open, between the first and the last one, in order."""
    heard_until: int | None = None
    for one in sorted(listenings, key=lambda one: one.from_ns):
        if heard_until is not None and one.from_ns > heard_until:
            yield Absence(heard_until, one.from_ns)
        until = 1 << 62 if one.until_ns is None else one.until_ns
        heard_until = until if heard_until is None else max(heard_until, until)


def leavings_of(listenings: Iterable[Listening]) -> list[int]:
    """When a client left while another one went on listening, in order."""
    listenings = sorted(listenings, key=lambda one: one.from_ns)
    begins = [one.from_ns for one in listenings]
    longest = list(accumulate((1 << 62 if one.until_ns is None else one.until_ns for one in listenings), max))
    left = sorted(one.until_ns for one in listenings if one.until_ns is not None and one.ending == "client_left")
    return [at for at in left if (there := bisect_right(begins, at)) and longest[there - 1] > at]


def with_leavings(turn: Turn, leavings: list[int]) -> Turn:
    """The turn, with a note for each client that left while it went on."""
    end = turn.ended_ns if turn.ended_ns is not None else 1 << 62
    within = leavings[bisect_right(leavings, turn.begin_ns) : bisect_left(leavings, end)]
    notes = [Note(at, "a client left; another one went on listening", LAST) for at in within]
    return replace(turn, notes=(*turn.notes, *notes)) if notes else turn


def with_absences(turn: Turn, absences: list[Absence]) -> Turn:
    """The turn, with a note for each stretch in which nobody listened to it, and its silences knowing of them."""
    within = _within(absences, turn.begin_ns, turn.ended_ns if turn.ended_ns is not None else 1 << 62)
    if not within:
        return turn
    notes = [Note(one.from_ns, f"no client listened for {seconds(one.until_ns - one.from_ns)}", LAST) for one in within]
    longest = turn.longest_silence
    return replace(
        turn, notes=(*turn.notes, *notes), silences=tuple(_unheard(silence, within) for silence in turn.silences),
        longest_silence=None if longest is None else _unheard(longest, within),
    )  # fmt: skip


def _within(absences: list[Absence], begin: int, end: int) -> list[Absence]:
    """Those that overlap that stretch."""
    first = bisect_right(absences, begin, key=lambda one: one.until_ns)
    return absences[first : max(first, bisect_left(absences, end, key=lambda one: one.from_ns))]


def _unheard(silence: Silence, absences: list[Absence]) -> Silence:
    begin, end = silence.from_ns, silence.from_ns + silence.length_ns
    cut = _within(absences, begin, end)
    sum_ns = sum(min(end, one.until_ns) - max(begin, one.from_ns) for one in cut)
    return replace(silence, unheard_ns=sum_ns) if sum_ns else silence
