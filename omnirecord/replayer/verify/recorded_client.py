"""Makes the recorded requests of the clients again, against any server, each when its time has come.

A request's time has come when everything that its client had seen by then has been seen again: the bytes of the
streams, and the answers. So a rerun keeps the order of cause and effect whatever the timing, and needs no clock.
What runners did is left out, and so are WebSockets.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate

import aiohttp
from yarl import URL

from ...cassette.sqlite import Store
from ...model import Exchange, Headers
from ...wire.headers import end_to_end

NS = 1_000_000_000
STUCK_AFTER = 15.0
"""Seconds without a byte, beyond the longest gap that is due, after which a rerun is given up."""
_NOT_SENT = ("host", "content-length", "accept-encoding", "expect")
_SERVER_ENDS = ("done", "eof", "upstream_lost", "unknown")


@dataclass(slots=True)
class StreamSeen:
    """A stream as it was received again."""

    exchange: Exchange
    expected: int
    """Bytes that the recording has of it, as on the wire."""
    body: bytearray = field(default_factory=bytearray)
    arrivals: list[tuple[int, int]] = field(default_factory=list)
    """After how many bytes in all, and when, in ns on the monotonic clock: one for each read."""
    cut: bool = False
    """It ended without a clean end."""


class Rerun:
    """One recording of a cassette, run again against `base_url`, which alone is asked, whatever a target says.

    `streams` fills up as it goes.
    """

    def __init__(self, store: Store, recording: int, base_url: str, *, streams_only: bool = False) -> None:
        self._store = store
        self._base = base_url.rstrip("/")
        self._exchanges = [
            x
            for x in store.exchanges(recording=recording, by_clients=True)
            if x.kind != "websocket"
            and x.response is not None
            and (not streams_only or x.kind == "sse" or x.request.method == "POST")
        ]
        self._moved = asyncio.Event()
        self._answered: set[int] = set()
        self._sizes: dict[int, tuple[list[int], list[int]]] = {}
        self._begun: list[Exchange] = []  # those made that later ones may still have to wait for
        self.streams: dict[int, StreamSeen] = {}
        self.failed: dict[int, str] = {}
        """Why a request could not be made at all."""

    async def run(self, longest_wait: float = 0.0) -> None:
        """Make all requests; return once all are answered and every stream is through.

        Raises `TimeoutError` where the server has stopped to answer: `longest_wait` seconds and some are allowed.
        """
        async with _client() as client, asyncio.TaskGroup() as group:
            watch = group.create_task(self._watch(longest_wait + STUCK_AFTER))
            made = []
            for x in self._exchanges:  # in the order of their times: what a later one waits for, an earlier one did
                while not self._is_time(x):
                    await self._moved.wait()
                self._begun.append(x)
                made.append(group.create_task(self._make(client, x)))
            await asyncio.gather(*made)
            watch.cancel()

    async def _watch(self, patience: float) -> None:
        while True:
            moved = self._moved
            try:
                async with asyncio.timeout(patience):
                    await moved.wait()
            except TimeoutError:
                stuck = [x.request.target for x in self._exchanges if not self._is_through(x)]
                raise TimeoutError(f"no byte came for {patience:.0f} s; still open: {', '.join(stuck[:3])}") from None

    def _is_through(self, x: Exchange) -> bool:
        return x.exchange in self._answered

    async def _make(self, client: aiohttp.ClientSession, x: Exchange) -> None:
        try:
            await self._request(client, x)
        except (aiohttp.ClientError, ValueError) as error:
            if x.exchange in self.streams:
                self.streams[x.exchange].cut = True
            else:
                self.failed[x.exchange] = f"{type(error).__name__}: {error}"
        self._answered.add(x.exchange)
        self._move()

    async def _request(self, client: aiohttp.ClientSession, x: Exchange) -> None:
        body = self._store.body(x.exchange, "request")
        url = URL(self._base + x.request.target, encoded=True)
        if not x.request.target.startswith("/") or url.origin() != URL(self._base).origin():
            raise ValueError(f"{x.request.target!r} leads elsewhere: nothing but {self._base} is asked")
        headers = _sent(x.request.headers, x)
        async with client.request(
            x.request.method, url, headers=headers, data=body or None, allow_redirects=False
        ) as response:
            await self._receive(response, x)

    async def _receive(self, response: aiohttp.ClientResponse, x: Exchange) -> None:
        if x.kind != "sse":
            await response.read()
            return
        seen = self.streams[x.exchange] = StreamSeen(x, x.response_bytes)
        self._move()
        if not seen.expected and x.ending not in _SERVER_ENDS:
            return
        async for data in response.content.iter_any():
            seen.body += data
            seen.arrivals.append((len(seen.body), time.monotonic_ns()))
            self._move()
            if x.ending not in _SERVER_ENDS and len(seen.body) >= seen.expected:
                return  # it was the client that left then, or the recorder: leave as it did

    def _move(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _is_time(self, x: Exchange) -> bool:
        """Whether all that was seen before this request was made has been seen again."""
        at = x.request.at_ns
        self._begun = [y for y in self._begun if not self._is_through(y)]
        return all(self._has_seen(y, at) for y in self._begun if y.request.at_ns < at)

    def _has_seen(self, y: Exchange, at: int) -> bool:
        """Whether what is not through yet has brought what it had brought by then."""
        if y.kind != "sse":
            return y.end_ns is None or y.end_ns >= at
        seen = self.streams.get(y.exchange)
        # Opened first, so it has to be open: which recorded stream one gets is a matter of order.
        return seen is not None and len(seen.body) >= self._bytes_before(y, at)

    def _bytes_before(self, y: Exchange, at: int) -> int:
        if y.exchange not in self._sizes:
            reads = self._store.reads(y.exchange)
            ends = list(accumulate(read.size for read in reads))
            self._sizes[y.exchange] = [read.offset_ns for read in reads], ends
        offsets, ends = self._sizes[y.exchange]
        count = bisect_left(offsets, at)
        return ends[count - 1] if count else 0


def _client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
    )


def _sent(headers: Headers, x: Exchange) -> Headers:
    """The recorded header fields, but for what the connection decides. A stream is asked for in its coding again."""
    kept = _NOT_SENT if x.kind != "sse" else tuple(name for name in _NOT_SENT if name != "accept-encoding")
    return end_to_end(headers, but=kept)
