"""A recorder that is killed while clients read numbered events, and what its files then have to hold.

Each stream has a name of its own, in the path of its request, and each event its number in the stream. So the events
that a client received tell which events the files have to hold.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from pathlib import Path
from random import Random
from typing import Any

import omnirecord
from omnirecord.cassette.sqlite import Writer
from omnirecord.model import TimedFrame
from omnirecord.recorder.files import RecordingFiles
from tests.support.process import ForkedProcess
from tests.support.wire import END, STREAM, Wire, chunk, connected, get

STREAMS = 20
"""Clients at a time: half of them at each of two hops."""
DURABLE_AFTER = 0.25
_SHORT = 80
"""Events in a short stream; every fifth stream is short, and its client then opens another one."""
_NAME = re.compile(r"r\d+-s\d+-k\d+")


def event(n: int) -> bytes:
    """The event of number `n`: most are valid, the others have each of the other verdicts."""
    kind = n % 23
    if kind == 3:
        return b": comment %d\n\n" % n
    if kind == 7:
        return b'event: response.new\ndata: {"type":"response.new","sequence_number":%d}\n\n' % n
    if kind == 11:
        return b'data: {"type":"response.output_text.delta","sequence_number":%d,"delta":%d}\n\n' % (n, n)
    if kind == 13:
        return b'data: {"type":"response.output_text.delta","sequence_number":%d,\n\n' % n
    if kind == 17:
        return b'event: session.status\ndata: {"type":"session.status","conversation_id":"c%d","status":"idle"}\n\n' % n
    return (
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":%d,'
        b'"delta":"word %d "}\n\n' % (n, n)
    )


@dataclass
class Pace:
    """How fast an upstream sends: events in a burst, and seconds between two bursts of a stream."""

    burst: int = 15
    pause: float = 0.05


def sends(pace: Pace, random: Random) -> Callable[[Wire], Any]:
    async def handle(conn: Wire) -> None:
        line, _, _ = await conn.request()
        is_short = b"short" in line
        await conn.send(STREAM)
        rest = b""
        for first in count(0, pace.burst):
            burst = rest + b"".join(map(event, range(first, first + pace.burst)))
            is_over = is_short and first + pace.burst >= _SHORT
            cut = len(burst) if is_over else random.randrange(len(burst))
            rest = burst[cut:]
            if cut:
                await conn.send(chunk(burst[:cut]))
            if is_over:
                break
            await asyncio.sleep(random.uniform(0.2, 1.8) * pace.pause)
        await conn.send(END)

    return handle


@dataclass
class Received:
    """What one client received of a stream: the bytes, and how many of them it had at which time."""

    name: str
    hop: str | None
    data: bytearray = field(default_factory=bytearray)
    sizes: list[tuple[float, int]] = field(default_factory=list)
    is_whole: bool = False

    def until(self, at: float) -> int:
        return max((size for when, size in self.sizes if when <= at), default=0)

    def oldest_lost(self, kept: int, killed: float) -> float:
        """Seconds between the first bytes that the files lack and the kill."""
        return max((killed - when for when, size in self.sizes if size > kept), default=0.0)


class Lag:
    """How late this event loop wakes: a loop that is late counts bytes as younger than they are, or kills late."""

    def __init__(self) -> None:
        self.late: list[tuple[float, float]] = []

    async def run(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            now = time.monotonic()
            self.late.append((now, now - before - 0.005))

    def since(self, at: float) -> float:
        return max((late for when, late in self.late if when >= at), default=0.0)


@dataclass
class Killed:
    """One kill: what was received by then, when it was, and how late the test's own loop was before it."""

    received: list[Received]
    at: float
    lag: float


async def _listen(url: str, hop: str | None, name: str, received: list[Received]) -> None:
    is_short = int(name.rpartition("-s")[2]) % 5 == 0
    for k in count():
        one = Received(f"{name}-k{k}", hop)
        whole_name = f"{one.name}-{'short' if is_short else 'long'}"
        path = f"/v1/sessions/{whole_name}/stream" if hop is None else f"/{whole_name}/v1/responses"
        received.append(one)
        async with connected(url, get(path)) as client:
            await client.head()
            while data := await client.chunk():
                one.data += data
                one.sizes.append((time.monotonic(), len(one.data)))
            one.is_whole = True


Moment = Callable[["Running"], Any]
"""Waits until the moment of a kill, and sends it."""


@dataclass
class Running:
    """A recorder with its clients. `kill` ends the recorder, not the process that ships."""

    proxy: ForkedProcess
    folder: Path
    random: Random
    killed: float = 0.0

    def kill(self) -> None:
        self.killed = time.monotonic()
        self.proxy.process.send_signal(signal.SIGKILL)


