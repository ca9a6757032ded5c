"""Differences between two recorded sessions, by meaning. No socket, no clock.

    for difference in compared("a.db", "b.db").found: ...

`diff` pairs sessions and turns, and runs the comparisons of `turns`. `normalize` removes what differs from run to run,
and makes steps of the events of a turn. `align` pairs equal elements. `differences` holds the results and prints them.
"""

from __future__ import annotations

from .diff import TOLERANCE_S, DiffSession, by_session, compare, compared, diff_session, turn_pairs
from .differences import KINDS, Difference, Kind, counts, headline, plain, report

__all__ = [
    "KINDS", "TOLERANCE_S", "DiffSession", "Difference", "Kind", "by_session", "compare", "compared", "counts",
    "diff_session", "headline", "plain", "report", "turn_pairs",
]  # fmt: skip
