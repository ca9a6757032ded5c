"""One stream, heard through from its first frame to its last: every check sees each event once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from ...model import Exchange, TimedFrame
from ...omnigent.routes import opens_session_stream
from .contract import Contract
from .event import (
    HEARTBEATS,
    SECOND,
    Check,
    Event,
    Handler,
    Handlers,
    Place,
    counted,
    events,
    seconds,
    sign_at,
)
from .finding import Severity, Sign
from .liveness import SILENT, Pulse
from .order import Order
from .statuses import Statuses
from .texts import Texts
from .turns import Turn, Turns

SLOW = 1 * SECOND
"""How much later than it came an event may be handed to the client before that is worth a word."""
VERY_SLOW = 5 * SECOND
_OF_A_TURN = frozenset(
    {"response.output_text.delta", "response.output_item.done", "response.function_call_output.delta"}
)
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
            if event.greeting:
                self.joined = self.joined or event.type == "response.created"
            elif event.type not in HEARTBEATS and event.type != "session.presence":
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
