"""Checks of a stream as a whole: heartbeats, silences, a slow reader, a missing end; and all checks of one stream.

A live server sends an event at least every 15 s, if only a heartbeat. A running session that sends nothing but
heartbeats is silent. An imported raw body has no times, so nothing is said of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from ...contract import Api
from ...model import Exchange, TimedFrame
from ...omnigent import protocol
from ...omnigent.routes import opens_session_stream
from ...text import counted
from ...wire.strict_json import Payload, payload
from ..apis import FOREIGN, UNKNOWN
from .events import Contract, Order
from .finding import (
    SECOND,
    Event,
    FrameRef,
    Group,
    Handler,
    Handlers,
    Severity,
    Sign,
    events,
    seconds,
    sign_at,
)
from .items import StreamedText
from .turns import Statuses, Turn, Turns

LATE = 22 * SECOND
"""Silence in ns after which a heartbeat is late: one and a half intervals."""
STOPPED = 44 * SECOND
"""Silence in ns after which a stream is dead: the web UI reconnects after 45 s without a byte."""
SILENT = 30 * SECOND
"""Time in ns with nothing but heartbeats that is reported: two of them."""
QUIET = 20 * SECOND
"""The same at the end of a stream, where more events may have followed."""
LONG = 60 * SECOND
"""Time in ns that a model may think."""
_MOST = 20


class Silence(NamedTuple):
    before: FrameRef
    after: FrameRef
    heartbeats: int
    waits_for: str | None


class Activity:
    """The times of the frames of one stream."""

    def __init__(self, begun_ns: int = 0, *, beats: bool) -> None:
        """`begun_ns`: the start of the response. `beats`: whether heartbeats are due."""
        self._begun_ns = begun_ns
        self._beats = beats
        self.last: FrameRef | None = None
        """The last frame of any kind."""
        self.active: FrameRef | None = None
        """The last frame that was no heartbeat."""
        self.heartbeats = 0
        """Heartbeats since then."""
        self.runner_ns = 0
        """The runner's last heartbeat, in ns: it sends `response.heartbeat`, the server `session.heartbeat`."""
        self._late = Group()
        self._longest = 0
        self.silences: list[Silence] = []

    def frame(self, event: Event) -> None:
        """Note any frame."""
        quiet = event.at_ns - (self.last.at_ns if self.last is not None else self._begun_ns)
        if quiet > LATE:
            self._late.add(event)
            self._longest = max(self._longest, quiet)
        self.last = event.ref
        if event.type in protocol.HEARTBEATS:
            self.heartbeats += 1
            if event.type == protocol.RESPONSE_HEARTBEAT:
                self.runner_ns = event.at_ns

    def active_event(self, event: Event, waits_for: str | None, *, works: bool) -> None:
        """Note an event that is no heartbeat. `works`: whether the session was running."""
        before = self.active
        if works and before is not None and event.at_ns - before.at_ns > SILENT and len(self.silences) < _MOST:
            self.silences.append(Silence(before, event.ref, self.heartbeats, waits_for))
        self.active, self.heartbeats = event.ref, 0

    def signs(self, end_ns: int | None) -> Iterator[Sign]:
        """The signs. `end_ns`: until when a client listened; None if unknown."""
        if self._beats and self._late.count:
            times = counted(self._late.count, "time")
            message = f"heartbeats are due every 15 s, but {times} no event came for up to {seconds(self._longest)}"
            severity: Severity = "warning" if self._longest < STOPPED else "error"
            yield self._late.sign("heartbeats-late", message, severity=severity)
        yield from map(_silent, self.silences)
        if self._beats and self.last and end_ns is not None and (quiet := end_ns - self.last.at_ns) > LATE:
            message = f"for the last {seconds(quiet)} of the stream no event came, not even a heartbeat"
            severity = "error" if quiet > STOPPED else "warning"
            yield sign_at("heartbeats-stopped", message, [self.last], until_ns=end_ns, severity=severity)


def _silent(silence: Silence) -> Sign:
    """A silence; a note if an approval or a tool explains it."""
    quiet = silence.after.at_ns - silence.before.at_ns
    why = {None: "", "approval": ", waiting for an approval"}.get(
        silence.waits_for, f", waiting for {silence.waits_for}"
    )
    message = (
        f"nothing but {counted(silence.heartbeats, 'heartbeat')} came for {seconds(quiet)} while the session ran{why}"
    )
    severity: Severity = "note" if silence.waits_for or quiet < LONG else "warning"
    return sign_at("silent-while-running", message, [silence.before, silence.after], severity=severity)


