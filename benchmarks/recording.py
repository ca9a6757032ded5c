"""What recording costs: the proxy beside one that records nothing, in front of the same source."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import servers, whole
from .load import Received, Shape, Source, receive, receive_all
from .measure import Benchmark, Contender, Figures, Metric, Settings
from .processes import Process

VERDICTS_WITHIN_S = 11.0
"""While many events arrive, the recorder makes frames every ten seconds."""
WARM = Shape(1, 100)
OPENING_S = 1.0
"""Seconds at the beginning of a stream whose latencies do not count: a hundred are being opened then."""
FIRST = 1_000_000
"""The number of the first stream that warms up; those that are measured begin at 0."""

TRIED = 30_000_000
"""Bytes that are streamed to see how fast it is."""

JUDGED_WITHIN_S = 120
"""Seconds that are waited for verdicts; what has none then is told."""

Starter = Callable[[str, Path], Process]
"""Starts a proxy in front of a URL, recording into a file."""


@dataclass(frozen=True)
class Run:
    """Streams that have just ended, and the process they went through; `before`: KiB that it held before them, `cpu_s`:
    processor seconds that it had taken."""

    shape: Shape
    received: Received
    process: Process
    before: float
    cpu_s: float


Reader = Callable[[Run], Figures]
"""What is told of a run."""


def contenders(shape: Shape, tell: Reader, settings: Settings, *, is_direct: bool = True) -> list[Contender]:
    """Return the contenders: a direct connection; on each loop the bare proxy, and omnirecord with and without its
    view."""
    reference = "bare asyncio"
    made = [Contender("direct", partial(direct, shape, tell, settings), (reference,))] if is_direct else []
    for loop in servers.LOOPS:
        others = (reference,) if loop == "asyncio" else (reference, f"bare {loop}")
        bare = partial(passed, partial(_bare, loop, settings), shape, tell, settings)
        ours = partial(recorded, partial(_ours, loop, settings), shape, tell, settings)
        quiet = partial(recorded, partial(_ours, loop, settings, more=("--quiet",)), shape, tell, settings)
        made += [
            Contender(f"bare {loop}", bare, others[: len(others) - 1]),
            Contender(f"omnirecord {loop}", ours, others),
            Contender(f"omnirecord {loop} --quiet", quiet, others),
        ]
    return made


def _bare(loop: str, settings: Settings, upstream: str, _: Path) -> Process:
    return servers.bare_proxy(loop, upstream, settings.pinned)


def _ours(loop: str, settings: Settings, upstream: str, db: Path, more: Sequence[str] = ()) -> Process:
    return servers.recorder(loop, upstream, db, settings.pinned, more)


ADDED = (("--ui",), ("--control",), ("--redact", "content"), ("--rotate", "2MB"))
"""Options that people add; a second upstream and `--ship` are benchmarks of their own."""


def added(shape: Shape, settings: Settings) -> list[Contender]:
    """Omnirecord as in the README, and with each option that people add."""
    (loop, *_) = servers.LOOPS
    plain = f"omnirecord {loop}"
    made = [Contender(plain, partial(through, partial(_ours, loop, settings), shape, settings))]
    for more in ADDED:
        run = partial(through, partial(_ours, loop, settings, more=more), shape, settings)
        made.append(Contender(f"{plain} {' '.join(more)}", run, (plain,)))
    return made


def through(start: Starter, shape: Shape, settings: Settings, faults: list[str]) -> Figures:
    """The costs of one run through a fresh recorder. Its cassettes are not compared: an option may change them."""
    source = Source(settings.pinned)
    with (
        source,
        tempfile.TemporaryDirectory(dir=settings.folder) as folder,
        start(source.url, Path(folder) / "run.db") as proxy,
    ):
        run = streamed(proxy, shape, settings)
        proxy.rests_after(JUDGED_WITHIN_S)
        figures = {**costs(run), **latency(run), "peak": run.process.memory("VmHWM") / 1024}
        faults += faults_of(run)
    return figures


def hops(shape: Shape, tell: Reader, settings: Settings) -> list[Contender]:
    """On each loop the same streams, all on one hop, and half of them on each of two."""
    made = []
    for loop in servers.LOOPS:
        two = partial(_ours_of_two, loop, settings)
        made += [
            Contender(f"one hop {loop}", partial(recorded, partial(_ours, loop, settings), shape, tell, settings)),
            Contender(f"two hops {loop}", partial(recorded, two, shape, tell, settings), (f"one hop {loop}",)),
        ]
    return made


def _ours_of_two(loop: str, settings: Settings, upstream: str, db: Path) -> Process:
    return servers.recorder_of_two(loop, upstream, db, settings.pinned)


def direct(shape: Shape, tell: Reader, settings: Settings, faults: list[str]) -> Figures:
    """Nobody between source and sink: how fast the load itself is."""
    source = Source(settings.pinned)
    with source:
        run = streamed(source, shape, settings)
    faults += [run.received.why] if run.received.why else []
    return {name: figure for name, figure in tell(run).items() if name not in ("peak", "memory")}


def recorded(start: Starter, shape: Shape, tell: Reader, settings: Settings, faults: list[str]) -> Figures:
    """One run through a fresh recorder: stream, wait for verdicts, stop it, hold what it kept against what was sent."""
    source = Source(settings.pinned)
    with source, tempfile.TemporaryDirectory(dir=settings.folder) as folder:
        db = Path(folder) / "run.db"
        with start(source.url, db) as proxy:
            run = streamed(proxy, shape, settings)
            figures = {"verdicts": since(run) + judged_after(proxy, db), **costs(run), **tell(run)}
            faults += [f"{left} bytes have no verdict"] if (left := whole.pending(db)) else []
            faults += faults_of(run)
        faults += whole.faults_of(db, run.shape, run.received, 0)
        every = WARM.total + tried(shape).total + run.received.events
        return {**figures, "disk": whole.size(Path(folder)) / every}


def passed(start: Starter, shape: Shape, tell: Reader, settings: Settings, faults: list[str]) -> Figures:
    """The same through a proxy that keeps nothing."""
    source = Source(settings.pinned)
    with source, start(source.url, Path()) as proxy:
        run = streamed(proxy, shape, settings)
        proxy.rests_after()
        figures = {**costs(run), **tell(run)}
        faults += faults_of(run)
        return figures


def streamed(process: Process, shape: Shape, settings: Settings) -> Run:
    """Warm it up, and then let it have the streams that are measured."""
    receive(process.port, WARM, settings.pinned, first=FIRST)
    shape = fitted(shape, process.port, settings)
    process.rests_after()
    before, cpu_s = process.memory("VmRSS"), process.cpu_s()
    skip, limit = round(shape.rate * OPENING_S), settings.seconds * 6 + 60
    received = receive_all(process.ports, shape, settings.pinned, skip=skip, limit=limit)
    return Run(shape, received, process, before, cpu_s)


def since(run: Run) -> float:
    """Seconds since the last event came."""
    return (time.monotonic_ns() - run.received.ended_ns) / 1e9


def costs(run: Run) -> Figures:
    """What it has cost till now."""
    return {"CPU": (run.process.cpu_s() - run.cpu_s) * 1e6 / max(1, run.received.events)}


def faults_of(run: Run) -> Iterator[str]:
    """What was not as it should be on the wire, and at the end of the process, which this brings."""
    if run.received.why:
        yield run.received.why
    if code := run.process.stop():
        yield f"exit code {code}: {run.process.said()}"


def judged_after(proxy: Process, db: Path) -> float:
    """Wait until the recorder rests and has judged all that came; return in how many seconds it began to rest."""
    begun = time.monotonic()
    while True:
        asked = time.monotonic()
        rested = asked - begun + proxy.rests_after(JUDGED_WITHIN_S)
        if not whole.pending(db) or asked > begun + JUDGED_WITHIN_S:
            return rested


def fitted(shape: Shape, port: int, settings: Settings) -> Shape:
    """As many events as it takes for the run to last; at full speed that has to be tried."""
    if shape.rate:
        return dataclasses.replace(shape, events=max(2, round(shape.rate * (settings.seconds + OPENING_S))))
    received = receive(port, tried(shape), settings.pinned, first=FIRST + 1)
    speed = received.events / max(0.001, received.seconds)
    return dataclasses.replace(shape, events=max(2, round(speed * settings.seconds)))


def tried(shape: Shape) -> Shape:
    """What says how fast it is; nothing where the rate is given."""
    return dataclasses.replace(shape, events=0 if shape.rate else max(2, TRIED // shape.size))


def speed(run: Run) -> Figures:
    got = run.received
    return {
        "events/s": got.events / got.seconds,
        "MB/s": got.bytes / got.seconds / 1e6,
        "peak": run.process.memory("VmHWM") / 1024,
    }


def latency(run: Run) -> Figures:
    return {"p50": run.received.p50_us, "p99": run.received.p99_us}


def memory(run: Run) -> Figures:
    grown = run.process.memory("VmHWM") - run.before
    return {"memory": grown / run.shape.streams, "p99": run.received.p99_us}


VERDICTS = Metric("verdicts", "s", most=VERDICTS_WITHIN_S, absolute=True)
CPU = Metric("CPU", "µs/event", most=1.25)
DISK = Metric("disk", "B/event", most=1.5 * 150, absolute=True)

BENCHMARKS = (
    Benchmark(
        "throughput",
        "one stream at full speed, events of 150 B",
        (Metric("events/s", "1/s", least=0.6), Metric("CPU", "µs/event"), VERDICTS, DISK),
        lambda settings: contenders(Shape(1, 0), speed, settings),
    ),
    Benchmark(
        "latency",
        "100 streams of 50 events a second each, from the source to the sink",
        (Metric("p50", "µs", most=1.15), Metric("p99", "µs", most=3), CPU, VERDICTS, DISK),
        lambda settings: contenders(Shape(100, 0, rate=50), latency, settings),
    ),
    Benchmark(
        "busy",
        "100 streams of 400 events a second each, from the source to the sink",
        (Metric("p50", "µs"), Metric("p99", "µs", most=3), CPU, VERDICTS, DISK),
        lambda settings: contenders(Shape(100, 0, rate=400), latency, settings),
    ),
    Benchmark(
        "hops",
        "100 streams of 50 events a second each, on one hop and on two",
        (
            Metric("p50", "µs", most=1.25),
            Metric("p99", "µs", most=2),
            Metric("CPU", "µs/event", most=1.15),
            VERDICTS,
            DISK,
        ),
        lambda settings: hops(Shape(100, 0, rate=50), latency, settings),
    ),
    Benchmark(
        "memory",
        "1,000 streams of an event a second each, opened in five seconds",
        (Metric("memory", "KiB/stream", most=1.2), Metric("p99", "µs"), VERDICTS),
        lambda settings: contenders(Shape(1000, 0, rate=1, ramp=200), memory, settings, is_direct=False),
    ),
    Benchmark(
        "options",
        "100 streams of 50 events a second each, as in the README and with the options that people add",
        (Metric("p50", "µs"), Metric("p99", "µs"), Metric("CPU", "µs/event"), Metric("peak", "MiB")),
        lambda settings: added(Shape(100, 0, rate=50), settings),
    ),
    Benchmark(
        "large",
        "one stream at full speed, events of 1 MiB",
        (Metric("MB/s", "MB/s", least=0.6), Metric("peak", "MiB"), VERDICTS),
        lambda settings: contenders(Shape(1, 0, size=1 << 20), speed, settings),
    ),
)
