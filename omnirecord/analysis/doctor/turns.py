"""Checks of the turns of one stream, and of the session's status: how each turn began and ended.

`turns.begin_and_end` decides when a turn begins and ends. A turn is `unfinished` if the session rests while its
response has no end, or if the response to another message follows.

Known changes of status are those of Omnigent's page (idle, running, waiting, failed), `launching`, and those that the
live server makes in healthy sessions: it repeats a status, or keeps running from one turn to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ...omnigent import protocol
from ...text import joined
from ...wire.strict_json import as_dict, as_text
from ..turns.begin_and_end import Course, Courses, Data
from ..turns.patience import SECOND
from ..turns.values import Fault, Ref
from .finding import WORKING, Event, Group, Handlers, Sign, said, seconds, sign_at

_START = Ref(0, 0, 0)


@dataclass(eq=False)
class Turn(Course):
    """What one stream carried of one turn."""

    first: Ref = _START
    last: Ref = _START
    """Its last event other than heartbeats."""
    end_ref: Ref | None = None
    """The event that ended it; None while it is open."""
    before: Ref | None = None
    """The event before `last`."""
    spoke: tuple[Ref, Ref] | None = None
    """The last two events of its response."""
    cut: list[tuple[str, Ref, Ref]] = field(default_factory=list)
    """The responses that a restart of the runner cut: id, last event, first event of the next one."""

    @property
    def until_ns(self) -> int:
        return (self.end_ref or self.last).at_ns


class Turns(Courses[Turn]):
    """The turns of one stream."""

    def __init__(self) -> None:
        super().__init__()
        self._ref = _START
        """The event that is read."""
        self._signs: list[Sign] = []
        self._retries = Group()
        self._why = ""
        """The error of the last retry."""

    def handlers(self) -> Handlers:
        return {
            protocol.SESSION_STATUS: self._event(self.change),
            protocol.SESSION_INTERRUPTED: self._event(self.interrupt),
            protocol.TURN_STARTED: self._event(self.started),
            protocol.SESSION_INPUT_CONSUMED: self._event(self.take_in),
            protocol.RESPONSE_OUTPUT_ITEM_DONE: self._event(self._item),
            protocol.RESPONSE_ELICITATION_REQUEST: self._event(self.raise_question),
            protocol.RESPONSE_ELICITATION_RESOLVED: self._event(self.resolve),
            protocol.RESPONSE_FUNCTION_CALL_OUTPUT_DELTA: self._event(self.print_out),
            protocol.RESPONSE_ERROR: self._event(self._stumble),
            protocol.RESPONSE_RETRY: self._retry,
            **dict.fromkeys(protocol.RESPONSE_BEGINS, self._begin),
            **dict.fromkeys(protocol.ENDS, self._end),
        }

    def touch(self, event: Event) -> None:
        """Note an event that is no heartbeat."""
        turn = self.open
        if turn is not None:
            turn.before, turn.last = turn.last, event.ref
            if protocol.is_of_response(event.type):
                turn.spoke = (turn.spoke[1] if turn.spoke else event.ref, event.ref)
        if event.type in _TEXTS and (turn is None or not turn.has_content):
            self._ref = event.ref
            self.speak(event.at_ns, event.data)

    def make(self, at_ns: int) -> Turn:
        return Turn(at_ns, first=self._ref, last=self._ref)

    def again(self, draft: Turn, _at_ns: int) -> None:
        last = draft.spoke[0] if draft.spoke else draft.first
        draft.cut.append((draft.response_id or "", last, self._ref))

    def over(self, draft: Turn) -> None:
        draft.end_ref = self._ref

    def failed_at_rest(self, draft: Turn, error: Fault | None, at_ns: int) -> None:
        if error is not None and error.code == protocol.RUNNER_DISCONNECTED:
            message = f"the server lost the runner after the turn{_after(at_ns - draft.until_ns)}"
            self._signs.append(sign_at("runner-disconnected", message, [self._ref], since_ns=draft.until_ns))

    def _event(self, take: Callable[[int, Data], object]) -> Callable[[Event], None]:
        def read(event: Event) -> None:
            self._ref = event.ref
            take(event.at_ns, event.data)

        return read

    def _begin(self, event: Event) -> None:
        self._ref = event.ref
        self.begin(event.at_ns, event.data, is_again=event.in_snapshot)

    def _end(self, event: Event) -> None:
        self._ref, id_, type_, last = event.ref, event.response_id or "", event.type or "", self.latest()
        status = as_text(as_dict(event.data.get("response")).get("status"))
        if status not in (None, protocol.ENDS[type_]):
            message = f"a {said(type_)} whose response has the status {said(status)}"
            self._signs.append(sign_at("contract-invalid", message, [event.ref]))
        if self.open is None and last is not None and last.ended == "unfinished" and last.response_id == id_:
            message = f"{said(type_)} came after the session had come to rest"
            self._signs.append(sign_at("event-after-end", message, [last.end_ref or last.last, event.ref]))
        is_first = self.open is not None and self.open.response_id is None and bool(self.open.taken)
        if is_first and not protocol.is_denial(id_) and event.number is not None and self.open is not None:
            message = f"the response {said(id_)} ended, but no event began it"
            self._signs.append(sign_at("turn-without-beginning", message, [self.open.first, event.ref]))
        self.end(event.at_ns, event.data, type_)

    def _item(self, at_ns: int, data: Data) -> None:
        self.item(at_ns, data)

    def _stumble(self, at_ns: int, data: Data) -> None:
        self.stumble(at_ns, data.get("error"))

    def _retry(self, event: Event) -> None:
        self._ref = event.ref
        self.stumble(event.at_ns, event.data.get("error"))
        self._retries.add(event)
        self._why = fault(as_dict(event.data.get("error")))

    def signs(self) -> Iterator[Sign]:
        yield from self._signs
        for turn in self.drafts:
            yield from _signs_of(turn)
        if self._retries.count:
            times = "once" if self._retries.count == 1 else f"{self._retries.count:,} times, the last time"
            yield self._retries.sign("retried", f"a call was retried {times}, because of {self._why or 'an error'}")


def _signs_of(turn: Turn) -> Iterator[Sign]:
    """The signs of a turn that ended badly. `endings` reports turns that were cut."""
    why = said(turn.error.why, 160) if turn.error else ""
    about = turn.response_id or why
    for number, (id_, last, again) in enumerate(turn.cut, 1):
        quiet_ns = again.at_ns - last.at_ns
        after = f"after {seconds(quiet_ns)} " if quiet_ns else ""
        message = (
            f"the runner was restarted in the middle of the turn: {after}the server"
            f" ran the turn again from its beginning, instead of the response {said(id_)}"
        )
        severity = "warning" if turn.ended == "completed" else None
        times = {"since_ns": turn.first.at_ns, "until_ns": turn.until_ns}
        yield sign_at("runner-restarted", message, [last, again], about=(id_, number), severity=severity, **times)
    if turn.end_ref is None and not turn.interrupted:
        return
    if turn.error is not None and turn.error.code == protocol.RUNNER_DISCONNECTED and turn.ended == "failed":
        last = turn.before or turn.first
        quiet_ns = turn.until_ns - last.at_ns
        after = f"; the server reported that {seconds(quiet_ns)} after the last event" if quiet_ns else ""
        message = f"the runner disconnected in the middle of the turn{after}"
        yield sign_at("runner-disconnected", message, [last, turn.last], since_ns=turn.first.at_ns, about=about)
        return
    messages = {
        "failed": f"the turn failed: {why or 'no reason was given'}",
        "incomplete": f"the turn ended incomplete: {why or 'no reason'}",
        "interrupted": "the user interrupted the turn",
        "unfinished": f"the response {said(turn.response_id)} has no end, though the session"
        f" {'came to rest' if turn.rested else 'went on'}",
    }
    how = turn.ended if turn.end_ref is not None else "interrupted"
    if how in messages:
        refs = [turn.last, turn.end_ref or turn.last]
        yield sign_at(f"turn-{how}", messages[how], refs, since_ns=turn.first.at_ns, about=about)


def fault(error: dict[str, Any]) -> str:
    """An error object as text: code, message, reason."""
    return said(joined((as_text(error.get(name)) for name in ("code", "message", "reason")), ": "), 160)


def _after(ns: int) -> str:
    return f", {seconds(ns)} after its end" if ns > 0 else ""


_TEXTS = frozenset({protocol.RESPONSE_OUTPUT_TEXT_DELTA, *protocol.REASONING_DELTAS})
_KNOWN = frozenset({
    ("idle", "launching"), ("idle", "running"), ("failed", "launching"), ("failed", "running"), ("failed", "idle"),
    ("launching", "running"), ("launching", "idle"), ("launching", "failed"), ("running", "waiting"),
    ("running", "idle"), ("running", "failed"), ("waiting", "running"), ("waiting", "idle"), ("waiting", "failed"),
    ("running", "launching"), ("waiting", "launching"), ("idle", "failed"),
})  # fmt: skip
_SOON = 2 * SECOND
"""Longest time in ns between a turn's end and its last status."""


