"""The load: a source of event streams and a sink that checks each byte of them. It is C: Python would be the limit."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from .errors import Unusable
from .ports import free_port
from .processes import Process

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".bench"
"""What is compiled stays here; git does not see it."""
CPU = 1
"""Where the load is with `--pin`; what is measured is on 0."""


@dataclass(frozen=True)
class Shape:
    """What is streamed: `streams` at once, or `ramp` of them opened a second; `events` in each, of `size` bytes, `rate`
    a second (0: as fast as they are taken)."""

    streams: int
    events: int
    rate: float = 0
    size: int = 150
    ramp: float = 0

    @property
    def total(self) -> int:
        return self.streams * self.events


@dataclass(frozen=True)
class Received:
    """What a sink saw. `hashes` of the bodies, by stream; `why`: the first thing that was not right, or empty."""

    exact: int
    events: int
    bytes: int
    seconds: float
    streaming_s: float
    p50_us: float
    p99_us: float
    max_us: float
    first_event_max_ms: float
    cpu_s: float
    ended_ns: int
    why: str
    hashes: tuple[str, ...]


def program() -> Path:
    """The compiled load, made where it is not there. Raises `Unusable` without a C compiler."""
    source = Path(__file__).with_name("load.c")
    made = CACHE / f"load-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    if made.exists():
        return made
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise Unusable("the load is a C program, and there is no C compiler: install one (cc), or name it in CC")
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        done = subprocess.run(
            [compiler, "-O2", "-o", f"{folder}/load", str(source)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Unusable(f"{source} does not compile here (it needs Linux): {done.stderr.strip()[:500]}")
        Path(folder, "load").rename(made)
    return made


class Source(Process):
    """A server of streams, at `port`."""

    def __init__(self, pinned: bool) -> None:
        self.port = free_port()
        super().__init__([str(program()), "source", str(self.port)], self.port, cpu=CPU if pinned else None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def sink_command(port: int, shape: Shape, **more: object) -> list[str]:
    """`more`: `first`, `limit`, `trace`, `arrivals`, as in `load.c`."""
    what = (port, shape.streams, shape.events, shape.rate, shape.size)
    return [str(program()), "sink", *map(str, what), f"ramp={shape.ramp}", *(f"{k}={v}" for k, v in more.items())]


def receive(port: int, shape: Shape, pinned: bool = False, **more: object) -> Received:
    """Open the streams at a port of ours, and read them to their ends."""
    done = subprocess.run(
        sink_command(port, shape, **more),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=(lambda: os.sched_setaffinity(0, {CPU})) if pinned else None,
    )
    return received(done.stdout)


def receive_all(ports: Sequence[int], shape: Shape, pinned: bool = False, **more: object) -> Received:
    """The same from several ports at once: each has its share of the streams, numbered one after the other."""
    if len(ports) == 1:
        return receive(ports[0], shape, pinned, **more)
    share = replace(shape, streams=shape.streams // len(ports))
    with ThreadPoolExecutor(len(ports)) as threads:
        running = [
            threads.submit(receive, port, share, pinned, **more, first=place * share.streams)
            for place, port in enumerate(ports)
        ]
        return together([one.result() for one in running])


def together(parts: Sequence[Received]) -> Received:
    """What several sinks saw: of latencies the median is the mean of theirs, and every other figure the worst."""
    return Received(
        exact=sum(one.exact for one in parts),
        events=sum(one.events for one in parts),
        bytes=sum(one.bytes for one in parts),
        seconds=max(one.seconds for one in parts),
        streaming_s=max(one.streaming_s for one in parts),
        p50_us=fmean(one.p50_us for one in parts),
        p99_us=max(one.p99_us for one in parts),
        max_us=max(one.max_us for one in parts),
        first_event_max_ms=max(one.first_event_max_ms for one in parts),
        cpu_s=sum(one.cpu_s for one in parts),
        ended_ns=max(one.ended_ns for one in parts),
        why=next((one.why for one in parts if one.why), ""),
        hashes=tuple(digest for one in parts for digest in one.hashes),
    )


def received(stdout: str) -> Received:
    found: dict[str, Any] = json.loads(stdout)
    return Received(**{**found, "hashes": tuple(found["hashes"])})


@dataclass(frozen=True)
class Checked:
    """A recorded body beside what was sent: `exact` if it is that and no more, `wrong` if anything is not that."""

    exact: bool
    wrong: bool
    events: int
    bytes: int
    hash: str


def check(body: Iterable[bytes], shape: Shape) -> Checked:
    """Hold a body against the stream that was sent."""
    command = [str(program()), "check", str(shape.events), str(shape.size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as checker:
        assert checker.stdin is not None
        assert checker.stdout is not None
        for piece in body:
            checker.stdin.write(piece)
        checker.stdin.close()
        return Checked(**json.loads(checker.stdout.read()))
