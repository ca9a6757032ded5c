"""How soon a turn's first token came, and how fast the rest. Pure."""

from __future__ import annotations

from typing import NamedTuple

from .values import Passage, Turn

_AT_ONCE = 20_000_000
"""What took less than this, in ns, has no pace worth a number."""


class Pace(NamedTuple):
    """How a turn's text came."""

    first_ns: int | None
    """From the question to the first delta, of text or of thoughts; None where either was not seen."""
    deltas: int
    """How many there were, of both."""
    deltas_per_s: float | None
    """Of what came behind the first delta of each stretch; None where there is nothing to measure, or all came at
    once."""


def pace_of(turn: Turn) -> Pace:
    """The pace of a turn. Deltas are counted, not tokens: the wire does not say how many tokens a delta holds."""
    streamed = [passage for passage in (*turn.thoughts, *turn.messages) if passage.pieces]
    begin = min((passage.first_ns for passage in streamed), default=None)
    known = begin is not None and turn.asked_ns is not None and begin > turn.asked_ns
    return Pace(
        begin - turn.asked_ns if known and begin is not None and turn.asked_ns is not None else None,
        sum(passage.pieces for passage in streamed),
        _rate(streamed),
    )


def _rate(streamed: list[Passage]) -> float | None:
    gaps = sum(passage.pieces - 1 for passage in streamed)
    took = sum(passage.last_ns - passage.first_ns for passage in streamed)
    return gaps * 1e9 / took if gaps > 0 and took >= _AT_ONCE else None
