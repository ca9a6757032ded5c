"""Which stream a client gets: a recorded one, one joined at the playhead, or the rest after an event. No clock.

Every stream that plays belongs to a `Playthrough`: one playing of a session tree, or of a stream without a session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile

from ...cassette.sqlite import is_coded
from ...model import Ending, Exchange
from ...omnigent.connect_snapshot import SNAPSHOT_TYPES
from ..parts import Part
from .effects import Effects
from .options import Options
from .plan import ReplayPlan, Session, Tree, start_of
from .playback import Playing, Playthrough
from .reconnect import join_at_playhead, rest_after
from .stream_parts import decoded_parts
from .timeline import Gate, Timeline, scale_of
from .timing import Clock, Scale


@dataclass(slots=True)
class PlaybackDefaults:
    """Speed and pause of new playthroughs."""

    speed: float = 1.0
    paused: bool = False


class StreamChoice:
    """All playthroughs of one replay. `playthroughs`: the latest of each session tree, by its root; `alone`: streams
    without a session."""

    def __init__(self, plan: ReplayPlan, options: Options) -> None:
        self._plan = plan
        self._timing = options.timing
        self._chunks = options.chunks
        self._renames = options.rules.maps_sessions
        self.effects = Effects(plan, options.faults, resume=options.resume)
        self._scales: dict[str, Scale] = {}
        self.defaults = PlaybackDefaults()
        self.begun: Callable[[Playthrough], None] = lambda _: None
        """Called with each new playthrough."""
        self.playthroughs: dict[str, Playthrough] = {}
        self.alone: list[Playthrough] = []
        self.older: list[Playthrough] = []
        """Playthroughs of session trees that have begun again, as long as a client listens to them."""
        self.made: set[int] = set()
        """The recorded exchanges that were requested in this replay."""

    def all(self) -> Iterator[Playthrough]:
        """Yield every playthrough, the oldest first."""
        yield from self.playthroughs.values()
        yield from self.alone

    def opened_gates(self) -> int:
        """Return the number of open gates."""
        return sum(gate.open for run in (*self.all(), *self.older) for gate in run.timeline.gates)

    def reset(self) -> None:
        """Forget every playthrough."""
        self.playthroughs.clear()
        self.alone.clear()
        self.older.clear()
        self.effects.reset()
        self.made.clear()

    def playthrough(self, session: Session) -> Playthrough:
        """Return the session's playthrough, a new one if there is none."""
        if session.root not in self.playthroughs:
            self.playthroughs[session.root] = self._new_playthrough(session.root)
        return self.playthroughs[session.root]

    def begin_again(self, session: Session) -> Playthrough:
        """Return a new playthrough; the current one if nothing of it has been played, since it may be paused."""
        run = self.playthroughs.get(session.root)
        if run is not None and (run.started or run.opened or run.asked.used):
            self.supersede(session.root)
        return self.playthrough(session)

    def supersede(self, root: str) -> None:
        """Let the next request of this session tree begin it again. Connected clients get the rest of the old one."""
        run = self.playthroughs.pop(root, None)
        if run is not None and run.live:
            self.older.append(run)

    def _new_playthrough(self, root: str) -> Playthrough:
        tree = self._plan.trees[root]
        gates = [Gate(x.exchange, x.request.at_ns, f"{x.request.method} {x.request.target}") for x in tree.gates]
        timeline = self._timeline(root, self._plan.points_of(root), gates)
        start_ns = min((start_of(x) for one in tree.sessions for x in one.opens), default=0)
        run = Playthrough(root, start_ns, tree, timeline, {gate.exchange: gate for gate in gates})
        self.begun(run)
        return run

    def _timeline(self, name: str, points: Sequence[int], gates: Sequence[Gate]) -> Timeline:
        """Return the playhead of a new playthrough. Its scale is shared by all playthroughs of this name: it may be
        long."""
        if name not in self._scales:
            self._scales[name] = scale_of(points, gates, self._timing)
        clock = Clock(self.defaults.speed, paused=self.defaults.paused)
        return Timeline(points, gates, self._timing, clock, self._scales[name])

    def closed(self, playing: Playing) -> None:
        """Remove a stream whose client left, or that ended."""
        for run in (*self.all(), *self.older):
            if playing in run.live:
                run.live.remove(playing)
        self.alone = [run for run in self.alone if run.live]
        self.older = [run for run in self.older if run.live]

    def open(self, session: Session, now: int) -> Playing | Exchange:
        """Return the stream for the next open of a session, or a recorded exchange that is no stream.

        The nth open gets the nth recorded stream if that comes next; else it joins at the playhead.
        """
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
        """Whether a connected client has got events of the session that come after the start of this recorded stream.
        Types of the connect snapshot do not count."""
        sent = run.sent[session.session_id].upto_ns
        if not run.listeners(session) or sent <= start_of(recorded):
            return False
        frames = (frame for x in session.opens if x.kind == "sse" for frame in self._plan.frames(x))
        news = (frame.offset_ns for frame in frames if frame.type not in SNAPSHOT_TYPES and frame.verdict != "comment")
        return any(start_of(recorded) < offset <= sent for offset in news)

    def _recorded(self, run: Playthrough, exchange: Exchange, now: int) -> Playing:
        playing = self._playing(exchange, run, self._parts(exchange), now)
        playing.coded = is_coded(exchange) and not self._decodes
        playing.decoded = is_coded(exchange) and self._decodes
        run.begin(playing)
        return playing

    def coded(self) -> list[int]:
        """Return the numbers of the client streams that are sent compressed, so that their events cannot be told
        apart."""
        if self._decodes:
            return []
        numbered = ((x.stream, x) for x in self._plan.exchanges if x.party != "runner")
        return [number for number, x in numbered if number is not None and is_coded(x)]

    @property
    def _decodes(self) -> bool:
        """Whether an option changes single frames, so that compressed streams have to be sent decoded."""
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
        """Return the rest of the session after this event id; None if the session has no such event."""
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
        """Return a stream of parts that lie ahead, from the session's recorded streams."""
        playing = self._playing(streams[-1], run, parts, now)
        playing.joined = playing.decoded = True
        if all(part.in_snapshot for part in parts):
            playing.ending = "open"  # the client missed the end
        run.join(playing, start_of(streams[0]))
        return playing

    def play_alone(self, exchange: Exchange, now: int) -> Playing:
        """Return a stream without a session, with a playhead of its own."""
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
