"""Which stream a client gets that opens one: a recorded one, one joined at the playhead, the rest of one. No clock.

Everything that plays here belongs to a `Playthrough`: one playing of a session tree, or a stream that belongs to no session
and has a playhead of its own.

What changes a recorded stream on its way out, and a request's answer: faults and ids. Pure.

With `resume`, its events get ids: `STREAM.SEQ`, as the proxy gives them, up to where its server gave some itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile

from ...cassette.sqlite import is_coded
from ...model import Ending, Exchange
from ...omnigent.connect_snapshot import GREETING_TYPES
from ...wire.event_ids import event_id, parse_event_id, stamp
from ...wire.sse import read_fields
from ..faults import Bound, Faults, RequestFault
from ..parts import Part, frames_of
from .options import Options
from .plan import ReplayPlan, Session, Tree, start_of
from .playback import Playing, Playthrough
from .reconnect import join_at_playhead, rest_after
from .stream_parts import decoded_parts
from .timeline import Gate, Timeline, scale_of
from .timing import Clock, Scale


class Effects:
    """Those of one replay. Raises `UsageError` where a fault means nothing in the recording. `happened`: the faults
    that made a difference so far, in the order in which they first did."""

    def __init__(self, plan: ReplayPlan, faults: Faults, *, resume: bool) -> None:
        self._plan = plan
        self._resume = resume
        self._own_ids: dict[int, float] = {}
        self._bound = _bound(plan, faults) if faults else None
        self.happened: dict[str, None] = {}

    def __bool__(self) -> bool:
        """Whether single frames are touched."""
        return self._resume or self._bound is not None

    def reset(self) -> None:
        """Nothing has happened."""
        self.happened.clear()
        if self._bound is not None:
            self._bound.reset()

    def lay_out(self, playing: Playing) -> None:
        """Give a stream the parts that its client gets of `planned`, behind what it has already."""
        parts = list(self._stamp(playing.planned)) if self._resume else playing.planned
        if self._bound is None:
            playing.lay_out(parts)
            return
        faulty = self._bound.on(playing.exchange.stream or 0, list(parts))
        playing.lay_out(list(faulty.parts))
        playing.fault, playing.by = faulty.end, faulty.by or ""
        playing.quiet_from = float("inf") if faulty.quiet_from is None else faulty.quiet_from
        self.happened |= dict.fromkeys(name for name in faulty.names if name != faulty.by)

    def ended(self, playing: Playing) -> bool:
        """A client came to where a fault ends its stream: whether it does. Else it goes on, behind what was sent: it
        happened to somebody else."""
        if self._bound is None or self._bound.happened(playing.by):
            self.happened[playing.by] = None
            return True
        self.lay_out(playing)
        return False

    def on_request(self, method: str, target: str) -> RequestFault | None:
        """What happens to a request; it counts."""
        fault = self._bound.on_request(method, target) if self._bound is not None else None
        if fault is not None:
            self.happened |= dict.fromkeys(fault.names)
        return fault

    def _stamp(self, parts: Iterable[Part]) -> Iterator[Part]:
        for frame in frames_of(parts):
            seq, stream = frame[0].seq, frame[0].stream
            if not seq or seq >= self._first_own_id(stream):
                yield from frame
                continue
            raw = b"".join(part.data for part in frame)
            stamped = stamp(raw, event_id(stream, seq), bom=seq == 1)
            yield from _lengthened(frame, stamped)

    def _first_own_id(self, stream: int) -> float:
        """The first frame of a stream to which its server gave an id."""
        if stream not in self._own_ids:
            exchange = self._plan.stream(stream)
            frames = self._plan.frames(exchange) if exchange is not None else []
            with_id = (x.seq for x in frames if x.raw and b"id" in x.raw and read_fields(x.raw).id is not None)
            self._own_ids[stream] = next(with_id, float("inf"))
        return self._own_ids[stream]

    def frame_of_id(self, event_id: str | None, session: Session) -> tuple[int, int] | None:
        """The stream and frame that a client names which comes back; None where the session has none of that id."""
        if not self._resume or not event_id:
            return None
        streams = [x for x in session.opens if x.kind == "sse"]
        place = parse_event_id(event_id)
        if place is not None and any(x.stream == place[0] for x in streams):
            return place
        wanted = event_id.encode("utf-8", "surrogateescape")
        named = (
            (frame.stream, frame.seq)
            for x in reversed(streams)
            for frame in reversed(self._plan.frames(x))
            if frame.raw and wanted in frame.raw and read_fields(frame.raw).id == event_id
        )
        return next(named, None)


def _bound(plan: ReplayPlan, faults: Faults) -> Bound:
    asked = [(x.request.method, x.request.target) for x in plan.exchanges if x.party != "runner"]
    return faults.bind(plan.named_streams(), asked)


def _lengthened(frame: Iterable[Part], data: bytes) -> Iterator[Part]:
    """The same parts with longer data between them: all but the first keep their size."""
    first, *others = frame
    end = len(data) - sum(len(part.data) for part in others)
    yield replace(first, data=data[:end])
    for part in others:
        yield replace(part, data=data[end : end + len(part.data)])
        end += len(part.data)


@dataclass(slots=True)
class Pace:
    """How new runs begin."""

    speed: float = 1.0
    paused: bool = False


class StreamChoice:
    """All runs of one replay. `runs`: the latest of each session tree, by its root; `alone`: streams without one."""

    def __init__(self, plan: ReplayPlan, options: Options) -> None:
        self._plan = plan
        self._timing = options.timing
        self._chunks = options.chunks
        self._renames = options.rules.maps_sessions
        self.effects = Effects(plan, options.faults, resume=options.resume)
        self._scales: dict[str, Scale] = {}
        self.pace = Pace()
        self.begun: Callable[[Playthrough], None] = lambda _: None
        """Told of each new run."""
        self.playthroughs: dict[str, Playthrough] = {}
        self.alone: list[Playthrough] = []
        self.older: list[Playthrough] = []
        """Those of session trees that have begun again, as long as somebody listens to them."""
        self.made: set[int] = set()
        """The recorded exchanges that were asked for again."""

    def all(self) -> Iterator[Playthrough]:
        """Every run, those that began first in front."""
        yield from self.playthroughs.values()
        yield from self.alone

    def opened_gates(self) -> int:
        """Return how many gates are open."""
        return sum(gate.open for run in (*self.all(), *self.older) for gate in run.timeline.gates)

    def reset(self) -> None:
        """Forget everything that was played."""
        self.playthroughs.clear()
        self.alone.clear()
        self.older.clear()
        self.effects.reset()
        self.made.clear()

    def playthrough(self, session: Session) -> Playthrough:
        """The session's run; a new one where it has none."""
        if session.root not in self.playthroughs:
            self.playthroughs[session.root] = self._new_run(session.root)
        return self.playthroughs[session.root]

    def begin_again(self, session: Session) -> Playthrough:
        """A new run, whatever has been played of it; where nothing was, the one that somebody may have paused."""
        run = self.playthroughs.get(session.root)
        if run is not None and (run.started or run.opened or run.asked.used):
            self.supersede(session.root)
        return self.playthrough(session)

    def supersede(self, root: str) -> None:
        """What comes next of this session tree begins it again. Who listens still gets the rest of what it had."""
        run = self.playthroughs.pop(root, None)
        if run is not None and run.live:
            self.older.append(run)

    def _new_run(self, root: str) -> Playthrough:
        tree = self._plan.trees[root]
        gates = [Gate(x.exchange, x.request.at_ns, f"{x.request.method} {x.request.target}") for x in tree.gates]
        timeline = self._timeline(root, self._plan.points_of(root), gates)
        start_ns = min((start_of(x) for one in tree.sessions for x in one.opens), default=0)
        run = Playthrough(root, start_ns, tree, timeline, {gate.exchange: gate for gate in gates})
        self.begun(run)
        return run

    def _timeline(self, name: str, points: Sequence[int], gates: Sequence[Gate]) -> Timeline:
        """The playhead of a new run. How time is played is the same in all runs of this name: it may be long."""
        if name not in self._scales:
            self._scales[name] = scale_of(points, gates, self._timing)
        clock = Clock(self.pace.speed, paused=self.pace.paused)
        return Timeline(points, gates, self._timing, clock, self._scales[name])

    def closed(self, playing: Playing) -> None:
        """A client is gone, or its stream is over."""
        for run in (*self.all(), *self.older):
            if playing in run.live:
                run.live.remove(playing)
        self.alone = [run for run in self.alone if run.live]
        self.older = [run for run in self.older if run.live]

    def open(self, session: Session, now: int) -> Playing | Exchange:
        """The nth open gets the nth recorded one, where that is what comes next; else it joins at the playhead.
        An exchange is what it gets where that is no stream."""
        run = self.playthrough(session)
        number = run.opened[session.session_id]
        run.opened[session.session_id] += 1
        if number >= len(session.opens):
            return self._join(run, session, number, now)
        recorded = session.opens[number]
        self.made.add(recorded.exchange)
        run.came(recorded, now)
        if number and (run.skips(session, recorded) or self._is_overtaken(run, session, recorded)):
            return self._join(run, session, number, now)
        return self._recorded(run, recorded, now) if recorded.kind == "sse" else recorded

    def _is_overtaken(self, run: Playthrough, session: Session, recorded: Exchange) -> bool:
        """Whether somebody who is still there has got more of the session than this recorded stream begins with.
        Heartbeats and the like do not count."""
        sent = run.sent[session.session_id].upto_ns
        if not run.listeners(session) or sent <= start_of(recorded):
            return False
        frames = (frame for x in session.opens if x.kind == "sse" for frame in self._plan.frames(x))
        news = (frame.offset_ns for frame in frames if frame.type not in GREETING_TYPES and frame.verdict != "comment")
        return any(start_of(recorded) < offset <= sent for offset in news)

    def _recorded(self, run: Playthrough, exchange: Exchange, now: int) -> Playing:
        playing = self._playing(exchange, run, self._parts(exchange), now)
        playing.coded = is_coded(exchange) and not self._decodes
        playing.decoded = is_coded(exchange) and self._decodes
        run.begin(playing)
        return playing

    def coded(self) -> list[int]:
        """The streams of clients that are played compressed, whose events cannot be told apart."""
        if self._decodes:
            return []
        numbered = ((x.stream, x) for x in self._plan.exchanges if x.party != "runner")
        return [number for number, x in numbered if number is not None and is_coded(x)]

    @property
    def _decodes(self) -> bool:
        """Whether something has to be done to single frames, which cannot be done to a compressed body."""
        return self._renames or bool(self.effects) or self._chunks.kind == "frame"

    def _parts(self, exchange: Exchange) -> Sequence[Part]:
        if is_coded(exchange) and self._decodes:
            return decoded_parts(self._plan.frames(exchange))
        return self._plan.parts(exchange)

    def _join(self, run: Playthrough, session: Session, number: int, now: int) -> Playing | Exchange:
        streams = [x for x in session.opens if x.kind == "sse"]
        if not streams:
            return session.opens[-1]
        upto_ns = run.sent[session.session_id].upto_ns
        earlier = sum(x.kind == "sse" for x in session.opens[: number + 1])
        parts = join_at_playhead([self._plan.frames(x) for x in streams], upto_ns, max(0, earlier - 1))
        return self._ahead(run, streams, parts, now)

    def resume(self, session: Session, last_event_id: str | None, now: int) -> Playing | None:
        """The rest for a client that has everything up to this id; None where the session has no such event."""
        place = self.effects.frame_of_id(last_event_id, session)
        frame = self._plan.frame(*place) if place else None
        if frame is None:
            return None
        streams = [x for x in session.opens if x.kind == "sse"]
        rest = list(dropwhile(lambda x: x.stream != frame.stream, streams))
        self.made |= {x.exchange for x in rest}
        parts = rest_after([self._plan.frames(x) for x in rest], frame.seq)
        return self._ahead(self.playthrough(session), streams, parts, now)

    def _ahead(self, run: Playthrough, streams: list[Exchange], parts: list[Part], now: int) -> Playing:
        """What lies ahead, from the session's recorded streams."""
        playing = self._playing(streams[-1], run, parts, now)
        playing.joined = playing.decoded = True
        if all(part.in_snapshot for part in parts):
            playing.ending = "open"  # it has missed the end
        run.join(playing, start_of(streams[0]))
        return playing

    def play_alone(self, exchange: Exchange, now: int) -> Playing:
        """A stream that belongs to no session has a playhead of its own."""
        self.made.add(exchange.exchange)
        name = f"stream {exchange.stream}"
        timeline = self._timeline(name, self._plan.points_of_stream(exchange), ())
        run = Playthrough(name, start_of(exchange), Tree(), timeline, {})
        self.alone.append(run)
        self.begun(run)
        return self._recorded(run, exchange, now)

    def _playing(self, exchange: Exchange, run: Playthrough, parts: Sequence[Part], now: int) -> Playing:
        ending: Ending = exchange.ending
        sent = run.sent[exchange.session_id or ""]
        playing = Playing(exchange, run.timeline, self._chunks.of(parts), ending, now, sent, self._chunks)
        self.effects.lay_out(playing)
        return playing
