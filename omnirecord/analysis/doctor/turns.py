"""The turns of one stream: which began, how each ended, which was still going on when the stream was over.

1. A turn begins with `running`, or with its response. It ends with its `response.*` or `turn.*` end, or where the
   session comes to rest; after an interrupt that is how a turn ends on the live server.
2. At rest with a response that nothing ended, a turn is `unfinished`; so is one that the response to another message
   follows.
3. If another response follows without a message in between, the runner was restarted, and the server runs the same
   turn again: it is one turn, which ends with its last response.
4. What the server puts in a refused message's place (`deny_…`) is an end without a beginning.

Sub-agents: the sessions that a session spawned, whether each of them ended, and whether it failed unheard.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...omnigent import protocol
from ..turns.lenient import as_dict, as_text
from .finding import (
    SECOND,
    Event,
    Group,
    Handlers,
    Place,
    Severity,
    Sign,
    said,
    seconds,
    sign_at,
)

_NO_WORK = protocol.HEARTBEATS | {
    protocol.SESSION_PRESENCE, protocol.SESSION_STATUS, protocol.SESSION_INPUT_CONSUMED, protocol.SESSION_USAGE
}  # fmt: skip
_PARKED = "status"
"""Under which name a turn waits for its sub-agents, beside the ids of calls and questions."""


@dataclass(eq=False)
class Turn:
    """One turn, as one stream heard it."""

    first: Place
    last: Place
    """Its last event, heartbeats aside."""
    id: str | None = None
    """Its response's; None where no response was heard."""
    ended: str | None = None
    """`completed`, `failed`, `incomplete`, `cancelled`; `rest`; `unfinished`; None while it goes on."""
    end: Place | None = None
    was_asked: bool = False
    """Whether this stream heard what it answers: then it has listened from the beginning."""
    interrupted: bool = False
    rested: bool = False
    """Whether it is over because the session came to rest."""
    error: dict[str, Any] = field(default_factory=dict)
    waits: dict[str, str] = field(default_factory=dict)
    """What is under way: elicitation or call id to `approval` or the tool's name."""
    before: Place | None = None
    """The event before its last one."""
    spoke: tuple[Place, Place] | None = None
    """The last two events of its response."""
    is_followed: bool = False
    """Whether a message was taken in after its response had begun."""
    attempts: list[tuple[str, Place, Place]] = field(default_factory=list)
    """The responses that a restart of the runner broke off: the id, the last event, the beginning of the next one."""

    @property
    def until_ns(self) -> int:
        return (self.end or self.last).at_ns