SLOW = 1 * SECOND
"""Delay in ns between an event's arrival and its handing to the client that is reported."""
VERY_SLOW = 5 * SECOND
_OF_A_TURN = frozenset(
    {
        protocol.RESPONSE_OUTPUT_TEXT_DELTA,
        protocol.RESPONSE_OUTPUT_ITEM_DONE,
        protocol.RESPONSE_FUNCTION_CALL_OUTPUT_DELTA,
    }
)
"""Types that never begin a turn: a stream that starts with one joined in the middle."""
_UNSENT = 64
"""Events that may be on their way to a client when it leaves."""


AT_MOST = 1 * SECOND
"""Longest time in ns before such a delta, and between its arrival and its sending: no check reports that."""


class Deltas:
    """Deltas in a row that only lengthen a text: the checks of a stream take them at once.

    They follow the last event of a stream, a delta of the same message. None is odd: each is valid, came soon, was sent
    at once, and has a higher sequence number.
    """

    def __init__(self, payload: Payload) -> None:
        self._payload = payload
        self._begun = False
        self.last: TimedFrame
        self._message: str | None = None
        self._before: TimedFrame | None = None
        self.parts: list[str] = []
        """Their texts."""
        self.number = 0
        """The sequence number of the last one."""

    def begin(self, event: Event) -> None:
        """Begin after this event, if it is a delta."""
        delta, message = event.data.get("delta"), event.data.get("message_id")
        self._begun = (
            event.type == protocol.RESPONSE_OUTPUT_TEXT_DELTA and event.verdict == "valid" and not event.in_snapshot
            and event.number is not None and type(delta) is str and bool(delta)
            and (message is None or type(message) is str)
        )  # fmt: skip
        if self.parts:
            self.parts = []
        self.last, self.number, self._message = event.frame, event.number or 0, message

    def takes(self, frame: TimedFrame) -> bool:
        """Add a frame. If it is another event, or odd, return False."""
        if not self._begun or frame.type != protocol.RESPONSE_OUTPUT_TEXT_DELTA or frame.verdict != "valid":
            return False
        data, at_ns, sent_ns = self._payload(frame), frame.offset_ns, frame.sent_ns
        number, delta = data.get("sequence_number"), data.get("delta")
        if (
            type(number) is not int or number <= self.number or type(delta) is not str or not delta
            or data.get("message_id") != self._message or at_ns - self.last.offset_ns > AT_MOST
            or sent_ns is None or sent_ns - at_ns > AT_MOST
        ):  # fmt: skip
            return False
        self.parts.append(delta)
        self._before, self.last, self.number = self.last, frame, number
        return True

    def refs(self) -> tuple[FrameRef, FrameRef]:
        """Return the last two events."""
        assert self._before is not None
        return _ref(self._before), _ref(self.last)


def _ref(frame: TimedFrame) -> FrameRef:
    return FrameRef(frame.stream, frame.seq, frame.offset_ns)


