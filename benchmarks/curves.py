"""How cost grows: with events, streams, the size of an event, and of a cassette. Each point of a curve is one run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import reading, servers, whole
from .load import Shape, Source, receive
from .measure import Settings
from .processes import Process
from .recording import FIRST, WARM

LIMIT_S = 1800


@dataclass(frozen=True)
class Curve:
    """`title`, the names of both axes, what gives its points: for an x, the y of each line; `more` x if asked for."""

    name: str
    title: str
    x: str
    y: str
    xs: tuple[int, ...]
    more: tuple[int, ...]
    point: Callable[[int, Settings], Iterator[tuple[str, float]]]


@dataclass(frozen=True)
class Cost:
    """What a run took: CPU seconds until the recorder rested, seconds of streaming, KiB that it grew by."""

    cpu_s: float
    seconds: float
    grown_kib: float
    bytes: int


def through(shape: Shape, settings: Settings, loop: str, is_ours: bool) -> Cost:
    """One run. Raises `AssertionError` where what was received, or recorded, is not what was sent."""
    source = Source(settings.pinned)
    with source, tempfile.TemporaryDirectory(dir=settings.folder) as folder:
        db = Path(folder) / "run.db"
        with _proxy(loop, source.url, db, settings, is_ours) as proxy:
            receive(proxy.port, WARM, settings.pinned, first=FIRST)
            proxy.rests_after()
            before, cpu = proxy.memory("VmRSS"), proxy.cpu_s()
            received = receive(proxy.port, shape, settings.pinned, limit=LIMIT_S)
            assert not received.why, received.why
            proxy.rests_after(LIMIT_S)
            found = Cost(proxy.cpu_s() - cpu, received.seconds, proxy.memory("VmHWM") - before, received.bytes)
        faults = list(whole.faults_of(db, shape, received, 0)) if is_ours else []
        assert not faults, faults[:3]
        return found


def _proxy(loop: str, upstream: str, db: Path, settings: Settings, is_ours: bool) -> Process:
    if is_ours:
        return servers.recorder(loop, upstream, db, settings.pinned)
    return servers.bare_proxy(loop, upstream, settings.pinned)


def both(shape: Shape, settings: Settings) -> Iterator[tuple[str, Cost]]:
    yield "bare", through(shape, settings, "asyncio", is_ours=False)
    for loop in servers.LOOPS:
        yield f"omnirecord, {loop}", through(shape, settings, loop, is_ours=True)


def by_events(events: int, settings: Settings) -> Iterator[tuple[str, float]]:
    for name, cost in both(Shape(1, events), settings):
        yield name, cost.cpu_s


def by_streams(streams: int, settings: Settings) -> Iterator[tuple[str, float]]:
    for name, cost in both(Shape(streams, 5, rate=1, ramp=400), settings):
        yield name, max(1.0, cost.grown_kib) / 1024


def by_size(size: int, settings: Settings) -> Iterator[tuple[str, float]]:
    events = max(2, min(100_000, (64 << 20) // size))
    for name, cost in both(Shape(1, events, size=size), settings):
        yield name, cost.bytes / cost.seconds / 1e6


def by_cassette(events: int, settings: Settings) -> Iterator[tuple[str, float]]:
    for name in ("", *reading.COMMANDS):
        faults: list[str] = []
        yield name or "plain json", reading.read(name, events, settings, faults)["time"]
        assert not faults, faults


KIB, MIB = 1 << 10, 1 << 20
CURVES = (
    Curve(
        "events",
        "CPU time by number of events: one stream at full speed, until all verdicts are stored",
        "events of 150 B",
        "CPU seconds",
        (10_000, 100_000, 1_000_000),
        (10_000_000,),
        by_events,
    ),
    Curve(
        "streams",
        "Memory by number of streams, one event a second each",
        "streams",
        "MiB more than before",
        (1, 10, 100, 1000),
        (2000,),
        by_streams,
    ),
    Curve(
        "size",
        "Throughput by size of an event: one stream at full speed",
        "bytes of an event",
        "MB/s",
        (110, KIB, 16 * KIB, 256 * KIB, 4 * MIB),
        (16 * MIB, 64 * MIB),
        by_size,
    ),
    Curve(
        "cassette",
        "CPU time of commands by size of the cassette",
        "events in the cassette",
        "CPU seconds",
        (1_000, 10_000, 100_000),
        (1_000_000,),
        by_cassette,
    ),
)
