"""What a server did after it ended a stream, from the other exchanges of the recording. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import accumulate
from operator import attrgetter
from typing import NamedTuple

from ...model import Exchange
from ...omnigent.protocol import stream_epoch
from .patience import SECOND, TOGETHER
from .values import ServerAfter

ENDED_BY_SERVER = ("eof", "upstream_lost")
_SOON = 3 * SECOND
"""Time in which no server stops and starts again, in ns."""
_A_WHILE = 120 * SECOND
"""Time after the end of a stream in which an unreachable server was gone at that end, in ns."""


class _Seen(NamedTuple):
    """The facts about an exchange that show what the server did."""

    at_ns: int
    """The time of its request."""
    is_unreachable: bool
    is_served: bool
    """Whether the server itself answered, and no proxy in its place."""


class _Facts(NamedTuple):
    seen: list[_Seen]
    """The exchanges in the order of their requests."""
    epochs: dict[str, int]
    """The time of the last stream of each run of the server, in ns."""
    begins: list[int]
    """When each answer began, in order."""
    ends: list[int]
    """The latest end of the answers up to each of `begins`."""
    last_ns: int


_AT_NS = attrgetter("at_ns")


class Aftermath:
    """The behaviour of the server in one recording. `exchanges` returns all of it, in the order of their requests: they
    are read once, when a stream needs them. `last_ns` returns the last time in them, if it is known without them."""

    def __init__(
        self, exchanges: Callable[[], Iterable[Exchange]], last_ns: Callable[[], int | None] = lambda: None
    ) -> None:
        self._exchanges = exchanges
        self._last_ns = last_ns

    @cached_property
    def last_known_ns(self) -> int:
        known = self._last_ns()
        return self._facts.last_ns if known is None else known

    @cached_property
    def _facts(self) -> _Facts:
        seen = list[_Seen]()
        epochs = dict[str, int]()
        answers = list[tuple[int, int]]()
        last_ns = 0
        for x in self._exchanges():
            at_ns = x.request.at_ns
            end_ns = x.end_ns or 0
            is_served = x.response is not None and x.response.status < 502
            seen.append(_Seen(at_ns, x.ending == "upstream_unreachable", is_served))
            last_ns = max(last_ns, at_ns, end_ns, 0 if x.response is None else x.response.at_ns)
            if x.kind == "sse" and (epoch := stream_epoch(x)) is not None:
                epochs[epoch] = max(at_ns, epochs.get(epoch, at_ns))
            if x.response is not None and x.kind != "websocket":
                answers.append((x.response.at_ns, end_ns))
        seen.sort(key=_AT_NS)
        answers.sort()
        begins = [begin for begin, _ in answers]
        ends = list(accumulate((end for _, end in answers), max))
        return _Facts(seen, epochs, begins, ends, last_ns)

    def of(self, x: Exchange) -> ServerAfter | None:
        """Return what the server did after it ended the stream `x`; None if that is unknown, or it did not end it."""
        if x.ending not in ENDED_BY_SERVER or x.end_ns is None:
            return None
        facts = self._facts
        end_ns = x.end_ns
        epoch = stream_epoch(x)
        if epoch is not None and any(at_ns > end_ns for other, at_ns in facts.epochs.items() if other != epoch):
            return "restarted"
        place = bisect_right(facts.seen, end_ns, key=_AT_NS)
        soon = facts.seen[place : bisect_left(facts.seen, end_ns + _SOON, key=_AT_NS)]
        following = facts.seen[place] if place < len(facts.seen) else None
        if following is not None and following.is_unreachable and following.at_ns < end_ns + _A_WHILE:
            return "gone"
        before = bisect_left(facts.begins, end_ns)
        goes_on = before > 0 and facts.ends[before - 1] > end_ns + TOGETHER
        is_same_run = epoch is not None and facts.epochs.get(epoch, end_ns) > end_ns
        return "answered" if goes_on or is_same_run or any(one.is_served for one in soon) else None