class StreamChecks:
    """The checks of one stream. `shared`: the handlers of checks that see all streams of the session. `api`: the rules
    of its API; the checks of turns and of the order of events are for Omnigent's alone."""

    def __init__(
        self, x: Exchange, shared: Iterable[Handlers], excused: Callable[[TimedFrame], bool], api: Api
    ) -> None:
        self.exchange, self.api = x, api
        self.is_other = api.name == UNKNOWN
        """Whether the API is unknown: the checks are those of bytes and of the contract."""
        self.is_session = opens_session_stream(x.request.method, x.request.target)
        self.contract, self.order, self.text = Contract(excused), Order(), StreamedText()
        self.statuses, self.turns = Statuses(), Turns()
        self.activity = Activity(x.response.at_ns if x.response else x.request.at_ns, beats=self.is_session)
        self.count = 0
        self.joined = False
        """Whether the stream began in the middle of a turn."""
        self._slowest, self._slow, self._unsent = 0, 0, 0
        self._slow_at: FrameRef | None = None
        self._handlers: dict[str, list[Handler]] = defaultdict(list)
        own = (self.order, self.text, self.statuses, self.turns)
        for handlers in (*(check.handlers() for check in own), *shared) if api.is_omnigent else ():
            for type_, handler in handlers.items():
                self._handlers[type_].append(handler)

    @property
    def stream(self) -> int:
        return self.exchange.stream or 0

    def read(self, frames: Iterable[TimedFrame], payload: Payload = payload) -> None:
        """Run the checks on all frames, in order."""
        none: list[Handler] = []
        deltas = Deltas(payload)
        takes_deltas = self._handlers.get(protocol.RESPONSE_OUTPUT_TEXT_DELTA) == [self.text.add]
        for event in events(frames, payload, deltas.takes):
            if deltas.parts:
                self._deltas(deltas)
            if takes_deltas:
                deltas.begin(event)
            self.count += 1
            self._arrived(event)
            self.activity.frame(event)
            if event.verdict != "valid" and (self.api is not FOREIGN or event.verdict == "truncated"):
                self.contract.odd(event)
            if event.number is not None and self.api.is_omnigent:
                self.order.numbered(event)
            if event.in_snapshot:
                self.joined = self.joined or event.type == protocol.RESPONSE_CREATED
            elif event.type not in protocol.HEARTBEATS and event.type != protocol.SESSION_PRESENCE:
                self._active(event)
            for handler in self._handlers.get(event.type or "", none):
                handler(event)
        if deltas.parts:
            self._deltas(deltas)

    def _deltas(self, deltas: Deltas) -> None:
        """Note deltas in a row."""
        before, last = deltas.refs()
        self.count += len(deltas.parts)
        self.activity.last = self.activity.active = last
        self.turns.touch_all(before, last)
        self.order.goes_on(deltas.number, deltas.last)
        self.text.goes_on(deltas.parts, last)

    def _active(self, event: Event) -> None:
        turn = self.turns.open
        if turn is None and not self.turns.all and event.type in _OF_A_TURN:
            self.joined = True
        waits_for = next(reversed(turn.waits.values()), None) if turn is not None else None
        self.activity.active_event(event, waits_for, works=turn is not None)
        self.turns.touch(event)

    def _arrived(self, event: Event) -> None:
        """Compare the time of handing to the client with the time of arrival."""
        if not self.exchange.has_times or self.exchange.ending == "unknown":
            return
        sent = event.frame.sent_ns
        if sent is None:
            self._unsent += 1
        elif sent - event.at_ns > SLOW:
            self._slow += 1
            if sent - event.at_ns > self._slowest:
                self._slowest, self._slow_at = sent - event.at_ns, event.ref

    @property
    def is_slow(self) -> bool:
        return self._slow > 0 or self._unsent > _UNSENT

    def cut(self) -> Turn | None:
        """The turn that was open when the stream ended."""
        return self.turns.open

    def end_ns(self, last_known_ns: int) -> int | None:
        """Until when a client listened, in ns. `last_known_ns`: the last known time of the recording."""
        x = self.exchange
        if x.end_ns is not None:
            return x.end_ns
        return last_known_ns if x.ending == "open" else None

    def signs(self, last_known_ns: int) -> Iterator[Sign]:
        """The signs of this stream alone."""
        end_ns = self.end_ns(last_known_ns)
        yield from chain(self.contract.signs(), self.order.signs(), self.text.signs(), self.turns.signs())
        yield from chain(self.statuses.signs(end_ns), self.activity.signs(end_ns))
        yield from chain(self._slowness(), self._done(end_ns))

    def _slowness(self) -> Iterator[Sign]:
        """A slow client. The kernel buffers megabytes before a slow client shows, so this is rare."""
        if not self.is_slow:
            return
        parts = []
        if self._slow:
            parts.append(f"{counted(self._slow, 'event')} went to the client up to {seconds(self._slowest)} late")
        if self._unsent > _UNSENT:
            parts.append(f"{counted(self._unsent, 'event')} never did")
        severity: Severity = "warning" if self._slowest > VERY_SLOW or self._unsent > _UNSENT else "note"
        last = self.activity.last
        ref = self._slow_at or last
        assert ref is not None
        assert last is not None
        yield sign_at("reader-slow", " and ".join(parts), [ref], severity=severity, since_ns=0, until_ns=last.at_ns)

    def _done(self, end_ns: int | None) -> Iterator[Sign]:
        """A missing end, `[DONE]` or an event: a session's stream has none, and an unknown API need not have one. A
        client that left counts only if it had waited for long."""
        last, ending = self.activity.last, self.exchange.ending
        if self.is_session or last is None or not self.api.has_ends:
            return
        has_waited = ending == "client_left" and end_ns is not None and end_ns - last.at_ns > SILENT
        if ending in ("eof", "upstream_lost") or has_waited:
            message = f"the stream {'ended' if not has_waited else 'fell silent'} without {self.api.end}"
            yield sign_at("no-done", message, [last], until_ns=max(end_ns or 0, last.at_ns))
