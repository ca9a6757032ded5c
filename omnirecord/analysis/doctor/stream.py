"""One stream, heard through from its first frame to its last: every check sees each event once.

What the contract objects to, by type; what could not be read at all.

Whether a stream is alive, and whether anything happens on it.

A server that is alive sends something every 15 s at least, if only a heartbeat. A session that runs and of which
nothing but heartbeats comes is silent. A raw body that was imported has no times, and nothing is said of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ...model import Exchange, TimedFrame
from ...omnigent import protocol
from ...omnigent.routes import opens_session_stream
from .finding import (
    SECOND,
    Check,
    Event,
    Group,
    Handler,
    Handlers,
    Place,
    Severity,
    Sign,
    counted,
    events,
    said,
    seconds,
    sign_at,
)
from .order import Order, Statuses
from .texts import Texts
from .turns import Turn, Turns

LATE = 22 * SECOND
"""A heartbeat is late when nothing came for this long: half of another interval."""
STOPPED = 44 * SECOND
"""The web UI reconnects after 45 s without a byte: a stream that is quiet for about that long is dead."""
SILENT = 30 * SECOND
"""A silence that is worth a word: two heartbeats, and nothing else."""
QUIET = 20 * SECOND
"""How long nothing but a heartbeat came, where nobody knows whether it would have gone on."""
LONG = 60 * SECOND
"""A model may think for as long as this."""
_MOST = 20


class Silence(NamedTuple):
    before: Place
    after: Place
    heartbeats: int
    waits_for: str | None


class Pulse:
    """When the frames of one stream came."""

    def __init__(self, begun_ns: int = 0, *, beats: bool) -> None:
        """`begun_ns`: when the response began; `beats`: whether heartbeats are to be expected."""
        self._begun_ns = begun_ns
        self._beats = beats
        self.last: Place | None = None
        """The last frame of any kind."""
        self.active: Place | None = None
        """The last one that was no heartbeat."""
        self.heartbeats = 0
        """How many came since then."""
        self.runner_ns = 0
        """When the runner last gave a heartbeat: those of a response are its own, those of a session the server's."""
        self._late = Group()
        self._longest = 0
        self.silences: list[Silence] = []

    def frame(self, event: Event) -> None:
        """Any frame at all."""
        quiet = event.at_ns - (self.last.at_ns if self.last is not None else self._begun_ns)
        if quiet > LATE:
            self._late.add(event)
            self._longest = max(self._longest, quiet)
        self.last = event.place
        if event.type in protocol.HEARTBEATS:
            self.heartbeats += 1
            if event.type == protocol.RESPONSE_HEARTBEAT:
                self.runner_ns = event.at_ns

    def happened(self, event: Event, waits_for: str | None, *, works: bool) -> None:
        """Something that is no heartbeat. `works`: the session was said to run until then."""
        before = self.active
        if works and before is not None and event.at_ns - before.at_ns > SILENT and len(self.silences) < _MOST:
            self.silences.append(Silence(before, event.place, self.heartbeats, waits_for))
        self.active, self.heartbeats = event.place, 0

    def signs(self, end_ns: int | None) -> Iterator[Sign]:
        """`end_ns`: until when somebody listened; None where nobody knows."""
        if self._beats and self._late.count:
            times = counted(self._late.count, "time")
            message = f"heartbeats are due every 15 s, but {times} no event came for up to {seconds(self._longest)}"
            severity: Severity = "warning" if self._longest < STOPPED else "error"
            yield self._late.sign("heartbeats-late", message, severity=severity)
        yield from map(_silent, self.silences)
        if self._beats and self.last and end_ns is not None and end_ns - self.last.at_ns > LATE:
            yield self._stopped(self.last, end_ns)

    def _stopped(self, last: Place, end_ns: int) -> Sign:
        quiet = end_ns - last.at_ns
        message = f"for the last {seconds(quiet)} of the stream no event came, not even a heartbeat"
        severity: Severity = "error" if quiet > STOPPED else "warning"
        return sign_at("heartbeats-stopped", message, [last], until_ns=end_ns, severity=severity)