class Turns:
    """The turns of one stream, in order."""

    def __init__(self) -> None:
        self.all: list[Turn] = []
        self.open: Turn | None = None
        self.heard_input: Place | None = None
        """The last message that was taken in before the turn began."""
        self._signs: list[Sign] = []
        self._retries = Group()
        self._why = ""
        """Why the last thing was tried again."""

    def handlers(self) -> Handlers:
        return {
            protocol.SESSION_STATUS: self._status,
            protocol.SESSION_INTERRUPTED: self._interrupted,
            protocol.TURN_STARTED: self._started,
            protocol.SESSION_INPUT_CONSUMED: self._input,
            protocol.RESPONSE_OUTPUT_ITEM_DONE: self._item,
            protocol.RESPONSE_ELICITATION_REQUEST: self._asked,
            protocol.RESPONSE_ELICITATION_RESOLVED: self._resolved,
            protocol.RESPONSE_RETRY: self._retry,
            **dict.fromkeys(protocol.RESPONSE_BEGINS, self._begin),
            **dict.fromkeys(protocol.ENDS, self._end),
        }

    def touch(self, event: Event) -> None:
        """Something happened that is no heartbeat."""
        if self.open is not None:
            self.open.before, self.open.last = self.open.last, event.place
            if protocol.is_of_response(event.type):
                spoke = self.open.spoke
                self.open.spoke = (spoke[1] if spoke else event.place, event.place)

    def _turn(self, event: Event) -> Turn:
        if self.open is None:
            self.open = Turn(self.heard_input or event.place, event.place, was_asked=self.heard_input is not None)
            self.heard_input = None
            self.all.append(self.open)
        return self.open

    def _close(self, event: Event, ended: str) -> None:
        if self.open is not None:
            self.open.ended, self.open.end = ended, event.place
        self.open = self.heard_input = None

    def _started(self, event: Event) -> None:
        self._turn(event)

    def _begin(self, event: Event) -> None:
        id_, last = _response_id(event), self.all[-1] if self.all else None
        if self.open is None and last is not None and id_ is not None and last.id == id_:
            return
        if self.open is not None and self.open.id not in (None, id_) and id_ is not None:
            if self.open.interrupted or self.open.is_followed or event.in_snapshot:
                self._close(event, "rest" if self.open.interrupted else "unfinished")
            else:
                self._restart(event, self.open)
        turn = self._turn(event)
        turn.id = turn.id or id_

    def _restart(self, event: Event, turn: Turn) -> None:
        """The same turn begins again under another response id, and what was under way in it is lost."""
        last = turn.spoke[0] if turn.spoke else turn.first
        turn.attempts.append((turn.id or "", last, event.place))
        turn.id = None
        turn.waits.clear()

    def _end(self, event: Event) -> None:
        id_, last = _response_id(event) or "", self.all[-1] if self.all else None
        if self.open is None and last is not None and last.id == id_:
            self._end_late(event, last)
            return
        self._contradicts(event)
        turn = self._turn(event)
        if turn.id is None and not protocol.is_denial(id_) and turn.was_asked and event.number is not None:
            message = f"the response {said(id_)} ended, but no event began it"
            self._signs.append(sign_at("turn-without-beginning", message, [turn.first, event.place]))
        turn.id = turn.id or id_ or None
        turn.error = _error(event)
        self._close(event, protocol.ENDS[event.type or ""])

    def _end_late(self, event: Event, last: Turn) -> None:
        if last.ended == "unfinished":
            message = f"{said(event.type)} came after the session had come to rest"
            self._signs.append(sign_at("event-after-end", message, [last.end or last.last, event.place]))
        if last.ended in ("unfinished", "rest"):
            last.ended, last.end, last.error = protocol.ENDS[event.type or ""], event.place, _error(event)

    def _contradicts(self, event: Event) -> None:
        """The type says how a turn ended, and so does the response in it."""
        status = as_text(as_dict(event.data.get("response")).get("status"))
        if status not in (None, protocol.ENDS[event.type or ""]):
            message = f"a {said(event.type)} whose response has the status {said(status)}"
            self._signs.append(sign_at("contract-invalid", message, [event.place]))

    def _status(self, event: Event) -> None:
        status = event.data.get("status")
        if status in ("running", "launching"):
            turn = self._turn(event)
            turn.last = event.place
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
            return  # it only says once more what the response's end has said
        if self.open is None and error.get("code") != protocol.RUNNER_DISCONNECTED:
            return
        self._turn(event).error = error
        self._close(event, "failed")

    def _interrupted(self, _event: Event) -> None:
        if self.open is not None:
            self.open.interrupted = True

    def _input(self, event: Event) -> None:
        if self.open is None:
            self.heard_input = event.place
        else:
            self.open.was_asked = True
            self.open.is_followed = self.open.id is not None

    def _item(self, event: Event) -> None:
        item, turn = as_dict(event.data.get("item")), self.open
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
    """How a turn ended, where that was not well. One that was cut off is for who knows all streams."""
    about = turn.id or fault(turn.error)
    for number, (id_, last, again) in enumerate(turn.attempts, 1):
        quiet_ns = again.at_ns - last.at_ns
        after = f"after {seconds(quiet_ns)} " if quiet_ns else ""
        message = (
            f"the runner was restarted in the middle of the turn: {after}the server"
            f" ran the turn again from its beginning, instead of the response {said(id_)}"
        )
        severity: Severity | None = "warning" if turn.ended == "completed" else None
        yield sign_at(
            "runner-restarted", message, [last, again], since_ns=turn.first.at_ns, until_ns=turn.until_ns,
            about=(id_, number), severity=severity,
        )  # fmt: skip
    if turn.interrupted and turn.ended in ("rest", "incomplete", "cancelled"):
        yield _ended("turn-interrupted", "the user interrupted the turn", turn, about)
    elif turn.ended == "failed" and turn.error.get("code") == protocol.RUNNER_DISCONNECTED:
        last = turn.before or turn.first
        quiet_ns = turn.until_ns - last.at_ns
        after = f"; the server reported that {seconds(quiet_ns)} after the last event" if quiet_ns else ""
        message = f"the runner disconnected in the middle of the turn{after}"
        yield sign_at("runner-disconnected", message, [last, turn.last], since_ns=turn.first.at_ns, about=about)
    elif turn.ended == "failed":
        yield _ended("turn-failed", f"the turn failed: {fault(turn.error) or 'no reason was given'}", turn, about)
    elif turn.ended == "incomplete":
        yield _ended("turn-incomplete", f"the turn ended incomplete: {fault(turn.error) or 'no reason'}", turn, about)
    elif turn.ended == "unfinished":
        how = "came to rest" if turn.rested else "went on"
        message = f"the response {said(turn.id)} has no end, though the session {how}"
        yield _ended("turn-unfinished", message, turn, about)


