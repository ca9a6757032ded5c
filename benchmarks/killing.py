"""kill -9 in the middle of a recording, held against the promise: what a client has had for 250 ms is in the file."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

import omnirecord

from . import servers
from .load import Shape, Source, check, receive, received, sink_command
from .measure import Benchmark, Contender, Figures, Metric, Settings
from .recording import FIRST, WARM

PROMISED_MS = 250
SHAPES = {"one at full speed": Shape(1, 100_000_000), "100 of 50/s": Shape(100, 1_000_000, rate=50)}

Trace = dict[int, list[tuple[int, int]]]
"""For each stream, at some times (ns), how many bytes its client had."""


def contenders(settings: Settings) -> list[Contender]:
    return [
        Contender(f"omnirecord {loop}, {name}", partial(kill, loop, shape, settings))
        for loop in servers.LOOPS
        for name, shape in SHAPES.items()
    ]


def kill(loop: str, shape: Shape, settings: Settings, faults: list[str]) -> Figures:
    source = Source(settings.pinned)
    with source, tempfile.TemporaryDirectory(dir=settings.folder) as folder:
        db, trace = Path(folder) / "run.db", Path(folder) / "trace"
        with servers.recorder(loop, source.url, db, settings.pinned) as proxy:
            receive(proxy.port, WARM, settings.pinned, first=FIRST)
            command = sink_command(proxy.port, shape, limit=settings.seconds * 2 + 30, trace=trace)
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sink:
                time.sleep(settings.seconds)
                killed_ns = time.monotonic_ns()
                proxy.kill()
                assert sink.stdout is not None
                had = received(sink.stdout.read())
        if "other bytes" in had.why:
            faults.append(had.why)
        missing = missing_ms(db, shape, traced(trace), killed_ns, faults)
        return {"lost": max(missing, default=0.0)}


def missing_ms(db: Path, shape: Shape, trace: Trace, killed_ns: int, faults: list[str]) -> list[float]:
    """For each stream, how long before the kill its client had the first byte that is not in the file; 0: all is."""
    found = []
    with omnirecord.open_cassette(db) as cassette:
        bodies = {stream.session_id: stream for stream in cassette.streams()}
        for number, seen in trace.items():
            stream = bodies.get(f"bench-{number}")
            body = b"" if stream is None else stream.body()
            if check([body], shape).wrong:
                faults.append(f"bench-{number} holds what was not sent")
            found += [(killed_ns - at) / 1e6 for at, size in seen if size > len(body)][:1] or [0.0]
    return [max(0.0, one) for one in found]


def traced(file: Path) -> Trace:
    found: Trace = defaultdict(list)
    for line in file.read_text().splitlines():
        stream, at, size = map(int, line.split())
        found[stream].append((at, size))
    return found


BENCHMARKS = (
    Benchmark(
        "kill",
        "kill -9 while streams run: age of the oldest byte that a client had and the file lacks",
        (Metric("lost", "ms", most=PROMISED_MS, absolute=True, promised=True),),
        contenders,
    ),
)
