"""Long and large: what is run for minutes, and what it comes to. `python -m tests.support.soak NAME` runs one in full.

`hour`: an hour of twenty people's traffic in minutes, with rotation; `crowd`: 1,000 streams at once; `long`: one stream
of 5 million events; `large`: a cassette of 10 GB. `tests/end_to_end/test_soak.py` runs each in small.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omnirecord.cassette.framing import Framed, Framer
from omnirecord.cassette.sqlite import Writer, rows, stream_rows
from omnirecord.model import Recording
from omnirecord.omnigent.contract import load
from omnirecord.server.timers import monotonic
from tests.support import wire
from tests.support.process import ForkedProcess, allow_many_files, children
from tests.support.wire import Wire, chunk, connected, event, get

_RATE = 40_000


@dataclass
class State:
    """What a process has of the system's things."""

    resident: int
    descriptors: int
    threads: int


def state_of(pid: int) -> State:
    """With the process that it has begun, but for its descriptors: it opens a file when there is something to make."""
    folders = [Path(f"/proc/{one}") for one in (pid, *children(pid))]
    pages = sum(int((folder / "statm").read_text().split()[1]) for folder in folders)
    return State(
        pages * os.sysconf("SC_PAGE_SIZE"), _count(folders[0] / "fd"),
        sum(_count(folder / "task") for folder in folders),
    )  # fmt: skip


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


