"""What differs between two recorded sessions, by meaning: frozen values in, differences out. No I/O, no clock.

    for difference in compare(tellings_of_a, tellings_of_b): ...

`hearing` makes of a session its turns, as `story` tells them, and beside each turn its events as `steps`; `normal`
takes out what differs from run to run and means nothing; `aligning` finds what is what on the other side; `turning`
compares the stories of two turns, `happening` their events; `comparing` does it for all; `reporting` says it to a
person. All of it is linear in the number of events, but for gaps of a bounded size.
"""

from __future__ import annotations

from .align import KINDS, Difference, Kind, counts
from .report import headline, plain, report
from .sessions import TOLERANCE_S, Telling, by_session, compare, telling_of, turn_pairs

__all__ = [
    "KINDS",
    "TOLERANCE_S",
    "Difference",
    "Kind",
    "Telling",
    "by_session",
    "compare",
    "counts",
    "headline",
    "plain",
    "report",
    "telling_of",
    "turn_pairs",
]
