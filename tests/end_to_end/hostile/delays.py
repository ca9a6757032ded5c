"""How late the events of a ticking stream come: from the moment that upstream sent them to when the client has them."""

from __future__ import annotations

import re
import time

from tests.support.wire import Wire

_SENT = re.compile(rb'"delta":"([0-9]+)"')


class Delays:
    """`ms`: the delay of each event, in the order in which they came."""

    def __init__(self, client: Wire) -> None:
        self._client = client
        self.ms: list[float] = []
        self.data = b""

    async def listen(self, seconds: float) -> list[float]:
        """Those of the next seconds."""
        first, until = len(self.ms), time.monotonic() + seconds
        while time.monotonic() < until:
            piece = await self._client.chunk()
            now = time.monotonic_ns()
            self.data += piece
            self.ms += [(now - int(sent)) / 1e6 for sent in _SENT.findall(piece)]
        return self.ms[first:]


def percentile(values: list[float], percent: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def told(values: list[float]) -> str:
    return f"p50 {percentile(values, 50):.1f} ms, p99 {percentile(values, 99):.1f} ms, at most {max(values):.1f} ms"