def _silent(silence: Silence) -> Sign:
    """An approval or a tool that takes its time is told of elsewhere, and no more than a note."""
    quiet = silence.after.at_ns - silence.before.at_ns
    why = {None: "", "approval": ", waiting for an approval"}.get(
        silence.waits_for, f", waiting for {silence.waits_for}"
    )
    message = (
        f"nothing but {counted(silence.heartbeats, 'heartbeat')} came for {seconds(quiet)} while the session ran{why}"
    )
    severity: Severity = "note" if silence.waits_for or quiet < LONG else "warning"
    return sign_at("silent-while-running", message, [silence.before, silence.after], severity=severity)


MAX_KINDS = 50
"""The most kinds of violation that are told apart in one stream; hostile events have any number of types."""
Key = tuple[str, str, str]


class Contract:
    """Violations in one stream. `excused`: whether a frame is none by what the live server does."""

    def __init__(self, excused: Callable[[TimedFrame], bool] = lambda _: False) -> None:
        self._excused = excused
        self._groups: dict[tuple[Key, bool], Group] = {}

    def odd(self, event: Event) -> None:
        """An event whose verdict is not `valid`."""
        excused = event.verdict in ("invalid", "unknown") and self._excused(event.frame)
        for key in _keys(event):
            if (key, excused) not in self._groups and len(self._groups) >= MAX_KINDS:
                key = (key[0], "", "and other things")
            self._groups.setdefault((key, excused), Group()).add(event)

    def signs(self) -> Iterator[Sign]:
        for ((code, type_, problem), excused), group in self._groups.items():
            severity: Severity | None = "note" if excused else None
            yield group.sign(code, _sentence(code, type_, problem, group.count), severity=severity)


def _keys(event: Event) -> Iterable[Key]:
    type_ = said(event.type)
    if event.verdict in ("malformed", "truncated"):
        kind = "too large" if event.frame.raw is None else ""
        return [(event.verdict, type_, kind or next((m for _, m in event.frame.issues), ""))]
    if event.verdict == "unknown":
        return [("contract-unknown", type_, "")]
    if event.verdict != "invalid":
        return []
    issues = event.frame.issues[:5] or (("", "does not fit"),)
    return [_invalid(type_, path, message) for path, message in issues]


def _invalid(type_: str, path: str, message: str) -> Key:
    if path == "event" and message.startswith("differs"):
        return ("event-type-differs", type_, "")
    return ("contract-invalid", type_, said(f"{path} {message}".strip(), 100))


def _sentence(code: str, type_: str, problem: str, count: int) -> str:
    events = counted(count, "event")
    if code == "malformed":
        return f"{events} could not be read: {said(problem, 100) or 'the data is no JSON object with a type'}"
    if code == "truncated":
        return f"{events} {'too large to be recorded' if problem else 'cut in the middle'}"
    if code == "contract-unknown":
        return f"{events} of a type that the contract does not have: {type_}"
    if code == "event-type-differs":
        return f"{events} whose event: line differs from the type, {type_}"
    return f"{events} of type {type_} against the contract: {problem}"


SLOW = 1 * SECOND
"""How much later than it came an event may be handed to the client before that is worth a word."""
VERY_SLOW = 5 * SECOND
_OF_A_TURN = frozenset({
    protocol.RESPONSE_OUTPUT_TEXT_DELTA, protocol.RESPONSE_OUTPUT_ITEM_DONE,
    protocol.RESPONSE_FUNCTION_CALL_OUTPUT_DELTA,
})  # fmt: skip
"""Nothing of a turn begins with these: who hears them first has joined in its middle."""
_UNSENT = 64
"""How many events may be under way to a client when it leaves."""


