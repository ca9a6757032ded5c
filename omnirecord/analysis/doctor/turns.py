"""Checks of the turns of one stream, and of the session's status: how each turn began and ended.

1. A turn begins with `running`, or with its response. It ends with its `response.*` or `turn.*` end, or when the
   session comes to rest. On the live server, an interrupted turn ends only by coming to rest.
2. A turn is `unfinished` if the session rests while its response has no end, or if the response to another message
   follows.
3. If another response follows without a message in between, the runner was restarted, and the server runs the same turn
   again: it is one turn, which ends with its last response.
4. A response that the server creates for a refused message (`deny_…`) is an end without a beginning.

Known changes of status are those of Omnigent's page (idle, running, waiting, failed), `launching`, and those that the
live server makes in healthy sessions: it repeats a status, or keeps running from one turn to the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ...omnigent import protocol
from ...text import joined
from ...wire.strict_json import as_dict, as_text
from .finding import SECOND, WORKING, Event, FrameRef, Group, Handlers, Sign, said, seconds, sign_at

_PARKED = "status"
"""The key of `Turn.waits` for sub-agents; the other keys are ids of calls and questions."""


@dataclass(eq=False)
class Turn:
    """One turn on one stream."""

    first: FrameRef
    last: FrameRef
    """Its last event other than heartbeats."""
    id: str | None = None
    """The id of its response; None without one."""
    ended: str | None = None
    """`completed`, `failed`, `incomplete`, `cancelled`, `rest` or `unfinished`; None while it is open."""
    end: FrameRef | None = None
    was_asked: bool = False
    """Whether this stream carried the message that it answers, and so the turn from its start."""
    interrupted: bool = False
    rested: bool = False
    """Whether it ended because the session came to rest."""
    error: dict[str, Any] = field(default_factory=dict)
    waits: dict[str, str] = field(default_factory=dict)
    """What it waits for: elicitation or call id to `approval` or the tool's name."""
    before: FrameRef | None = None
    """The event before `last`."""
    spoke: tuple[FrameRef, FrameRef] | None = None
    """The last two events of its response."""
    is_followed: bool = False
    """Whether the agent got another message after the response began."""
    attempts: list[tuple[str, FrameRef, FrameRef]] = field(default_factory=list)
    """The responses that a restart of the runner cut: id, last event, first event of the next one."""

    @property
    def until_ns(self) -> int:
        return (self.end or self.last).at_ns

    @property
    def waits_for(self) -> str | None:
        """The latest of `waits`."""
        return next(reversed(self.waits.values()), None)


class Turns:
    def __init__(self) -> None:
        self.all: list[Turn] = []
        self.open: Turn | None = None
        self.input: FrameRef | None = None
        """The last message before the turn."""
        self._signs: list[Sign] = []
        self._retries = Group()
        self._why = ""
        """The error of the last retry."""

    def handlers(self) -> Handlers:
        return {
            protocol.SESSION_STATUS: self._status,
            protocol.SESSION_INTERRUPTED: self._interrupted,
            protocol.TURN_STARTED: self._turn,
            protocol.SESSION_INPUT_CONSUMED: self._input,
            protocol.RESPONSE_OUTPUT_ITEM_DONE: self._item,
            protocol.RESPONSE_ELICITATION_REQUEST: self._asked,
            protocol.RESPONSE_ELICITATION_RESOLVED: self._resolved,
            protocol.RESPONSE_RETRY: self._retry,
            **dict.fromkeys(protocol.RESPONSE_BEGINS, self._begin),
            **dict.fromkeys(protocol.ENDS, self._end),
        }

    def touch(self, event: Event) -> None:
        """Note an event that is no heartbeat."""
        if self.open is not None:
            self.open.before, self.open.last = self.open.last, event.ref
            if protocol.is_of_response(event.type):
                spoke = self.open.spoke
                self.open.spoke = (spoke[1] if spoke else event.ref, event.ref)

    def _turn(self, event: Event) -> Turn:
        if self.open is None:
            self.open = Turn(self.input or event.ref, event.ref, was_asked=self.input is not None)
            self.input = None
            self.all.append(self.open)
        return self.open

    def _close(self, event: Event, ended: str) -> None:
        if self.open is not None:
            self.open.ended, self.open.end = ended, event.ref
        self.open = self.input = None

    def _begin(self, event: Event) -> None:
        id_, last = event.response_id, self.all[-1] if self.all else None
        if self.open is None and last is not None and id_ is not None and last.id == id_:
            return
        if self.open is not None and self.open.id not in (None, id_) and id_ is not None:
            if self.open.interrupted or self.open.is_followed or event.in_snapshot:
                self._close(event, "rest" if self.open.interrupted else "unfinished")
            else:  # the same turn starts again under another response id; open calls and questions are lost
                last_event = self.open.spoke[0] if self.open.spoke else self.open.first
                self.open.attempts.append((self.open.id or "", last_event, event.ref))
                self.open.id = None
                self.open.waits.clear()
        turn = self._turn(event)
        turn.id = turn.id or id_

    def _end(self, event: Event) -> None:
        id_, last = event.response_id or "", self.all[-1] if self.all else None
        if self.open is None and last is not None and last.id == id_:
            self._end_late(event, last)
            return
        status = as_text(as_dict(event.data.get("response")).get("status"))
        if status not in (None, protocol.ENDS[event.type or ""]):
            message = f"a {said(event.type)} whose response has the status {said(status)}"
            self._signs.append(sign_at("contract-invalid", message, [event.ref]))
        turn = self._turn(event)
        if turn.id is None and not id_.startswith("deny_") and turn.was_asked and event.number is not None:
            message = f"the response {said(id_)} ended, but no event began it"
            self._signs.append(sign_at("turn-without-beginning", message, [turn.first, event.ref]))
        turn.id = turn.id or id_ or None
        turn.error = _error(event)
        self._close(event, protocol.ENDS[event.type or ""])

    def _end_late(self, event: Event, last: Turn) -> None:
        if last.ended == "unfinished":
            message = f"{said(event.type)} came after the session had come to rest"
            self._signs.append(sign_at("event-after-end", message, [last.end or last.last, event.ref]))
        if last.ended in ("unfinished", "rest"):
            last.ended, last.end, last.error = protocol.ENDS[event.type or ""], event.ref, _error(event)

    def _status(self, event: Event) -> None:
        status = event.data.get("status")
        if status in ("running", "launching"):
            turn = self._turn(event)
            turn.last = event.ref
            turn.waits.pop(_PARKED, None)
        elif status == "waiting" and self.open is not None:
            self.open.waits[_PARKED] = "a sub-agent"
        elif status == "failed":
            self._fail(event)
        elif status == "idle" and self.open is not None:
            is_over = self.open.id is None or self.open.interrupted
            self.open.rested = True
            self._close(event, "rest" if is_over else "unfinished")

    def _fail(self, event: Event) -> None:
        error = as_dict(event.data.get("error"))
        last = self.all[-1] if self.all else None
        if self.open is None and last is not None and last.ended == "failed":
            return  # a repetition of the response's end
        if self.open is None and error.get("code") != protocol.RUNNER_DISCONNECTED:
            return
        self._turn(event).error = error
        self._close(event, "failed")

    def _interrupted(self, _event: Event) -> None:
        if self.open is not None:
            self.open.interrupted = True

    def _input(self, event: Event) -> None:
        if self.open is None:
            self.input = event.ref
        else:
            self.open.was_asked = True
            self.open.is_followed = self.open.id is not None

    def _item(self, event: Event) -> None:
        item, turn = event.item, self.open
        call_id = as_text(item.get("call_id"))
        if turn is None or call_id is None:
            return
        if item.get("type") == "function_call":
            turn.waits[call_id] = as_text(item.get("name")) or "a tool"
        elif item.get("type") == "function_call_output":
            turn.waits.pop(call_id, None)

    def _asked(self, event: Event) -> None:
        id_ = as_text(event.data.get("elicitation_id"))
        if id_ is not None:
            self._turn(event).waits[id_] = "approval"

    def _resolved(self, event: Event) -> None:
        if self.open is not None:
            self.open.waits.pop(as_text(event.data.get("elicitation_id")) or "", None)

    def _retry(self, event: Event) -> None:
        self._retries.add(event)
        self._why = fault(as_dict(event.data.get("error")))

    def signs(self) -> Iterator[Sign]:
        yield from self._signs
        for turn in self.all:
            yield from _signs_of(turn)
        if self._retries.count:
            times = "once" if self._retries.count == 1 else f"{self._retries.count:,} times, the last time"
            yield self._retries.sign("retried", f"a call was retried {times}, because of {self._why or 'an error'}")


