"""Replays a cassette to its recorded clients: compares the bytes of every stream, and measures the timing error.

It runs a replay server on loopback and a rerun of the recorded clients. Opens of streams are gates here, as messages
are, so that each stream opens at its recorded time.

`Rerun` sends the recorded requests again, to any server. A request is due once its client has received everything that
preceded the recorded request: the bytes of the streams, and the answers. So a rerun keeps the order of cause and effect
with any timing, without a clock. Requests of runners and WebSockets are left out.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate, pairwise, takewhile
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from ..cassette.open import open_store
from ..cassette.sqlite import Store
from ..model import Exchange
from ..omnigent.protocol import ConnectSnapshot
from ..text import same_start
from ..wire.headers import end_to_end
from .player.plan import hops_of
from .player.timeline import NS, Scale, Timing
from .server import Replay


@dataclass(slots=True)
class Verification:
    """The result. An error is the difference between a replayed and an expected gap between reads, in ms."""

    streams: int = 0
    bytes: int = 0
    differences: list[str] = field(default_factory=list)
    errors_ms: list[float] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not self.differences

    def row(self) -> dict[str, Any]:
        """Return the object that `verify --json` prints."""
        errors = sorted(self.errors_ms) or [0.0]
        figures = {"p50": quantile(errors, 0.5), "p99": quantile(errors, 0.99), "max": errors[-1]}
        return {
            "streams": self.streams,
            "bytes": self.bytes,
            "equal": self.equal,
            "timing_error_ms": {name: round(value, 3) for name, value in figures.items()},
        }


def quantile(ordered: list[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


async def verify(
    cassette: Path, *, timing: str = "compressed", speed: float | None = None, max_gap: float | None = None
) -> Verification:
    """Return the result for a cassette. Raises `UsageError`, `CassetteError`, or `TimeoutError` for a stuck replay."""
    result = Verification()
    with closing(open_store(cassette)) as store:
        recordings = store.recordings()
        for hop in hops_of(recordings):
            replay = Replay(cassette, timing=timing, speed=speed, max_gap=max_gap, hold_opens=True, only=hop)
            async with replay as server:
                for recording in recordings:
                    if recording.hop == hop:
                        await _verify(store, recording.recording, server, result)
    return result


async def _verify(store: Store, recording: int, server: Replay, result: Verification) -> None:
    """Send the requests of one recording, and add the outcome to `result`."""
    rerun = Rerun(store, recording, server.url, streams_only=True)
    times = sorted(read.offset_ns for x in store.streams() for read in store.reads(x.exchange))
    await rerun.run(max((server.timing.gap(b - a) for a, b in pairwise(times)), default=0) / NS)
    for x in store.exchanges(recording=recording, kind="sse", by_clients=True):
        if x.response is not None and x.exchange not in rerun.streams:
            why = rerun.failed.get(x.exchange, "it got another answer")
            result.differences.append(f"stream {x.stream}: was not replayed ({why})")
    for seen in rerun.streams.values():
        compare(store, seen, result)
        result.errors_ms += timing_errors_ms(store, seen, server.timing)


def compare(store: Store, seen: StreamSeen, result: Verification) -> None:
    wire = store.wire(seen.exchange)
    result.streams += 1
    result.bytes += len(wire)
    name = f"stream {seen.exchange.stream}"
    if bytes(seen.body) != wire:
        at = same_start(seen.body, wire)
        result.differences.append(f"{name}: byte {at} differs; {len(wire)} were recorded, {len(seen.body)} replayed")
    elif seen.cut is not (seen.exchange.ending == "upstream_lost"):
        how = "was cut" if seen.cut else "ended cleanly"
        result.differences.append(f"{name}: {how}, but was recorded as {seen.exchange.ending}")


def timing_errors_ms(store: Store, seen: StreamSeen, timing: Timing) -> Iterator[float]:
    """Yield the errors of the gaps between the reads of one stream, in ms, if both are timed from the same moment. The
    client decides when it asks: so reads after a request are timed from the request, the connect snapshot from the
    open."""
    reads = store.reads(seen.exchange.exchange)
    others = store.exchanges(recording=seen.exchange.recording, by_clients=True)
    asked = {x.request.at_ns for x in others}
    of_reads = (read.offset_ns for x in others if x.kind == "sse" for read in store.reads(x.exchange))
    scale = Scale(sorted(asked.union(of_reads)), timing)  # another stream's read divides a gap
    snapshot = takewhile(ConnectSnapshot().takes, store.frames(seen.exchange))
    moments = sorted(asked | {max((frame.offset_ns for frame in snapshot), default=-1)})
    timed = zip((r.offset_ns for r in reads), _arrivals([r.size for r in reads], seen.arrivals), strict=False)
    for (before, came), (after, comes) in pairwise(timed):
        if bisect_left(moments, before) == bisect_left(moments, after):
            yield abs((comes - came) - (scale(after) - scale(before))) / 1e6


def _arrivals(sizes: list[int], arrivals: list[tuple[int, int]]) -> Iterator[int]:
    """Yield the arrival of the last byte of each recorded read, in ns."""
    for end in accumulate(sizes):
        if (position := bisect_left(arrivals, (end,))) == len(arrivals):
            return
        yield arrivals[position][1]


STUCK_AFTER = 15.0
"""Seconds without a byte, beyond the longest expected gap, after which a rerun is given up."""
_SERVER_ENDS = ("done", "eof", "upstream_lost", "unknown")


@dataclass(slots=True)
class StreamSeen:
    """A stream as the rerun received it."""

    exchange: Exchange
    body: bytearray = field(default_factory=bytearray)
    arrivals: list[tuple[int, int]] = field(default_factory=list)
    """For each read: the bytes so far, and the time in ns on the monotonic clock."""
    cut: bool = False
    """Whether it ended without a clean end."""


class Rerun:
    """The requests of one recording, sent again to `base_url` and to no other server. `streams`: received so far."""

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
        self._patience = STUCK_AFTER
        self._limit = asyncio.timeout(None)
        self._reads = cache(self._read_reads)
        self._begun: dict[int, Exchange] = {}  # sent, and not answered in full
        self.streams: dict[int, StreamSeen] = {}
        self.failed: dict[int, str] = {}
        """Why a request got no answer, by exchange."""

    async def run(self, longest_wait: float = 0.0) -> None:
        """Send all requests, and return when all are answered and every stream has ended. Raises `TimeoutError` after
        `longest_wait` + 15 seconds without a byte. Runs once."""
        self._patience = longest_wait + STUCK_AFTER
        client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        )
        try:
            async with client, self._limit, asyncio.TaskGroup() as group:
                self._move()
                for x in self._exchanges:  # in order of time
                    while not self._is_time(x):
                        await self._moved.wait()
                    self._begun[x.exchange] = x
                    group.create_task(self._make(client, x))
        except TimeoutError:
            stuck = [x.request.target for x in self._begun.values()]
            message = f"no byte came for {self._patience:.0f} s; still open: {', '.join(stuck[:3])}"
            raise TimeoutError(message) from None

    async def _make(self, client: aiohttp.ClientSession, x: Exchange) -> None:
        try:
            await self._request(client, x)
        except (aiohttp.ClientError, ValueError) as error:
            if x.exchange in self.streams:
                self.streams[x.exchange].cut = True
            else:
                self.failed[x.exchange] = f"{type(error).__name__}: {error}"
        del self._begun[x.exchange]
        self._move()

    async def _request(self, client: aiohttp.ClientSession, x: Exchange) -> None:
        body = self._store.body(x.exchange, "request")
        url = URL(self._base + x.request.target, encoded=True)
        if not x.request.target.startswith("/") or url.origin() != URL(self._base).origin():
            raise ValueError(f"{x.request.target!r} leads elsewhere: nothing but {self._base} is asked")
        kept = [] if x.kind == "sse" else ["accept-encoding"]  # a stream is requested in its coding
        headers = end_to_end(x.request.headers, but=["host", "content-length", "expect", *kept])
        async with client.request(
            x.request.method, url, headers=headers, data=body or None, allow_redirects=False
        ) as response:
            await self._receive(response, x)

    async def _receive(self, response: aiohttp.ClientResponse, x: Exchange) -> None:
        if x.kind != "sse":
            await response.read()
            return
        seen = self.streams[x.exchange] = StreamSeen(x)
        self._move()
        if not x.response_bytes and x.ending not in _SERVER_ENDS:
            return
        async for data in response.content.iter_any():
            seen.body += data
            seen.arrivals.append((len(seen.body), time.monotonic_ns()))
            self._move()
            if x.ending not in _SERVER_ENDS and len(seen.body) >= x.response_bytes:
                return  # the recorded client left here

    def _move(self) -> None:
        """Wake the loop that sends the requests, and start the wait for the next byte."""
        if not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time() + self._patience)
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _is_time(self, x: Exchange) -> bool:
        """Whether everything that came before this request was recorded has come again."""
        at = x.request.at_ns
        return all(self._has_seen(y, at) for y in self._begun.values() if y.request.at_ns < at)

    def _has_seen(self, y: Exchange, at: int) -> bool:
        """Whether an open response has reached its recorded length at `at`, in ns."""
        if y.kind != "sse":
            return y.end_ns is None or y.end_ns >= at
        seen = self.streams.get(y.exchange)
        # It has to be open: the order of opens decides which recorded stream a client gets.
        offsets, ends = self._reads(y.exchange)
        return seen is not None and len(seen.body) >= ends[bisect_left(offsets, at)]

    def _read_reads(self, exchange: int) -> tuple[list[int], list[int]]:
        """Return the offsets of the reads of a stream, in ns, and the bytes before and after each."""
        reads = self._store.reads(exchange)
        return [read.offset_ns for read in reads], list(accumulate((read.size for read in reads), initial=0))
