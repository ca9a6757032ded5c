"""The verbs of the playhead: pause, play, step, run until an event, jump, speed, position. No clock: `now` is passed.

Each session tree has a playhead, and so has a stream without a session. `which` names one, by the id of a session or as
`stream N`. Without `which`, pause, play and speed change all playheads; the other verbs are refused if there are
several.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from ...errors import UsageError
from ...model import TimedFrame
from ...wire.limits import LONGEST
from ..event_address import parse_address
from ..event_address.matcher import Stream
from ..stream_parts import Part
from .plan import ReplayPlan
from .playback import Playthrough
from .stream_choice import StreamChoice
from .timeline import NS, SortKey, Timing, check_speed, sort_key

Predicate = Callable[[TimedFrame], bool]


@dataclass(slots=True, eq=False)
class RunTarget:
    """The event that `run_until` plays to: the nth `wanted` one of a stream. `root`: the session tree; None for any."""

    wanted: Predicate
    nth: int = 1
    root: str | None = None
    counted: Counter[int] = field(default_factory=Counter)
    seen: set[tuple[int, int]] = field(default_factory=set)
    reached: object | None = None
    """The playthrough in which the event was sent."""
    failed: Exception | None = None
    """The exception of `wanted`, to be raised in its caller."""

    @property
    def is_over(self) -> bool:
        return self.reached is not None or self.failed is not None

    def look(self, frame: TimedFrame, run: object) -> None:
        """Count a frame that was sent in `run`. A frame that two clients get counts once."""
        key = frame.stream, frame.seq
        try:
            if key in self.seen or not self.wanted(frame):
                return
        except Exception as error:
            self.failed = error
            return
        self.seen.add(key)
        self.counted[frame.stream] += 1
        if self.counted[frame.stream] >= self.nth:
            self.reached = run


def run_target(event: str | Predicate, nth: int, streams: Iterable[Stream], root: str | None = None) -> RunTarget:
    """Return the target of an event address or a predicate. `2nd session.status` counts from here, as `nth` 2 does.
    Raises `UsageError` if the address cannot be read, or the recording has no such event."""
    if nth < 1:
        raise UsageError(f"the event numbered {nth} is none: they are counted from 1")
    if not isinstance(event, str):
        return RunTarget(event, nth, root)
    address = parse_address(event)
    keys = frozenset(address.resolve(streams))
    ordinal = address.pick.ordinal
    matcher = address.pick.matcher
    if ordinal == "last" or address.after or address.before or address.place or matcher.name[0] == "#":
        return RunTarget(lambda frame: (frame.stream, frame.seq) in keys, nth, root)
    return RunTarget(matcher.matches, nth * ordinal if isinstance(ordinal, int) else nth, root)


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a playhead. `which`: its session, or `stream N`; None if nothing is played yet."""

    which: str | None
    stream: int | None
    """The recorded stream, and `seq` its frame, that was sent last; None if none was."""
    seq: int | None
    type: str | None
    at_s: float
    """Recorded time of that frame from the start of the first stream, in seconds."""
    offset_ns: int
    """Recorded time of that frame from the start of the recording, in ns."""
    next: str | None
    """The type of the next event to a connected client."""
    waits_for: str | None
    """The request that everything waits for."""
    paused: bool
    speed: float


