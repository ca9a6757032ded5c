"""Replays a cassette to its recorded clients: compares the bytes of every stream, and measures the timing error.

It runs a replay server on loopback and a rerun of the recorded clients. Opens of streams are gates here, as messages
are, so that each stream opens at its recorded time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import accumulate, pairwise, takewhile
from pathlib import Path
from typing import Any

from ..cassette.open import open_store
from ..cassette.sqlite import Store
from ..omnigent.protocol import ConnectSnapshot
from .player.plan import hops_of
from .player.timing import NS, Scale, Timing
from .recorded_client import Rerun, StreamSeen
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
    """Return the `q` quantile of ascending values."""
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


async def verify(
    cassette: Path, *, timing: str = "compressed", speed: float | None = None, max_gap: float | None = None
) -> Verification:
    """Return the result for a cassette. Raises `UsageError`, `CassetteError`, or `TimeoutError` if the replay gets
    stuck."""
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
    result.differences += _missing(store, recording, rerun)
    for seen in rerun.streams.values():
        compare(store, seen, result)
        result.errors_ms += timing_errors_ms(store, seen, server.timing)


def _missing(store: Store, recording: int, rerun: Rerun) -> Iterator[str]:
    """Yield a line for each recorded stream that was not replayed."""
    for x in store.exchanges(recording=recording, kind="sse", by_clients=True):
        if x.response is not None and x.exchange not in rerun.streams:
            yield f"stream {x.stream}: was not replayed ({rerun.failed.get(x.exchange, 'it got another answer')})"


def compare(store: Store, seen: StreamSeen, result: Verification) -> None:
    """Compare a received stream with the recording, and add to `result`."""
    wire = store.wire(seen.exchange)
    result.streams += 1
    result.bytes += len(wire)
    name = f"stream {seen.exchange.stream}"
    if bytes(seen.body) != wire:
        at = next(
            (i for i, (a, b) in enumerate(zip(seen.body, wire, strict=False)) if a != b), min(len(seen.body), len(wire))
        )
        result.differences.append(f"{name}: byte {at} differs; {len(wire)} were recorded, {len(seen.body)} replayed")
    elif seen.cut is not (seen.exchange.ending == "upstream_lost"):
        how = "was cut" if seen.cut else "ended cleanly"
        result.differences.append(f"{name}: {how}, but was recorded as {seen.exchange.ending}")


def timing_errors_ms(store: Store, seen: StreamSeen, timing: Timing) -> Iterator[float]:
    """Yield the errors of the gaps between the reads of one stream, in ms, if both reads are timed from the same
    moment.

    Reads after a request are timed from the request, the connect snapshot from the open: the client decides when it
    asks.
    """
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
    position = 0
    for end in accumulate(sizes):
        while position < len(arrivals) and arrivals[position][0] < end:
            position += 1
        if position == len(arrivals):
            return
        yield arrivals[position][1]
