"""What a server did after it had ended a stream: whether it had stopped, or had only given up that one reader."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from operator import attrgetter

from ...model import Exchange
from ...wire.headers import header
from .values import ServerAfter

TOGETHER = 1_000_000_000
"""Streams that end within this many ns of each other end for one reason: a server that stops ends all that it has."""
ENDED_BY_SERVER = ("eof", "upstream_lost")
_EPOCH = "x-omnigent-stream-epoch"
_request_at = attrgetter("request.at_ns")


class Aftermath:
    """The exchanges of one recording, laid out so that each question about them is a look-up."""

    def __init__(self, exchanges: Iterable[Exchange]) -> None:
        self._all = sorted(exchanges, key=_request_at)
        self._streams = [x for x in self._all if x.stream is not None]
        self._longest = list(accumulate(map(_end, self._streams), max))  # of the streams up to there

    def of(self, x: Exchange) -> ServerAfter | None:
        """What the server did after `x`, a stream that it had ended."""
        if x.ending not in ENDED_BY_SERVER or x.end_ns is None:
            return None
        if _epoch(x) and (following := self._after(self._streams, x)) and _epoch(following) not in (None, _epoch(x)):
            return "restarted"
        following = self._after(self._all, x)
        if following is not None and following.ending == "upstream_unreachable":
            return "gone"
        answered = following is not None and following.response is not None
        return "answered" if answered or self._outlived(x.end_ns) else None

    @staticmethod
    def _after(exchanges: list[Exchange], x: Exchange) -> Exchange | None:
        """The first that was asked for after `x` had ended."""
        number = bisect_right(exchanges, x.end_ns or 0, key=_request_at)
        return exchanges[number] if number < len(exchanges) else None

    def _outlived(self, end_ns: int) -> bool:
        """Whether another stream that was there already went on for longer."""
        number = bisect_right(self._streams, end_ns, key=_request_at)
        return number > 0 and self._longest[number - 1] > end_ns + TOGETHER


def _end(x: Exchange) -> int:
    return 1 << 62 if x.end_ns is None else x.end_ns


def _epoch(x: Exchange) -> str | None:
    return header(x.response.headers, _EPOCH) if x.response else None
