"""A recorder under load that looks at itself: see `sampling`."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .load import Shape, Source, receive
from .measure import Settings
from .ports import free_port
from .processes import Process
from .recording import FIRST, WARM, fitted

SAMPLED = {"throughput": Shape(1, 0), "latency": Shape(100, 0, rate=50), "busy": Shape(100, 0, rate=400)}
LEAST = 0.01
"""Which part of a thread's time a place needs to be told."""


def sampled(shape: Shape, settings: Settings) -> Iterator[tuple[str, str, float]]:
    """Threads, places in them, and which part of all that was seen that is; most first."""
    source, port = Source(settings.pinned), free_port()
    with source, tempfile.TemporaryDirectory(dir=settings.folder) as folder:
        out, db = Path(folder) / "seen", Path(folder) / "run.db"
        arguments = ["proxy", "--upstream", source.url, "--listen", f"127.0.0.1:{port}", "--db", str(db)]
        command = [sys.executable, "-m", "benchmarks.sampling", str(out), "omnirecord", *arguments]
        with Process(command, port) as proxy:
            receive(port, WARM, first=FIRST)
            receive(port, fitted(shape, port, settings), limit=settings.seconds * 6 + 60)
            proxy.rests_after()
        seen = json.loads(out.read_text())
    every = sum(times for _, _, times in seen) or 1
    for thread, place, times in seen:
        if times / every >= LEAST:
            yield thread, place, times / every
