"""The playhead in a person's or a test's hand: pause, step, run until an event, jump, speed, where it is. No clock.

Each session tree has a playhead of its own, and so has a stream that belongs to no session; `which` names one, by
the id of a session or as `stream N`. Without it, what can hold for all of them does; what cannot is refused, unless
there is one alone.

What a replay runs until: the nth event of a kind. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ...errors import UsageError
from ...model import TimedFrame
from ...wire.limits import LONGEST
from ..event_address import Stream, parse_address
from ..parts import Part
from .plan import ReplayPlan
from .playback import Playthrough
from .stream_choice import StreamChoice
from .timeline import SortKey, sort_key
from .timing import FASTEST, NS, SLOWEST, Timing

Predicate = Callable[[TimedFrame], bool]


@dataclass(slots=True, eq=False)
class Target:
    """Runs until the nth event of a stream that is `wanted`. `root`: in which run; None: in whichever it comes."""

    wanted: Predicate
    nth: int = 1
    root: str | None = None
    counted: Counter[int] = field(default_factory=Counter)
    seen: set[tuple[int, int]] = field(default_factory=set)
    reached: object | None = None
    """The run in which it came."""
    failed: Exception | None = None
    """What `wanted` raised: it is for whoever gave that, not for a client."""

    @property
    def is_over(self) -> bool:
        return self.reached is not None or self.failed is not None

    def look(self, frame: TimedFrame, run: object) -> None:
        """A frame was sent in a run. What two clients get counts once."""
        if (frame.stream, frame.seq) in self.seen or not self._is_wanted(frame):
            return
        self.seen.add((frame.stream, frame.seq))
        self.counted[frame.stream] += 1
        if self.counted[frame.stream] >= self.nth:
            self.reached = run

    def _is_wanted(self, frame: TimedFrame) -> bool:
        try:
            return bool(self.wanted(frame))
        except Exception as error:
            self.failed = error
            return False


def target(event: str | Predicate, nth: int, streams: Iterable[Stream], root: str | None = None) -> Target:
    """What to run until, from how a person names it; `2nd session.status` is the second from here, as `nth` 2 is.

    Raises `UsageError` where it cannot be read, or where the recording has no such event.
    """
    if nth < 1:
        raise UsageError(f"the event numbered {nth} is none: they are counted from 1")
    if not isinstance(event, str):
        return Target(event, nth, root)
    address = parse_address(event)
    keys = frozenset(address.resolve(streams))
    ordinal, matcher = address.pick.ordinal, address.pick.matcher
    if ordinal == "last" or address.after or address.before or address.place or matcher.name[0] == "#":
        return Target(lambda frame: (frame.stream, frame.seq) in keys, nth, root)
    return Target(matcher.matches, nth * ordinal if isinstance(ordinal, int) else nth, root)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a playhead is. `which`: its session, or `stream N`; None where nothing is played yet."""

    which: str | None
    stream: int | None
    """The recorded stream, and `seq` the frame of it, that were sent last; None where none was."""
    seq: int | None
    type: str | None
    at_s: float
    """Seconds of recorded time from the start of the first stream to that frame."""
    offset_ns: int
    """The same from the start of the recording, in ns."""
    next: str | None
    """The type of the event that comes next to somebody who listens."""
    waits_for: str | None
    """The request that has to come before anything else does."""
    paused: bool
    speed: float


