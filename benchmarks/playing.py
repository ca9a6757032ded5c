"""What replaying costs: the replay server beside one that writes bytes it was given."""

from __future__ import annotations

import dataclasses
import tempfile
from array import array
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import omnirecord

from . import servers
from .errors import Unusable
from .load import Received, Shape, Source, receive
from .measure import Benchmark, Contender, Figures, Metric, Settings
from .processes import Process
from .recording import FIRST, WARM

LIMIT_S = 300


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A cassette of streams of this shape, beginning with number 0; the body of the first, and when its frames came."""

    shape: Shape
    cassette: Path
    body: Path
    offsets: Path

    def times(self, stream: int) -> list[int]:
        """When the events of a stream were recorded, in ns."""
        with omnirecord.open_cassette(self.cassette) as cassette:
            (found,) = [one for one in cassette.streams() if one.session_id == f"bench-{stream}"]
            return [frame.offset_ns for frame in found.frames()][: self.shape.events]


@cache
def recorded(shape: Shape, folder: Path) -> Recorded:
    """Record it with omnirecord, once for all rounds."""
    made = Path(tempfile.mkdtemp(dir=folder))
    found = Recorded(shape, made / "run.db", made / "body", made / "offsets")
    source = Source(pinned=False)
    with source, servers.recorder("asyncio", source.url, found.cassette) as proxy:
        receive(proxy.port, WARM, first=FIRST)
        received = receive(proxy.port, shape, limit=LIMIT_S)
        if received.why:
            raise Unusable(f"could not be recorded: {received.why}")
        proxy.rests_after(LIMIT_S)
    with omnirecord.open_cassette(found.cassette) as cassette:
        stream = next(one for one in cassette.streams() if one.session_id == "bench-0")
        found.body.write_bytes(stream.body())
        found.offsets.write_bytes(array("q", [frame.offset_ns for frame in stream.frames()]).tobytes())
    return found


@dataclasses.dataclass(frozen=True)
class Play:
    """Replays that have just ended; `before`: KiB that the server held before them; `times`: due times, by stream."""

    recorded: Recorded
    received: Received
    process: Process
    before: float
    cpu_s: float
    arrivals: array[int]
    is_ours: bool


Reader = Callable[[Play], Figures]
Starter = Callable[[Recorded], Process]


def contenders(shape: Callable[[Settings], Shape], timing: str, tell: Reader, settings: Settings) -> list[Contender]:
    """On each loop the bare server, and omnirecord."""
    made: list[Contender] = []
    for loop in servers.LOOPS:
        bare, ours = partial(_bare, loop, timing, settings), partial(_ours, loop, timing, settings)
        others = ("bare asyncio",) if loop == "asyncio" else ("bare asyncio", f"bare {loop}")
        run = partial(play, shape(settings), tell, settings)
        made.append(Contender(f"bare {loop}", partial(run, bare, False), others[: len(others) - 1]))
        made.append(Contender(f"omnirecord {loop}", partial(run, ours, True), others))
    return made


def _bare(loop: str, timing: str, settings: Settings, what: Recorded) -> Process:
    offsets = what.offsets if timing == "original" else None
    return servers.bare_replay(loop, what.body, offsets, settings.pinned)


def _ours(loop: str, timing: str, settings: Settings, what: Recorded) -> Process:
    return servers.replay(loop, what.cassette, timing, settings.pinned)


def play(shape: Shape, tell: Reader, settings: Settings, start: Starter, is_ours: bool, faults: list[str]) -> Figures:
    """One run of a fresh server."""
    what = recorded(dataclasses.replace(shape, ramp=0), settings.folder)
    arrivals = settings.folder / "arrivals"
    with start(what) as server:
        receive(server.port, WARM, settings.pinned, first=FIRST)  # the bare one knows one body: it is left early
        before, cpu = server.memory("VmRSS"), server.cpu_s()
        received = receive(server.port, shape, settings.pinned, limit=LIMIT_S, arrivals=arrivals)
        if received.why:
            faults.append(received.why)
            return {}
        came = array("q", arrivals.read_bytes())
        return tell(Play(what, received, server, before, server.cpu_s() - cpu, came, is_ours))


def rate(play: Play) -> Figures:
    got = play.received
    return {
        "events/s": got.events / got.seconds,
        "after the first": (got.events - 1) / got.streaming_s,
        "first event": got.first_event_max_ms,
        "CPU": play.cpu_s * 1e6 / got.events,
    }


def timing(play: Play) -> Figures:
    errors = sorted(errors_ms(play))
    return {
        "error p50": errors[len(errors) // 2],
        "error p99": errors[int(len(errors) * 0.99)],
        "error max": errors[-1],
        "CPU": play.cpu_s * 1e6 / play.received.events,
    }


def crowd(play: Play) -> Figures:
    grown = play.process.memory("VmHWM") - play.before
    return {
        **timing(play),
        "memory": grown / len(play.received.hashes),
        "first event": play.received.first_event_max_ms,
    }


def errors_ms(play: Play) -> list[float]:
    """How far each event was from where it should have been, seen from the first of its stream, in ms."""
    events, found = play.recorded.shape.events, []
    first = play.recorded.times(0)
    for stream in range(len(play.received.hashes)):
        due = play.recorded.times(stream) if play.is_ours and stream else first
        came = play.arrivals[stream * events : (stream + 1) * events]
        found += [abs((t - came[0]) - (at - due[0])) / 1e6 for t, at in zip(came[1:], due[1:], strict=True)]
    return found


CPU = Metric("CPU", "µs/event")
FIRST_EVENT = Metric("first event", "ms")
ERRORS = (Metric("error p50", "ms"), Metric("error p99", "ms", most=2, absolute=True), Metric("error max", "ms"))

BENCHMARKS = (
    Benchmark(
        "replay",
        "one stream in `instant`, from the request to its last event; the bare server writes 64 KiB pieces",
        (Metric("events/s", "1/s", least=0.9), FIRST_EVENT, Metric("after the first", "events/s"), CPU),
        partial(contenders, lambda settings: Shape(1, round(50_000 * settings.seconds)), "instant", rate),
    ),
    Benchmark(
        "replay-timing",
        "one stream of 50 events a second in `original`; the bare server uses the event loop's timers",
        (*ERRORS, CPU),
        partial(contenders, lambda settings: Shape(1, round(50 * settings.seconds), rate=50), "original", timing),
    ),
    Benchmark(
        "replay-crowd",
        "1,000 streams of an event a second in `original`, opened in five seconds, from one process",
        (Metric("memory", "KiB/stream"), *(Metric(one.name, one.unit) for one in ERRORS), CPU, FIRST_EVENT),
        partial(contenders, lambda s: Shape(1000, max(3, round(s.seconds)), rate=1, ramp=200), "original", crowd),
    ),
)