def _signs_of(turn: Turn) -> Iterator[Sign]:
    """The signs of a turn that ended badly. `endings` reports turns that were cut."""
    about = turn.id or fault(turn.error)
    for number, (id_, last, again) in enumerate(turn.attempts, 1):
        quiet_ns = again.at_ns - last.at_ns
        after = f"after {seconds(quiet_ns)} " if quiet_ns else ""
        message = (
            f"the runner was restarted in the middle of the turn: {after}the server"
            f" ran the turn again from its beginning, instead of the response {said(id_)}"
        )
        yield sign_at(
            "runner-restarted", message, [last, again], since_ns=turn.first.at_ns, until_ns=turn.until_ns,
            about=(id_, number), severity="warning" if turn.ended == "completed" else None,
        )  # fmt: skip
    if turn.ended == "failed" and turn.error.get("code") == protocol.RUNNER_DISCONNECTED:
        last = turn.before or turn.first
        quiet_ns = turn.until_ns - last.at_ns
        after = f"; the server reported that {seconds(quiet_ns)} after the last event" if quiet_ns else ""
        message = f"the runner disconnected in the middle of the turn{after}"
        yield sign_at("runner-disconnected", message, [last, turn.last], since_ns=turn.first.at_ns, about=about)
    elif turn.ended not in (None, "completed"):
        how, why = "came to rest" if turn.rested else "went on", fault(turn.error)
        messages = {
            "failed": f"the turn failed: {why or 'no reason was given'}",
            "incomplete": f"the turn ended incomplete: {why or 'no reason'}",
            "unfinished": f"the response {said(turn.id)} has no end, though the session {how}",
        }
        code, told = f"turn-{turn.ended}", messages.get(turn.ended)
        if turn.interrupted and turn.ended in ("rest", "incomplete", "cancelled"):
            code, told = "turn-interrupted", "the user interrupted the turn"
        if told is not None:
            refs = [turn.last, turn.end or turn.last]
            yield sign_at(code, told, refs, since_ns=turn.first.at_ns, about=about)


def fault(error: dict[str, Any]) -> str:
    """An error object as text: code, message, reason."""
    return said(joined((as_text(error.get(name)) for name in ("code", "message", "reason")), ": "), 160)


def _error(event: Event) -> dict[str, Any]:
    response = as_dict(event.data.get("response"))
    found = response.get("error"), response.get("incomplete_details"), event.data.get("error")
    return next(filter(None, map(as_dict, found)), {})


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
        self.ref: FrameRef | None = None
        self._ended: FrameRef | None = None
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