class Listening:
    """What one client heard on one stream. `shared`: the checks that look at all streams of the session."""

    def __init__(
        self, x: Exchange, shared: Iterable[Handlers] = (), excused: Callable[[TimedFrame], bool] = lambda _: False
    ) -> None:
        self.exchange = x
        self.is_session = opens_session_stream(x.request.method, x.request.target)
        self.contract, self.order, self.texts = Contract(excused), Order(), Texts()
        self.statuses, self.turns = Statuses(), Turns()
        self.pulse = Pulse(x.response.at_ns if x.response else x.request.at_ns, beats=self.is_session)
        self.count = 0
        self.joined = False
        """Whether it began in the middle of a turn."""
        self._slowest, self._slow, self._unsent = 0, 0, 0
        self._slow_at: Place | None = None
        self._handlers: dict[str, list[Handler]] = defaultdict(list)
        own = (self.order, self.texts, self.statuses, self.turns)
        for handlers in (*(check.handlers() for check in own), *shared):
            for type_, handler in handlers.items():
                self._handlers[type_].append(handler)

    @property
    def stream(self) -> int:
        return self.exchange.stream or 0

    def hear(self, frames: Iterable[TimedFrame]) -> None:
        """All its frames, in order."""
        nobody: list[Handler] = []
        for event in events(frames):
            self.count += 1
            self._arrived(event)
            self.pulse.frame(event)
            if event.verdict != "valid":
                self.contract.odd(event)
            if event.number is not None:
                self.order.numbered(event)
            if event.in_snapshot:
                self.joined = self.joined or event.type == protocol.RESPONSE_CREATED
            elif event.type not in protocol.HEARTBEATS and event.type != protocol.SESSION_PRESENCE:
                self._happened(event)
            for handler in self._handlers.get(event.type or "", nobody):
                handler(event)

    def _happened(self, event: Event) -> None:
        turn = self.turns.open
        if turn is None and not self.turns.all and event.type in _OF_A_TURN:
            self.joined = True
        waits_for = next(reversed(turn.waits.values()), None) if turn is not None else None
        self.pulse.happened(event, waits_for, works=turn is not None)
        self.turns.touch(event)

    def _arrived(self, event: Event) -> None:
        """When it was handed to the client, beside when it came from the server."""
        if not self.exchange.has_times or self.exchange.ending == "unknown":
            return
        sent = event.frame.sent_ns
        if sent is None:
            self._unsent += 1
        elif sent - event.at_ns > SLOW:
            self._slow += 1
            if sent - event.at_ns > self._slowest:
                self._slowest, self._slow_at = sent - event.at_ns, event.place

    @property
    def is_slow(self) -> bool:
        return self._slow > 0 or self._unsent > _UNSENT

    def cut(self) -> Turn | None:
        """The turn that was going on when the stream ended."""
        return self.turns.open

    def ended_after(self, at_ns: int) -> bool:
        """Whether a turn went on, or ended, behind that time."""
        return any(turn.until_ns > at_ns and turn.ended is not None for turn in self.turns.all)

    def end_ns(self, last_known_ns: int) -> int | None:
        """Until when somebody listened. `last_known_ns`: until when the recording goes."""
        x = self.exchange
        if x.end_ns is not None:
            return x.end_ns
        return last_known_ns if x.ending == "open" else None

    def signs(self, last_known_ns: int) -> Iterator[Sign]:
        """What this stream alone shows."""
        end_ns = self.end_ns(last_known_ns)
        checks: tuple[Check, ...] = (self.contract, self.order, self.texts, self.turns)
        for check in checks:
            yield from check.signs()
        yield from self.statuses.signs(end_ns)
        yield from self.pulse.signs(end_ns)
        yield from self._slowness()
        yield from self._done(end_ns)

    def _slowness(self) -> Iterator[Sign]:
        """The kernel takes megabytes before a slow client can be told from a quick one, so this is seldom seen."""
        if not self.is_slow:
            return
        parts = []
        if self._slow:
            parts.append(f"{counted(self._slow, 'event')} went to the client up to {seconds(self._slowest)} late")
        if self._unsent > _UNSENT:
            parts.append(f"{counted(self._unsent, 'event')} never did")
        severity: Severity = "warning" if self._slowest > VERY_SLOW or self._unsent > _UNSENT else "note"
        last = self.pulse.last
        place = self._slow_at or last
        assert place is not None
        assert last is not None
        yield sign_at("reader-slow", " and ".join(parts), [place], severity=severity, since_ns=0, until_ns=last.at_ns)

    def _done(self, end_ns: int | None) -> Iterator[Sign]:
        """A stream that is the answer to a POST ends with `[DONE]`; a session's goes on until somebody leaves. A client
        that leaves without it has waited for it only if it stayed for long."""
        last, ending = self.pulse.last, self.exchange.ending
        if self.is_session or last is None:
            return
        has_waited = ending == "client_left" and end_ns is not None and end_ns - last.at_ns > SILENT
        if ending in ("eof", "upstream_lost") or has_waited:
            message = f"the stream {'ended' if not has_waited else 'fell silent'} without [DONE]"
            yield sign_at("no-done", message, [last], until_ns=max(end_ns or 0, last.at_ns))
