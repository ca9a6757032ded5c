"""What `--ship` costs the streams: a proxy that rotates, without and with a process that ships each closed cassette."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from omnirecord.cassette.open import open_store

from . import servers
from .errors import Unusable
from .load import Shape, Source
from .measure import Benchmark, Contender, Figures, Metric, Settings
from .recording import JUDGED_WITHIN_S, WARM, Run, costs, faults_of, latency, streamed

ROTATE = "2MB"
_EVENTS = "SELECT coalesce(sum(events), 0) AS events FROM recordings"


def contenders(shape: Shape, settings: Settings) -> list[Contender]:
    """On each loop the same proxy, without and with a lake."""
    made = []
    for loop in servers.LOOPS:
        name = f"omnirecord {loop}"
        made += [
            Contender(name, partial(rotated, loop, shape, settings, ships=False)),
            Contender(f"{name} --ship", partial(rotated, loop, shape, settings, ships=True), (name,)),
        ]
    return made


def rotated(loop: str, shape: Shape, settings: Settings, faults: list[str], *, ships: bool) -> Figures:
    """One run through a fresh proxy, whose lake is a folder. Each event has to be in a cassette, and in the lake."""
    source = Source(settings.pinned)
    with source, tempfile.TemporaryDirectory(dir=settings.folder) as made:
        folder, lake = Path(made) / "recorded", Path(made) / "lake"
        folder.mkdir()
        more = ["--rotate", ROTATE]
        if ships:
            _omnirecord("lake", "init", str(lake))
            more += ["--ship", str(lake)]
        with servers.recorder(loop, source.url, folder / "run.db", settings.pinned, more) as proxy:
            run = streamed(proxy, shape, settings)
            proxy.rests_after(JUDGED_WITHIN_S)
            figures = {**costs(run), **latency(run)}
            faults += [*faults_of(run), *_missing(run, folder, lake if ships else None)]
        return figures


def _missing(run: Run, folder: Path, lake: Path | None) -> Iterator[str]:
    """The events that the cassettes or the lake lack, as sentences."""
    paths = [path for path in folder.glob("run-*.db") if not path.is_symlink()]
    valid = frames = 0
    for path in paths:
        with closing(open_store(path)) as store:
            for stream in store.streams():
                verdicts, _ = store.tally(stream)
                valid, frames = valid + verdicts.get("valid", 0), frames + sum(verdicts.values())
    sent = WARM.total + run.received.events
    if valid != sent:
        yield f"{valid:,} of {sent:,} events are in the cassettes"
    if lake is None:
        return
    shipped = json.loads(_omnirecord("lake", "sql", str(lake), _EVENTS, "--json"))["events"]
    if shipped != frames:
        yield f"{shipped:,} of {frames:,} frames are in the lake"


def _omnirecord(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "omnirecord", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unusable(f"omnirecord {' '.join(words)}: {done.stderr.strip()[-500:]}")
    return done.stdout


BENCHMARKS = (
    Benchmark(
        "shipping",
        f"100 streams of 50 events a second each, a cassette every {ROTATE}, without and with --ship",
        (Metric("p50", "µs"), Metric("p99", "µs", most=1.5), Metric("CPU", "µs/event")),
        partial(contenders, Shape(100, 0, rate=50)),
    ),
)
