"""Replays a cassette to its recorded clients: compares bytes, and measures the timing errors. It compares every stream,
and every other answer to a model call.

It runs a replay server on loopback and a rerun of the recorded clients. Opens of streams are gates here, as messages
are, so that each stream opens at its recorded time.

`Rerun` sends the recorded requests again, to any server. A request is due once its client has received everything that
preceded the recorded request: the bytes of the streams, and the answers. So a rerun keeps the order of cause and effect
with any timing, without a clock. Requests of runners and WebSockets are left out.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate, pairwise, takewhile
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from ..cassette.model_calls import ModelHops
from ..cassette.open import open_store
from ..cassette.sqlite import Store, is_coded
from ..model import Exchange, root_of
from ..omnigent.line import ConnectSnapshot
from ..text import counted, same_start
from ..wire.headers import end_to_end
from .player.plan import start_of
from .player.timeline import NS, Scale, Timing
from .server import Replay


@dataclass(slots=True)
class Verification:
    """The result. An error is the difference between a replayed and an expected gap, in ms. `errors_ms`: of the gaps
    between reads; `first_byte_ms`: of those from a request to the start of its response; `first_event_ms`: to its
    first read."""

    streams: int = 0
    calls: int = 0
    """Model calls whose answer is no stream."""
    bytes: int = 0
    differences: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """What cannot be compared, since the cassette lacks its bytes."""
    errors_ms: list[float] = field(default_factory=list)
    first_byte_ms: list[float] = field(default_factory=list)
    first_event_ms: list[float] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not self.differences and not self.missing

    def row(self) -> dict[str, Any]:
        """Return the object that `verify --json` prints. A key without a measured gap is None."""
        return {
            "streams": self.streams,
            "calls": self.calls,
            "bytes": self.bytes,
            "equal": self.equal,
            "missing": len(self.missing),
            "timing_error_ms": _figures(self.errors_ms or [0.0]),
            "first_byte_error_ms": _figures(self.first_byte_ms) if self.first_byte_ms else None,
            "first_event_error_ms": _figures(self.first_event_ms) if self.first_event_ms else None,
        }


def _figures(errors: list[float]) -> dict[str, float]:
    ordered = sorted(errors)
    figures = {"p50": quantile(ordered, 0.5), "p99": quantile(ordered, 0.99), "max": ordered[-1]}
    return {name: round(value, 3) for name, value in figures.items()}


def quantile(ordered: list[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


async def verify(
    cassette: Path, *, timing: str = "compressed", speed: float | None = None, max_gap: float | None = None
) -> Verification:
    """Return the result for a cassette. Raises `UsageError`, `CassetteError`, or `TimeoutError` for a stuck replay."""
    result = Verification()
    with closing(open_store(cassette)) as store:
        recordings = store.recordings()
        replay = Replay(cassette, timing=timing, speed=speed, max_gap=max_gap, hold_opens=True)
        async with replay as first:
            for server in (first, *first.further.values()):
                for recording in recordings:
                    if recording.hop == server.only:
                        await _verify(store, recording.recording, server, result)
    return result


async def _verify(store: Store, recording: int, server: Replay, result: Verification) -> None:
    """Send the requests of one recording, and add the outcome to `result`."""
    rerun = Rerun(store, recording, server.url, streams_only=True)
    hops = ModelHops(store)
    times = sorted(read.offset_ns for x in store.streams() for read in store.reads(x.exchange))
    await rerun.run(max((server.timing.gap(b - a) for a, b in pairwise(times)), default=0) / NS)
    for x in store.exchanges(recording=recording, kind="sse", by_clients=True):
        if x.response is not None and x.exchange not in rerun.streams:
            why = rerun.failed.get(x.exchange, "it got another answer")
            result.differences.append(f"stream {x.stream}: was not replayed ({why})")
    for x in store.exchanges(recording=recording, kind="http", by_clients=True):
        if x.response is not None and x.ending in ("eof", "done") and hops.has(x):
            compare_answer(store, x, rerun, result)
    for seen in rerun.streams.values():
        compare(store, seen, result)
        expected = Expected(store, seen.exchange, server.timing)
        result.errors_ms += expected.errors_ms(seen)
        result.first_byte_ms += expected.first_byte_ms(seen)
        result.first_event_ms += expected.first_event_ms(seen)


def compare_answer(store: Store, x: Exchange, rerun: Rerun, result: Verification) -> None:
    """Compare the answer to a model call that is no stream."""
    assert x.response is not None
    got = rerun.answers.get(x.exchange)
    result.calls += 1
    if got is None:
        why = rerun.failed.get(x.exchange, "it was not sent")
        result.differences.append(f"exchange {x.exchange}: was not replayed ({why})")
        return
    status, body = got
    wire = store.body(x.exchange, "response")
    result.bytes += len(wire)
    if len(wire) != x.response_bytes:
        result.missing.append(f"exchange {x.exchange}: its body is not whole in the cassette")
    elif status != x.response.status:
        result.differences.append(f"exchange {x.exchange}: {status} was replayed, {x.response.status} was recorded")
    elif body != wire:
        at = same_start(body, wire)
        said = f"{len(wire)} were recorded, {len(body)} replayed"
        result.differences.append(f"exchange {x.exchange}: byte {at} differs; {said}")


def compare(store: Store, seen: StreamSeen, result: Verification) -> None:
    wire = store.wire(seen.exchange)
    result.streams += 1
    result.bytes += len(wire)
    name = f"stream {seen.exchange.stream}"
    if not is_coded(seen.exchange):
        result.missing += map(str, store.missing(seen.exchange))
    elif lost := len(store.lost(seen.exchange.exchange)):
        result.missing.append(f"{name}: the bytes of {counted(lost, 'read')} are not in the cassette")
    if bytes(seen.body) != wire:
        at = same_start(seen.body, wire)
        result.differences.append(f"{name}: byte {at} differs; {len(wire)} were recorded, {len(seen.body)} replayed")
    elif seen.cut is not (seen.exchange.ending == "upstream_lost"):
        how = "was cut" if seen.cut else "ended cleanly"
        result.differences.append(f"{name}: {how}, but was recorded as {seen.exchange.ending}")


class Expected:
    """The expected times of one stream. A gap is compared if no client request lies in it: the client decides when it
    asks, and its requests are gates. So the connect snapshot is timed from the open, later reads from each other."""

    def __init__(self, store: Store, exchange: Exchange, timing: Timing) -> None:
        self._exchange = exchange
        self._reads = store.reads(exchange.exchange)
        clients = list(store.exchanges(recording=exchange.recording, by_clients=True))
        parents = store.parents()
        streams = [x for x in clients if x.kind == "sse" and _has_playhead_of(exchange, x, parents)]
        reads = {x.exchange: [read.offset_ns for read in store.reads(x.exchange)] for x in streams}
        asked = {x.request.at_ns for x in clients}
        points = asked.union(map(start_of, streams), *reads.values())  # another stream's read divides a gap
        self._scale = Scale(sorted(points), timing)
        snapshot = takewhile(ConnectSnapshot().takes, store.frames(exchange))
        self._snapshot_ns = max((frame.offset_ns for frame in snapshot), default=-1)
        self._asked = sorted(asked)
        self._moments = sorted(asked | {self._snapshot_ns})
        asked_ns = exchange.request.at_ns
        begun = (x for x in streams if x.exchange != exchange.exchange and x.request.at_ns < asked_ns)
        self._is_overlapped = any(reads[x.exchange][-1:] > [asked_ns] for x in begun)

    def errors_ms(self, seen: StreamSeen) -> Iterator[float]:
        """Yield the errors of the gaps between the reads, in ms."""
        arrivals = _arrivals([read.size for read in self._reads], seen.arrivals)
        timed = zip((read.offset_ns for read in self._reads), arrivals, strict=False)
        for (before, came), (after, comes) in pairwise(timed):
            if bisect_left(self._moments, before) == bisect_left(self._moments, after):
                yield self._error_ms(before, after, comes - came)

    def first_byte_ms(self, seen: StreamSeen) -> Iterator[float]:
        """Yield the error of the time from the request to the start of the response, in ms, if it can be compared."""
        begins = start_of(self._exchange)
        if self._is_timed_from_request(begins):
            yield self._error_ms(self._exchange.request.at_ns, begins, seen.began_ns - seen.asked_ns)

    def first_event_ms(self, seen: StreamSeen) -> Iterator[float]:
        """Yield the error of the time from the request to the first read, in ms, if it can be compared. Behind the
        connect snapshot, a stream that joins others of its session goes on at their time, not at its own."""
        first = next(_arrivals([read.size for read in self._reads[:1]], seen.arrivals), None)
        if first is None or not self._is_timed_from_request(came := self._reads[0].offset_ns):
            return
        if came <= self._snapshot_ns or not self._is_overlapped:
            yield self._error_ms(self._exchange.request.at_ns, came, first - seen.asked_ns)

    def _is_timed_from_request(self, offset_ns: int) -> bool:
        asked_ns = self._exchange.request.at_ns
        return self._exchange.has_times and bisect_right(self._asked, asked_ns) >= bisect_left(self._asked, offset_ns)

    def _error_ms(self, before: int, after: int, lasted: int) -> float:
        return abs(lasted - (self._scale(after) - self._scale(before))) / 1e6


def _has_playhead_of(one: Exchange, other: Exchange, parents: dict[str, str]) -> bool:
    """Whether two streams are played on one timeline: those of a session tree are."""
    if one.session_id is None or other.session_id is None:
        return one.exchange == other.exchange
    return root_of(one.session_id, parents) == root_of(other.session_id, parents)


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
    asked_ns: int = 0
    """When the request was sent, and `began_ns`: when its response began, on the same clock."""
    began_ns: int = 0
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
        self._hops = ModelHops(store)
        self.streams: dict[int, StreamSeen] = {}
        self.answers: dict[int, tuple[int, bytes]] = {}
        """Status and body of each model call whose answer is no stream, by exchange."""
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
        is_compared = x.kind == "sse" or self._hops.has(x)
        kept = [] if is_compared else ["accept-encoding"]  # what is compared is requested in its coding
        headers = end_to_end(x.request.headers, but=["host", "content-length", "expect", *kept])
        asked_ns = time.monotonic_ns()
        async with client.request(
            x.request.method, url, headers=headers, data=body or None, allow_redirects=False
        ) as response:
            await self._receive(response, x, asked_ns)

    async def _receive(self, response: aiohttp.ClientResponse, x: Exchange, asked_ns: int) -> None:
        if x.kind != "sse":
            body = await response.read()
            if self._hops.has(x):
                self.answers[x.exchange] = response.status, body
            return
        seen = self.streams[x.exchange] = StreamSeen(x, asked_ns=asked_ns, began_ns=time.monotonic_ns())
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
        moved = self._moved
        self._moved = asyncio.Event()
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
