"""The time from one event to the next. Where nobody listened in between, there is no gap: nobody knows what came.

Linear in the events, but for a bisection in the streams.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise

from ...model import TimedFrame
from .numbers import NS, percentiles
from .values import Gaps

Span = tuple[int, int]


def listened(spans: Iterable[Span]) -> list[Span]:
    """The spans of time in which at least one stream was open, from those of each: sorted, and apart."""
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def gaps_of(events: Sequence[TimedFrame], spans: Sequence[Span]) -> Gaps | None:
    """The gaps between events that are in order, each with the next one in the same span; None where there are none."""
    begins = [begin for begin, _ in spans]
    places = [bisect_right(begins, event.offset_ns) for event in events]
    pairs = [
        (max(0, after.offset_ns - before.offset_ns), before, after)
        for (before, after), (one, other) in zip(pairwise(events), pairwise(places), strict=True)
        if one == other
    ]
    if not pairs:
        return None
    p50, p99 = percentiles(sorted(length for length, _, _ in pairs))
    length, before, after = max(pairs, key=lambda pair: pair[0])
    return Gaps(
        len(pairs), round(p50 / NS, 9), round(p99 / NS, 9), length / NS,
        _place(before), type_of(before), _place(after), type_of(after),
    )  # fmt: skip


def type_of(event: TimedFrame) -> str:
    """The name under which an event is counted."""
    return "[DONE]" if event.verdict == "sentinel" else event.type or "(no type)"


def _place(event: TimedFrame) -> str:
    return f"{event.stream}:{event.seq}"
