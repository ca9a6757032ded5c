"""When nobody listened to a session: what was silent then may have said something. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from .values import Listening, Silence, Turn


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


def unheard(turn: Turn, absences: list[Absence]) -> Turn:
    """The turn, its silences knowing for how much of each nobody was there."""
    if not absences or turn.longest_silence is None:
        return turn
    silences = tuple(_unheard(silence, absences) for silence in turn.silences)
    return replace(turn, silences=silences, longest_silence=_unheard(turn.longest_silence, absences))


def _unheard(silence: Silence, absences: list[Absence]) -> Silence:
    begin, end = silence.from_ns, silence.from_ns + silence.length_ns
    number, sum_ns = bisect_left(absences, begin, key=lambda absence: absence.until_ns), 0
    while number < len(absences) and absences[number].from_ns < end:
        sum_ns += min(end, absences[number].until_ns) - max(begin, absences[number].from_ns)
        number += 1
    return replace(silence, unheard_ns=sum_ns) if sum_ns else silence
