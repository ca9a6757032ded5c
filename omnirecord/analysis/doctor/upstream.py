"""How the server behaved towards everybody in one recording: evidence for why one stream ended. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...model import Exchange
from ...wire.headers import header
from .event import SECOND

EPOCH = "x-omnigent-stream-epoch"
"""The response header that differs once the server was started again."""
_SOON = 3 * SECOND
"""No server is stopped and started again within this time."""
_A_WHILE = 120 * SECOND


@dataclass(frozen=True, slots=True)
class Upstream:
    """`exchanges`: all of the recording, in the order of their requests."""

    exchanges: Sequence[Exchange] = ()
    last_known_ns: int = 0
    """Until when the recording goes."""

    @classmethod
    def of(cls, exchanges: Sequence[Exchange]) -> Upstream:
        times = [x.request.at_ns for x in exchanges]
        times += [x.end_ns for x in exchanges if x.end_ns is not None]
        times += [x.response.at_ns for x in exchanges if x.response]
        return cls(exchanges, max(times, default=0))

    def is_gone_after(self, ns: int) -> bool:
        """Whether a request soon after was the first of all to find no server."""
        later = [x for x in self.exchanges if ns < x.request.at_ns < ns + _A_WHILE]
        return bool(later) and later[0].ending == "upstream_unreachable"

    def restarts_after(self, x: Exchange) -> bool:
        """Whether a later stream is of another run of the server than this one."""
        epoch, end = _epoch(x), x.end_ns or 0
        later = [_epoch(other) for other in self.exchanges if other.kind == "sse" and other.request.at_ns > end]
        return epoch is not None and any(other not in (None, epoch) for other in later)

    def lives_on_after(self, x: Exchange) -> bool:
        """Whether the server went on with others when it ended this stream, or is the same one in a later stream."""
        end, epoch = x.end_ns or 0, _epoch(x)
        for other in self.exchanges:
            if other is x or other.response is None:
                continue
            is_answered_soon = end < other.request.at_ns < end + _SOON and other.response.status < 502
            goes_on = other.response.at_ns < end and (other.end_ns or 0) > end + SECOND
            is_same = other.request.at_ns > end and epoch is not None and _epoch(other) == epoch
            if is_answered_soon or is_same or (goes_on and other.kind != "websocket"):
                return True
        return False


def _epoch(x: Exchange) -> str | None:
    return header(x.response.headers, EPOCH) if x.response else None