class Controls:
    """The verbs of the playheads of one replay."""

    def __init__(self, plan: ReplayPlan, streams: StreamChoice, timing: Timing) -> None:
        self._plan = plan
        self.streams = streams
        self._timing = timing
        self._targets: list[RunTarget] = []
        streams.begun = lambda run: self._watch([run])

    @property
    def speed(self) -> float:
        """How many times as fast as recorded it plays, apart from capped gaps."""
        return self.streams.speed * self._timing.speed

    def pause(self, now: int, which: str | None = None) -> None:
        """Stop the streams. Other answers still go out."""
        if which is None:
            self.streams.paused = True
        for run in self._all_of(which):
            run.timeline.pause(now)

    def play(self, now: int, which: str | None = None) -> None:
        if which is None:
            self.streams.paused = False
        for run in self._all_of(which):
            run.timeline.play(now)

    def set_speed(self, speed: float, now: int, which: str | None = None) -> None:
        """Play so many times as fast as recorded. Raises `UsageError` with timing `instant`, or outside the range."""
        if self._timing.instant:
            raise UsageError("timing 'instant' has no gaps to make shorter or longer: serve with another timing")
        check_speed(speed)
        if which is None:
            self.streams.speed = speed / self._timing.speed
        for run in self._all_of(which):
            run.timeline.set_speed(speed / self._timing.speed, now)

    def step(self, run: Playthrough, now: int) -> SortKey | None:
        """Pause, let the next event pass that no client has, and return the key of its last part; None if there is
        none. Call it again until the event has passed: its client may have left."""
        run.timeline.pause(now)
        if (end := self._next_end(run)) is not None:
            run.timeline.limit = end
        return end

    def run_until(self, event: str | Predicate, nth: int, now: int, which: str | None = None) -> RunTarget:
        """Play on, and pause right behind the nth such event from here. Return its target. Raises `UsageError`."""
        if coded := self.streams.coded():
            raise UsageError(
                f"stream {coded[0]} is compressed, its events cannot be told apart: serve it with --chunks frame"
            )
        streams = self._plan.named_streams() if isinstance(event, str) else ()
        root = None if which is None else self._name(which)
        aim = run_target(event, nth, streams, root)
        self.play(now, which)
        self._targets.append(aim)
        self._watch(self.streams.all(older=True))
        return aim

    def give_up(self, aim: RunTarget) -> None:
        if aim in self._targets:
            self._targets.remove(aim)
            self._watch(self.streams.all(older=True))

    def jump(self, run: Playthrough, seconds: float, now: int) -> None:
        """Move ahead to so many recorded seconds from the start of the first stream, or to the closed gate before
        that. Raises `UsageError` for a time in the past."""
        if not -LONGEST <= seconds <= LONGEST:
            raise UsageError(f"{seconds:g} s is no such time: seconds count from the start of the first stream")
        offset_ns = run.start_ns + round(seconds * NS)
        if offset_ns < self._reached(run):
            at_s = (self._reached(run) - run.start_ns) / NS
            raise UsageError(
                f"cannot jump back to {seconds:g} s from {at_s:g} s: what was sent stays sent; reset instead"
            )
        run.timeline.jump(offset_ns, now)

    def position(self, which: str | None = None) -> Position:
        """Return the position of a playhead, by default of the only one."""
        if (run := self.one(which)) is None:
            return Position(None, None, None, None, 0.0, 0, None, None, self.streams.paused, self.speed)
        last = run.timeline.last
        frame = self._plan.frame(last.stream, last.seq) if last else None
        offset_ns = self._reached(run)
        stream, seq, type_ = (frame.stream, frame.seq, frame.type) if frame else (None, None, None)
        end = self._next_end(run)
        after = self._plan.frame(int(end[1]), int(end[2])) if end is not None else None
        return Position(
            run.name,
            stream,
            seq,
            type_,
            max(0, offset_ns - run.start_ns) / NS,
            offset_ns,
            after and after.type,
            self._held_by(run),
            run.timeline.paused,
            run.timeline.speed * self._timing.speed,
        )

    def positions(self) -> list[Position]:
        return [self.position(run.name) for run in self.streams.all()]

    def one(self, which: str | None) -> Playthrough | None:
        """Return the playthrough of `which`; None if nothing is played. Raises `UsageError` if there are several."""
        playthroughs = self._chosen(which)
        if which is None and len(playthroughs) > 1:
            names = ", ".join(run.name for run in playthroughs[:5])
            raise UsageError(
                f"{len(playthroughs)} sessions are played, each with a playhead of its own: say which of {names}"
            )
        return playthroughs[0] if playthroughs else None

    def _chosen(self, which: str | None) -> list[Playthrough]:
        playthroughs = self.streams.all()
        if which is None:
            return playthroughs
        if session := self._plan.sessions.get(which):
            return [self.streams.playthrough(session)]
        chosen = [run for run in playthroughs if run.name == which]
        if not chosen:
            names = ", ".join(run.name for run in playthroughs[:5]) or "nothing yet"
            raise UsageError(f"{which!r} is not played: {names} is")
        return chosen

    def _all_of(self, which: str | None) -> list[Playthrough]:
        """Return the chosen playthroughs, with their older ones that clients still listen to."""
        older = [run for run in self.streams.older if which is None or run.name == self._name(which)]
        return [*self._chosen(which), *older]

    def _name(self, which: str) -> str:
        session = self._plan.sessions.get(which)
        return session.root if session else which

    def _watch(self, playthroughs: list[Playthrough]) -> None:
        """Watch the frames that are sent only while there are targets: watching costs more than sending."""
        for run in playthroughs:
            run.timeline.watch = partial(self._passed, run) if self._targets else None

    def _passed(self, run: Playthrough, part: Part, now: int) -> None:
        """Pause the playthrough if the frame that was sent reaches a target."""
        aims = [aim for aim in self._targets if aim.root in (None, run.name)]
        frame = self._plan.frame(part.stream, part.seq) if aims and run in self.streams.all() else None
        if frame is None:
            return
        for aim in aims:
            aim.look(frame, run)
            if aim.is_over:
                self.give_up(aim)
                run.timeline.pause(now)

    def _reached(self, run: Playthrough) -> int:
        """Return the recorded offset of the last frame that was sent, in ns."""
        return run.timeline.last.offset_ns if run.timeline.last else run.start_ns

    def _held_by(self, run: Playthrough) -> str | None:
        """Return the closed gate before the next event of every client; without a client, before the next event."""
        gate = run.timeline.gates.closed()
        ahead = [playing.next_ns() for playing in run.live] or [run.timeline.point_behind(self._reached(run))]
        return gate.what if gate is not None and gate.at_ns < min(ahead) else None

    def _next_end(self, run: Playthrough) -> SortKey | None:
        """Return the key of the last part of the next event that no client has; None if there is none."""
        events = (playing.next_event(self._plan.frame, run.timeline.passed) for playing in run.live)
        return min((end for end in events if end is not None), default=None)


def is_behind(run: Playthrough, end: SortKey) -> bool:
    """Whether everything up to `end` was sent to a client."""
    return run.timeline.last is not None and sort_key(run.timeline.last) >= end