class Statuses:
    def __init__(self) -> None:
        self.last: str | None = None
        self.ref: Ref | None = None
        self._ended: Ref | None = None
        """The end of a turn that no status has followed yet."""
        self._saw_input = False
        self.saw_post = False
        """Whether a client posted a message while this stream was open, so that it carries the turn's status too. A
        stream that joins a sub-agent after its `running` carries the message, then the response."""
        self._odd: dict[tuple[str, str], Group] = {}

    def handlers(self) -> Handlers:
        return {
            protocol.SESSION_STATUS: self._status, protocol.SESSION_INPUT_CONSUMED: self._input,
            **dict.fromkeys(protocol.RESPONSE_BEGINS, self._begin), **dict.fromkeys(protocol.ENDS, self._end),
        }  # fmt: skip

    def _status(self, event: Event) -> None:
        status = as_text(event.data.get("status"))
        if status is None:
            return
        if self.last not in (None, status) and (self.last, status) not in _KNOWN:
            self._add(event, self.last or "", status)
        self.last, self.ref, self._ended = status, event.ref, None

    def _input(self, _event: Event) -> None:
        self._saw_input = True

    def _begin(self, event: Event) -> None:
        """A response began, so the last status should be a working one."""
        is_from_start = self.last is not None or (self._saw_input and self.saw_post)
        if not event.in_snapshot and is_from_start and self.last not in WORKING:
            self._add(event, self.last or "no status", "a response under way")
            self.last, self.ref = "running", event.ref
        self._saw_input = False

    def _end(self, event: Event) -> None:
        if not (event.response_id or "").startswith("deny_"):
            self._ended = event.ref

    def _add(self, event: Event, before: str, after: str) -> None:
        key = (said(before, 30), said(after, 30))
        if key in self._odd or len(self._odd) < len(_KNOWN):
            self._odd.setdefault(key, Group()).add(event)

    def signs(self, end_ns: int | None) -> Iterator[Sign]:
        for (before, after), group in self._odd.items():
            yield group.sign("status-unknown-transition", f"the status went from {before} to {after}")
        if (ended := self._ended) and self.ref and self.last in WORKING:  # a note if the client left right after it
            severity = "note" if end_ns is None or end_ns - ended.at_ns < _SOON else "warning"
            message = f"the turn ended, and the last status is still {said(self.last)}"
            yield sign_at("status-left-running", message, [self.ref, ended], since_ns=ended.at_ns, severity=severity)