@dataclass
class Figures:
    """How a run went. `states`: of the proxy's process, over time; at the first and the last nobody is there."""

    name: str
    states: list[State] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def growth(self) -> int:
        """Bytes that the process has more at its largest than it had after a quarter of the time."""
        early = self.states[max(1, len(self.states) // 4)]
        return max(one.resident for one in self.states) - early.resident

    def __str__(self) -> str:
        largest = max(one.resident for one in self.states) / 1e6 if self.states else 0
        first, last = (self.states[0], self.states[-1]) if self.states else (State(0, 0, 0),) * 2
        said = [f"{name} {value}" for name, value in self.told.items()]
        if self.states:
            said += [
                f"RSS {first.resident / 1e6:.0f} MB first, {largest:.0f} MB at most, {last.resident / 1e6:.0f} MB last",
                f"descriptors {first.descriptors} and {last.descriptors}",
                f"threads {first.threads} and {last.threads}",
            ]  # fmt: skip
        return f"{self.name}: " + "; ".join(said)


class Watched:
    """Looks at a recorder twice a second while something runs."""

    def __init__(self, figures: Figures, pid: int) -> None:
        self._figures, self._pid = figures, pid

    async def __aenter__(self) -> None:
        self._figures.states.append(await self._at_rest())
        self._task = asyncio.create_task(self._watch())

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await self._settled()
        self._figures.states.append(state_of(self._pid))

    async def _at_rest(self) -> State:
        """The state once the process does nothing any more."""
        before, now = None, state_of(self._pid)
        while before != now:
            await asyncio.sleep(0.5)
            before, now = now, state_of(self._pid)
        return now

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            self._figures.states.append(state_of(self._pid))

    async def _settled(self) -> None:
        """A moment for connections to be closed and frames to be made."""
        first = self._figures.states[0]
        until = monotonic() + 20  # connections to upstream are kept for 15 s
        await wire.eventually(
            lambda: monotonic() > until or state_of(self._pid).descriptors <= first.descriptors, 30
        )  # fmt: skip


async def hour(folder: Path, *, people: int, turns: int, deltas: int = 60) -> Figures:
    """Each of them opens a stream, has so many turns, leaves, and comes back: without the pauses between."""

    async def handle(conn: Wire) -> None:
        while True:
            line, _, _ = await conn.request()
            if b"/stream" not in line:
                await conn.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}")
                continue
            await conn.send(wire.STREAM)
            for n in range(deltas):
                await conn.send(chunk(event(n, 40)))
                if n % 10 == 9:
                    await asyncio.sleep(0)
            await conn.send(chunk(b"event: session.heartbeat\ndata: {}\n\n") + wire.END)

    async def person(url: str, number: int) -> None:
        for turn in range(turns):
            session = f"/v1/sessions/{number:04}{turn // 20:04}"
            body = b'{"type": "message", "token": "secret"}'
            post = f"POST {session}/events HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            await wire.ask(url, post + body)
            answer = await wire.ask(url, get(f"{session}/stream"))
            assert answer.whole

    figures = Figures("hour")
    db = folder / "run.db"
    began = monotonic()
    options = "--rotate", "5MB", "--rotate", "30s", "--keep", "4"
    async with wire.Upstream(handle) as upstream, ForkedProcess(upstream.url, db, *options) as proxy:
        await person(proxy.url, 9999)  # all is loaded
        async with Watched(figures, proxy.process.pid), asyncio.TaskGroup() as group:
            for number in range(people):
                group.create_task(person(proxy.url, number))
    events = people * turns * (deltas + 1)
    figures.told = {
        "turns": people * turns, "events": f"{events:,}", "seconds": round(monotonic() - began, 1),
        "files kept": len([path for path in folder.iterdir() if path.suffix == ".db" and not path.is_symlink()]),
        "bytes kept": f"{sum(path.stat().st_size for path in folder.iterdir() if not path.is_symlink()):,}",
    }  # fmt: skip
    return figures


async def crowd(folder: Path, *, streams: int, events: int) -> Figures:
    """So many streams at once, each with so many events, that all go on until the last one has begun."""
    allow_many_files()
    everybody = asyncio.Event()

    async def handle(conn: Wire) -> None:
        await conn.stream(event(0))
        await everybody.wait()
        for n in range(1, events):
            await conn.send(chunk(event(n)))
            await asyncio.sleep(0.05)
        await conn.send(wire.END)

    async def listen(url: str, number: int) -> bytes:
        async with connected(url, get(f"/v1/sessions/{number}/stream")) as client:
            _, headers = await client.head()
            first = await client.chunk()
            nonlocal begun
            begun += 1
            if begun == streams:
                everybody.set()
            rest, whole = await client.body(headers)
            assert whole
            return first + rest

    begun = 0
    figures = Figures("crowd")
    db = folder / "run.db"
    began = monotonic()
    async with wire.Upstream(handle) as upstream, ForkedProcess(upstream.url, db) as proxy:
        async with Watched(figures, proxy.process.pid), asyncio.TaskGroup() as group:
            heard = [group.create_task(listen(proxy.url, number)) for number in range(streams)]
        seconds = monotonic() - began
        await proxy.end(15)  # type: ignore[arg-type]
    wanted = b"".join(map(event, range(events)))
    with wire.opened(db) as store:
        kept = [b"".join(store.content(x)) for x in store.streams()]
    figures.told = {
        "streams": streams, "events": f"{streams * events:,}", "seconds": round(seconds, 1),
        "heard whole": sum(task.result() == wanted for task in heard), "kept whole": sum(one == wanted for one in kept),
        "descriptors at most": max(one.descriptors for one in figures.states),
    }  # fmt: skip
    return figures


async def long(folder: Path, *, events: int) -> Figures:
    """One stream of so many events, `_RATE` a second: more than a disk takes would be counted and not kept."""
    size = 500
    sent, heard = hashlib.sha256(), hashlib.sha256()

    async def handle(conn: Wire) -> None:
        await conn.stream()
        begun = monotonic()
        for n in range(0, events, size):
            burst = b"".join(map(event, range(n, min(n + size, events))))
            sent.update(burst)
            await conn.send(chunk(burst))
            await asyncio.sleep(max(0.0, begun + n / _RATE - monotonic()))
        await conn.send(wire.END)

    figures = Figures("long")
    db = folder / "run.db"
    began = monotonic()
    async with wire.Upstream(handle) as upstream, ForkedProcess(upstream.url, db) as proxy:
        async with Watched(figures, proxy.process.pid), connected(proxy.url, get("/v1/sessions/s/stream")) as client:
            await client.head()
            while data := await client.chunk():
                heard.update(data)
            passed = monotonic() - began
            for _ in range(3600):
                if _last_seq(db) == events:
                    break
                await asyncio.sleep(1)  # to look is not for nothing
        seconds = monotonic() - began
        await proxy.end(15)  # type: ignore[arg-type]
    kept, count = hashlib.sha256(), 0
    with wire.opened(db) as store:
        (stream,) = store.streams()
        for frame in store.frames(stream):
            kept.update(frame.raw or b"")
            count += frame.verdict == "valid"
    figures.told = {
        "events": f"{events:,}", "passed in": f"{passed:.1f} s", "frames made in": f"{seconds:.1f} s",
        "valid": f"{count:,}",
        "bytes on disk": f"{db.stat().st_size:,}", "equal": sent.digest() == heard.digest() == kept.digest(),
    }  # fmt: skip
    return figures


def _last_seq(db: Path) -> int:
    with wire.opened(db) as store:
        return max((store.last_seq(x) for x in store.streaming()), default=0)


def large(folder: Path, *, size: int, streams: int = 40) -> Figures:
    """A closed cassette of so many bytes; what commands read more of it than of a small one, in bytes, and seconds."""
    db = folder / "large.db"
    began = monotonic()
    count = _fill(db, size, streams)
    figures = Figures("large")
    told = figures.told
    told["bytes"], told["events"], told["made in"] = (
        f"{db.stat().st_size:,}",
        f"{count:,}",
        f"{monotonic() - began:.0f} s",
    )
    small = folder / "small.db"
    _fill(small, 0, 1)
    for command, *more in (["ls"], ["ls", "--streams"], ["ls", "--exchanges"], ["tail"]):
        code, _ = _cost(command, str(small), *more, "--json")
        read, seconds = _cost(command, str(db), *more, "--json")
        told[" ".join([command, *more])] = f"{(read - code) / 1e6:.1f} MB read, {seconds:.1f} s"
    return figures


def _cost(*words: str) -> tuple[int, float]:
    """Bytes that a command reads, of its own code too, and seconds."""
    script = (
        "import sys, re; from omnirecord.cli import main\n"
        "try: main()\n"
        "finally: print(re.search('rchar: ([0-9]+)', open('/proc/self/io').read())[1], file=sys.stderr)"
    )
    began = monotonic()
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    return int(done.stderr.split()[-1]), monotonic() - began


def _fill(db: Path, size: int, streams: int) -> int:
    """A cassette with streams of typical deltas, as the recorder leaves it; how many frames it has."""
    framer = Framer(None, load("omnigent"))
    framed = framer.feed(0, b"".join(event(n, 150) for n in range(1000)))
    rounds = max(1, size // streams // (1000 * 370))
    with closing(Writer(db)) as writer:
        writer.write([rows.recording(Recording(1, "2026-11-25T10:00:00+00:00", "0", "omnigent", None))])
        for stream in range(1, streams + 1):
            writer.write(_begin(stream))
            for number in range(rounds):
                writer.write(_some(stream, number, framed))
            length = rounds * sum(one.frame.length for one in framed)
            writer.write([rows.end(stream, rounds * 10**9, "client_left", 0, length)])
    return streams * rounds * len(framed)


def _begin(stream: int) -> list[rows.Row]:
    target = f"/v1/sessions/s{stream}/stream"
    headers = (("content-type", "text/event-stream"),)
    return [
        rows.request(stream, 1, "sse", f"s{stream}", "client", 0, "GET", target, ()),
        rows.response(stream, "sse", stream, 0, 200, "OK", headers),
    ]


def _some(stream: int, number: int, framed: list[Framed]) -> Iterator[rows.Row]:
    first, length = number * len(framed), sum(one.frame.length for one in framed)
    pieces = stream_rows.ReadBlocks(stream, first, number * length)
    reads: list[rows.Row] = []
    for n, one in enumerate(framed, first):
        pieces.add(n * 10**6, n * 10**6, one.frame.length, one.frame.raw, reads)
    yield from (*reads, *pieces.close())
    made = (Framed(one.frame, one.judgement, n) for n, one in enumerate(framed, first))
    yield from stream_rows.frame_blocks(stream, made, lambda n: n * 10**6, first + 1, number * length, first)


FULL: dict[str, Callable[[Path], Any]] = {
    "hour": lambda folder: asyncio.run(hour(folder, people=20, turns=360)),
    "crowd": lambda folder: asyncio.run(crowd(folder, streams=1000, events=100)),
    "long": lambda folder: asyncio.run(long(folder, events=5_000_000)),
    "large": lambda folder: large(folder, size=10_000_000_000),
}


def main() -> int:
    asks = argparse.ArgumentParser(prog="python -m tests.support.soak")
    asks.add_argument("name", choices=FULL)
    name = asks.parse_args().name
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        print(FULL[name](folder))  # noqa: T201
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