def _ended(code: str, message: str, turn: Turn, about: object) -> Sign:
    return sign_at(
        code, message, [*dict.fromkeys([turn.last, turn.end or turn.last])], since_ns=turn.first.at_ns, about=about
    )


def fault(error: dict[str, Any]) -> str:
    """An error object in a few words."""
    parts = (as_text(error.get("code")), as_text(error.get("message")), as_text(error.get("reason")))
    return said(": ".join(part for part in parts if part), 160)


def _error(event: Event) -> dict[str, Any]:
    response = as_dict(event.data.get("response"))
    return (
        as_dict(response.get("error"))
        or as_dict(response.get("incomplete_details"))
        or as_dict(event.data.get("error"))
    )


def _response_id(event: Event) -> str | None:
    return as_text(as_dict(event.data.get("response")).get("id"))


_UNDER_WAY = frozenset({"launching", "queued", "in_progress", "running", "waiting", "pending"})
_MOST = 50
_PATIENCE = 10 * SECOND
"""A sub-agent of which nothing was heard for less than this may just be at work."""


@dataclass(eq=False)
class Child:
    first: Place
    last: Place
    title: str = ""
    status: str | None = None
    error: str = ""
    """Why its last task failed, as far as the parent was told."""
    statuses: list[tuple[int, str]] = field(default_factory=list)
    """Each status, and when it came."""

    def is_at_work(self, at_ns: int) -> bool:
        """Whether it had not ended at that time."""
        known = [status for when, status in self.statuses if when <= at_ns]
        return not known or known[-1] in _UNDER_WAY


class Children:
    """The child sessions of one session."""

    def __init__(self) -> None:
        self.known: dict[str, Child] = {}

    def handlers(self) -> Handlers:
        return {protocol.SESSION_CREATED: self._created, protocol.SESSION_CHILD_SESSION_UPDATED: self._updated}

    def _child(self, event: Event) -> Child | None:
        id_ = as_text(event.data.get("child_session_id"))
        return None if id_ is None else self.known.setdefault(id_, Child(event.place, event.place))

    def _created(self, event: Event) -> None:
        self._child(event)

    def _updated(self, event: Event) -> None:
        child, told = self._child(event), as_dict(event.data.get("child"))
        if child is None:
            return
        child.title = as_text(told.get("title")) or child.title
        status = as_text(told.get("current_task_status"))
        if status is not None:
            child.statuses.append((event.at_ns, status))
        if status is not None and event.at_ns >= child.last.at_ns:
            child.status, child.last = status, event.place
            child.error = fault(as_dict(told.get("last_task_error")))

    def signs(
        self, until_ns: int, at_rest: Collection[str], deleted: Mapping[str, int], *, is_open: bool = False
    ) -> Iterator[Sign]:
        """`at_rest`: the sessions of which their own stream has said that they came to an end. `deleted`: those that
        clients deleted, and when. `is_open`: how the streams ended is unknown."""
        for id_, child in list(self.known.items())[:_MOST]:
            if id_ in deleted and child.first.at_ns <= deleted[id_] and child.is_at_work(deleted[id_]):
                message = f"the session of the sub-agent {said(child.title or id_)} was deleted while it worked"
                places = list(dict.fromkeys([child.first, child.last]))
                severity: Severity | None = None if child.status in _UNDER_WAY else "warning"  # the parent goes on
                yield sign_at(
                    "session-deleted", message, places, since_ns=deleted[id_], until_ns=until_ns, about=id_,
                    severity=severity,
                )  # fmt: skip
                continue
            if id_ not in at_rest and child.status == "failed":
                why = child.error or "no reason was given"
                message = f"the sub-agent {said(child.title or id_)} failed, and no client heard its turn: {why}"
                yield sign_at("turn-failed", message, [child.last], about=id_, severity="warning")
            elif id_ not in at_rest and (child.status is None or child.status in _UNDER_WAY):
                name = said(child.title or id_)
                status = said(child.status or "unknown")
                waited = f", and no event about it came for {seconds(until_ns - child.last.at_ns)}"
                message = f"the sub-agent {name} is still {status}{'' if is_open else waited}"
                may_work = is_open or until_ns - child.last.at_ns < _PATIENCE
                places = list(dict.fromkeys([child.first, child.last]))
                yield sign_at(
                    "child-unfinished",
                    message,
                    places,
                    until_ns=until_ns,
                    about=id_,
                    severity="note" if may_work else None,
                )