class Controls:
    """What can be done to the playheads of one replay."""

    def __init__(self, plan: ReplayPlan, streams: StreamChoice, timing: Timing) -> None:
        self._plan = plan
        self._streams = streams
        self._timing = timing
        self._targets: list[Target] = []
        streams.begun = self._begun

    @property
    def paused(self) -> bool:
        return self._streams.pace.paused

    @property
    def speed(self) -> float:
        """How many times as fast as it was recorded, silences apart."""
        return self._streams.pace.speed * self._timing.speed

    def pause(self, now: int, which: str | None = None) -> None:
        """Send nothing more. Answers that are no streams still come."""
        if which is None:
            self._streams.pace.paused = True
        for run in self._all_of(which):
            run.timeline.pause(now)

    def play(self, now: int, which: str | None = None) -> None:
        """Go on."""
        if which is None:
            self._streams.pace.paused = False
        for run in self._all_of(which):
            run.timeline.play(now)

    def set_speed(self, speed: float, now: int, which: str | None = None) -> None:
        """Play so many times as fast as recorded. Raises `UsageError` where there is nothing to be fast about."""
        if self._timing.instant:
            raise UsageError("timing 'instant' has no gaps to make shorter or longer: serve with another timing")
        if not SLOWEST <= speed <= FASTEST:
            raise UsageError(f"speed {speed:g} must be over 0, from {SLOWEST:g} to {FASTEST:g}: 2 is twice as fast")
        if which is None:
            self._streams.pace.speed = speed / self._timing.speed
        for run in self._all_of(which):
            run.timeline.set_speed(speed / self._timing.speed, now)

    def step(self, run: Playthrough, now: int) -> SortKey | None:
        """Pause, and let the next event pass that nobody has: where it ends; None where nobody is to get any.

        To be asked again as long as it has not passed: who was to get it may have left."""
        run.timeline.pause(now)
        passed = run.timeline.passed
        events = (playing.next_event(self._plan.frame, passed) for playing in run.live)
        end = min((end for end in events if end is not None), default=None)
        if end is not None:
            run.timeline.limit = end
        return end

    def run_until(self, event: str | Predicate, nth: int, now: int, which: str | None = None) -> Target:
        """Play on, and pause right behind the nth such event from here. Raises `UsageError`."""
        if coded := self._streams.coded():
            raise UsageError(
                f"stream {coded[0]} is compressed, its events cannot be told apart: serve it with --chunks frame"
            )
        streams = self._plan.named_streams() if isinstance(event, str) else ()
        root = None if which is None else self._name(which)
        aim = target(event, nth, streams, root)
        self.play(now, which)
        self._targets.append(aim)
        self._watch([*self._streams.all(), *self._streams.older])
        return aim

    def give_up(self, aim: Target) -> None:
        """Give up a target: play on, whatever comes."""
        if aim in self._targets:
            self._targets.remove(aim)
            self._watch([*self._streams.all(), *self._streams.older])

    def jump(self, run: Playthrough, seconds: float, now: int) -> None:
        """Go ahead to so many recorded seconds from the start of the first stream, or to the closed gate before that.
        Raises `UsageError` where that is behind: what was sent cannot be taken back."""
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
        """Where the playhead is, of the only one if none is named."""
        run = self.one(which)
        if run is None:
            return Position(None, None, None, None, 0.0, 0, None, None, self.paused, self.speed)
        last = run.timeline.last
        frame = self._plan.frame(last.stream, last.seq) if last else None
        offset_ns = self._reached(run)
        stream, seq, type_ = (frame.stream, frame.seq, frame.type) if frame else (None, None, None)
        return Position(
            run.name, stream, seq, type_, max(0, offset_ns - run.start_ns) / NS, offset_ns,
            self._next_type(run), self._held_by(run), run.timeline.paused, run.timeline.speed * self._timing.speed,
        )  # fmt: skip

    def positions(self) -> list[Position]:
        """Of everything that is played."""
        return [self.position(run.name) for run in self._streams.all()]

    def one(self, which: str | None) -> Playthrough | None:
        """The run that is meant; None where nothing is played yet. Raises `UsageError` where it is not clear which."""
        playthroughs = self._chosen(which)
        if which is None and len(playthroughs) > 1:
            names = ", ".join(run.name for run in playthroughs[:5])
            raise UsageError(
                f"{len(playthroughs)} sessions are played, each with a playhead of its own: say which of {names}"
            )
        return playthroughs[0] if playthroughs else None

    def _chosen(self, which: str | None) -> list[Playthrough]:
        playthroughs = list(self._streams.all())
        if which is None:
            return playthroughs
        if session := self._plan.sessions.get(which):
            return [self._streams.playthrough(session)]
        chosen = [run for run in playthroughs if run.name == which]
        if not chosen:
            names = ", ".join(run.name for run in playthroughs[:5]) or "nothing yet"
            raise UsageError(f"{which!r} is not played: {names} is")
        return chosen

    def _all_of(self, which: str | None) -> list[Playthrough]:
        """The same, with those that have begun again since, and to which somebody still listens."""
        older = [run for run in self._streams.older if which is None or run.name == self._name(which)]
        return [*self._chosen(which), *older]

    def _name(self, which: str) -> str:
        """What the run is called that is meant."""
        session = self._plan.sessions.get(which)
        return session.root if session else which

    def _begun(self, run: Playthrough) -> None:
        """A new run: what is waited for may come in it."""
        self._watch([run])

    def _watch(self, playthroughs: list[Playthrough]) -> None:
        """Look at what passes as long as something is waited for, and no longer: that costs more than sending it."""
        for run in playthroughs:
            run.timeline.watch = partial(self._passed, run) if self._targets else None

    def _passed(self, run: Playthrough, part: Part, now: int) -> None:
        """A frame was sent: if it is what the run was to run to, that is over."""
        aims = [aim for aim in self._targets if aim.root in (None, run.name)]
        frame = self._plan.frame(part.stream, part.seq) if aims and run in self._streams.all() else None
        if frame is None:
            return
        for aim in aims:
            aim.look(frame, run)
            if aim.is_over:
                self.give_up(aim)
                run.timeline.pause(now)

    def _reached(self, run: Playthrough) -> int:
        """The recorded offset up to which everything was sent, in ns."""
        return run.timeline.last.offset_ns if run.timeline.last else run.start_ns

    def _held_by(self, run: Playthrough) -> str | None:
        """The gate before everything that is still to come, to those who listen or, if nobody does, at all."""
        gate = run.timeline.closed_gate()
        ahead = [playing.next_ns() for playing in run.live] or [run.timeline.point_behind(self._reached(run))]
        return gate.what if gate is not None and gate.at_ns < min(ahead) else None

    def _next_type(self, run: Playthrough) -> str | None:
        events = (playing.next_event(self._plan.frame, run.timeline.passed) for playing in run.live)
        ends = [end for end in events if end is not None]
        if not ends:
            return None
        _, stream, seq = min(ends)
        frame = self._plan.frame(int(stream), int(seq))
        return frame.type if frame else None


def as_row(position: Position) -> dict[str, Any]:
    """A position as it is told over HTTP."""
    return {name: getattr(position, name) for name in Position.__slots__}


def is_behind(run: Playthrough, place: SortKey) -> bool:
    """Whether everything up to `place` was sent to somebody."""
    return run.timeline.last is not None and sort_key(run.timeline.last) >= place