async def killed_at(
    moment: Moment, db: Path, upstream: str, *, round_: int, random: Random, options: Sequence[str] = (),
    before: Sequence[Callable[[], object]] = (), deadline: float = 60.0,
) -> Killed:  # fmt: skip
    """Record into `db` from two hops of an upstream until a kill. `moment` waits for it, or the process kills itself
    (`before`)."""
    received: list[Received] = []
    lag = Lag()
    words = ["--upstream", f"model={upstream}", "--listen", "model=127.0.0.1:0", *options]
    process = ForkedProcess(upstream, db, *words, before=before)
    mark = db.parent / "killed"
    try:
        await process.__aenter__()
    except AssertionError:  # it was killed before it was ready
        assert mark.exists(), process.process.returncode
        return Killed([], _taken(mark), 0.0)
    async with AsyncExitStack() as stack:
        stack.push_async_exit(process)
        proxy = process
        running = Running(proxy, db.parent, random)
        tasks = [asyncio.ensure_future(lag.run())]
        for n in range(STREAMS):
            hop = "model" if n % 2 else None
            url = proxy.urls["model"] if hop else proxy.url
            tasks.append(asyncio.ensure_future(_listen(url, hop, f"r{round_}-s{n}", received)))
        waiting = asyncio.ensure_future(moment(running))
        async with asyncio.timeout(deadline):
            ended = asyncio.ensure_future(proxy.process.wait())
            await asyncio.wait([waiting, ended], return_when=asyncio.FIRST_COMPLETED)
            await ended
        waiting.cancel()
        if mark.exists():
            running.killed = _taken(mark)
        elif proxy.process.returncode == 0:  # it had stopped before the kill
            running.killed = time.monotonic()
        await asyncio.sleep(0.05)  # bytes that are on their way
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, (OSError, EOFError)):
                raise result
        assert running.killed, (proxy.process.returncode, proxy.errors())
    return Killed(received, running.killed, lag.since(running.killed - 1.0))


def _taken(mark: Path) -> float:
    at = float(mark.read_text())
    mark.unlink()
    return at


@dataclass
class Held:
    """What the files hold of one stream: its bytes, and the type, verdict and issues of each of its frames."""

    data: bytes = b""
    frames: list[tuple[str | None, str, Any]] = field(default_factory=list)
    raws: list[bytes | None] = field(default_factory=list)
    endings: list[str] = field(default_factory=list)


def cassettes(folder: Path) -> list[Path]:
    return sorted(one for one in folder.glob("*.db") if not one.is_symlink())


def is_begun(path: Path) -> bool:
    """Whether a recorder was killed while it made the file of a rotation, in which nothing is recorded then."""
    try:
        omnirecord.open_cassette(path).close()
    except omnirecord.NotACassette:
        return True
    return False


Opened = list[tuple[str, str, bytes, list[TimedFrame], str | None]]


class Holdings:
    """What the cassettes of a folder hold. A file that is unchanged is not read again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[Any, ...], Opened] = {}
        self._held: dict[str, Held] = {}

    def held(self) -> dict[str, Held]:
        """By stream; a stream that goes on in another file is one."""
        known: dict[tuple[Any, ...], Opened] = {}
        for path in cassettes(self._folder):
            if not is_begun(path):
                state = _state(path)
                known[state] = self._known[state] if state in self._known else _opened(path)
        other = {state: (self._known | known)[state] for state in self._known.keys() ^ known.keys()}
        changed = {name for name, *_ in chain(*other.values())}
        self._known = known
        found: dict[str, Held] = defaultdict(Held)
        for name, _, body, frames, ending in sorted(chain(*known.values()), key=lambda one: one[:2]):
            if name in self._held and name not in changed:
                found[name] = self._held[name]
                continue
            one = found[name]
            one.data += body
            one.frames += [(frame.type, frame.verdict, frame.issues) for frame in frames]
            one.raws += [frame.raw for frame in frames]
            one.endings.append(ending)
        self._held = dict(found)
        return self._held


def held(folder: Path) -> dict[str, Held]:
    return Holdings(folder).held()


def _state(path: Path) -> tuple[Any, ...]:
    """What changes when a cassette or its log is written."""
    stats = [one.stat() for one in (path, path.with_name(f"{path.name}-wal")) if one.exists()]
    return (path, *((one.st_ino, one.st_size, one.st_mtime_ns) for one in stats))


def _opened(path: Path) -> Opened:
    opened: Opened = []
    with omnirecord.open_cassette(path) as cassette:
        starts = {one.recording: one.started_at for one in cassette.recordings()}
        for stream in cassette.streams():
            name = _NAME.search(stream.exchange.request.target)
            assert name is not None
            frames = list(stream.frames())
            start = starts[stream.exchange.recording]
            opened.append((name[0], start, stream.body(), frames, stream.exchange.ending))
    return opened


def kill_self_at(point: str, nth: int, mark: str) -> None:
    """Let this process kill itself at the n-th time that it comes to a point: `settle` and `frames`, in a transaction
    that writes these rows; `rotate`, once a new file is there and not used yet; `open`, while a file is opened."""
    left = [nth]

    def maybe() -> None:
        left[0] -= 1
        if left[0] == 0:
            Path(mark).write_text(repr(time.monotonic()))
            os.kill(os.getpid(), signal.SIGKILL)

    execute = Writer._execute
    starts = {"settle": "DELETE FROM journal", "frames": "INSERT INTO frame_blocks", "journal": "INSERT INTO journal"}

    def executed(self: Writer, statement: str, *more: Any) -> None:
        execute(self, statement, *more)
        if statement.startswith(starts.get(point, "\0")):
            maybe()

    Writer._execute = executed  # type: ignore[method-assign]
    if point == "rotate":
        another = RecordingFiles._another_file

        def begun(self: RecordingFiles, *given: Any) -> Any:
            file = another(self, *given)
            if self._begun > 1:
                maybe()
            return file

        RecordingFiles._another_file = begun  # type: ignore[method-assign]


def kills_itself(point: str, nth: int, folder: Path) -> Callable[[], object]:
    return partial(kill_self_at, point, nth, str(folder / "killed"))
