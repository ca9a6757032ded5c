"""When a turn begins, what it waits for, and how it ends: the rules that every command uses. Pure.

The live server does not keep to its reference page, so these rules hold:

1. A turn begins with the first of these: an approval about it, its input, `running`, its response, its text.
2. It ends with its `response.*` or `turn.*` end. Without one, it ends when the session is at rest (`idle`, `failed`)
   after work on it has begun. Later events still belong to it until the next turn begins.
3. `turn.*` is the end of the whole turn: a `turn.failed` after a `response.completed` makes the turn failed. An end
   that is told takes the place of an end that only the session's rest showed.
4. An interrupted turn ends at rest, or at the next input. However its events call that end, it is `interrupted`.
5. A response with another id is another turn if a message was sent during the turn before. Without such a message, the
   runner was restarted and runs the same turn again.
6. If the session fails after a completed turn, but before its rest, the turn has failed.
7. A response that the server creates for a refused message (`deny_…`) denies it.
8. A turn without content, such as a status alone, is none.

`Courses` is the machine. `builder.TurnBuilder` gives it the merged events of a session and keeps texts, also for the
live view.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from ...omnigent import protocol
from ...wire.strict_json import as_dict, as_text, text_of
from .values import Asked, Ended, Fault

Data = dict[str, Any]
Asker = Literal["user", "agent", "system"]
APPROVAL = "approval"
"""What a turn waits for while a question to the user is open."""
_PARKED = "status"
"""The key of `Course.waiting_for` for sub-agents; the other keys are ids of calls and questions."""
SILENT = frozenset({"resource_event", "routing_decision"})
"""Types of items that other events describe better, or that are not for users."""


@dataclass(eq=False)
class Course:
    """One turn, as far as it is known: its questions, what it waits for, its end."""

    started_ns: int
    asked: list[Asked] = field(default_factory=list)
    midway: list[Asked] = field(default_factory=list)
    """The messages that came during its response; the next turn may answer them."""
    taken: list[str] = field(default_factory=list)
    """The texts that the agent took in, in order."""
    items: set[str] = field(default_factory=set)
    """The ids of its questions' items."""
    response_id: str | None = None
    runs: bool = False
    """Whether the agent works on it."""
    has_content: bool = False
    """Whether it has a text, a tool call, a question to the user or an error."""
    interrupted: bool = False
    attempts: int = 1
    """How often the server ran it: again if its runner was restarted."""
    terminal: bool = False
    """Whether a `response.*` event has ended it."""
    rested: bool = False
    """Whether it ended because the session came to rest, and no event has told its end."""
    ended: Ended = "unfinished"
    ended_ns: int | None = None
    error: Fault | None = None
    trouble: Fault | None = None
    """The last error that did not end it."""
    waiting_for: dict[str, str] = field(default_factory=dict)
    """What the turn waits for: elicitation or call id to its name."""
    events: int = 0

    @property
    def is_empty(self) -> bool:
        return self.response_id is None and not (self.has_content or self.asked or self.error)

    @property
    def only_asks(self) -> bool:
        """Whether it only asks for approval of a message. An interrupt does not end that."""
        return not self.runs and APPROVAL in self.waiting_for.values()

    @property
    def waits_for(self) -> str | None:
        """The latest of `waiting_for`."""
        return next(reversed(self.waiting_for.values()), None)

    def ask(
        self, text: str, at_ns: int, item_id: str | None = None, by: Asker = "user", *, midway: bool = False
    ) -> bool:
        """Add a question, and return whether it is new. `midway`: it came during the response."""
        if item_id is not None and item_id in self.items:
            return False
        known = any(asked.text == text for asked in self.asked) and not self.items
        if item_id is not None:
            self.items.add(item_id)
        if known:
            return False
        asked = Asked(text, at_ns, "system" if text.startswith(protocol.SYSTEM_TEXT) else by, self.events)
        (self.midway if midway else self.asked).append(asked)
        return True

    def end(self, ended: Ended, at_ns: int, error: Fault | None = None) -> None:
        """Set the end. A turn that an interrupt cut short is `interrupted`, whatever the event calls it."""
        cut_short = self.interrupted and ended in ("incomplete", "cancelled", "unfinished")
        self.ended = "interrupted" if cut_short else ended
        self.ended_ns = None if self.ended == "unfinished" else at_ns
        self.error = error or self.error


T = TypeVar("T", bound=Course)


class Courses(ABC, Generic[T]):
    """The turns so far. Each method takes one kind of event: its time in ns, and its data."""

    def __init__(self) -> None:
        self.drafts: list[T] = []
        self.open: T | None = None
        """The turn that is not over: the last of `drafts`."""
        self.owners: dict[str, T] = {}
        """The turn of a call, an elicitation or a child session, by its id."""
        self.status: tuple[str, int] | None = None
        """The session's last status and its time in ns."""

    @abstractmethod
    def make(self, at_ns: int) -> T:
        """Return a new turn."""

    # What a reader may add

    def asks(self, draft: T, text: str, at_ns: int, item_id: str | None) -> None:
        """Add a message that the agent took in."""
        draft.ask(text, at_ns, item_id, midway=draft.response_id is not None)

    def again(self, draft: T, _at_ns: int) -> None:
        """Take note that the server runs the turn again from its beginning. It still has its former response."""

    def settled(self, draft: T, response: Data) -> None:
        """Take note of the response object of an end, before the turn ends."""

    def over(self, draft: T) -> None:
        """Take note that the turn has ended, or that its end is another one now."""

    def remark(self, draft: T, text: str, at_ns: int) -> None:
        """Take note of a sentence about the turn."""

    def failed_at_rest(self, draft: T, error: Fault | None, at_ns: int) -> None:
        """Take note that the session failed after the turn."""

    # Which turn is open

    def turn(self, at_ns: int) -> T:
        """Return the open turn, or a new one."""
        if self.open is None:
            self.open = self.make(at_ns)
            self.drafts.append(self.open)
        return self.open

    def next_turn(self, at_ns: int) -> T:
        """Return the open turn for an event that no interrupted turn has: an interrupted turn is closed first."""
        if self.open is not None and self.open.interrupted:
            self.close("interrupted", at_ns)
        return self.turn(at_ns)

    def latest(self) -> T | None:
        """Return the open turn, or the last one."""
        return self.open or (self.drafts[-1] if self.drafts else None)

    @property
    def unfinished(self) -> T | None:
        """The open turn, if it has content, and no interrupt has cut it short."""
        return None if self.open is None or self.open.is_empty or self.open.interrupted else self.open

    def close(self, ended: Ended, at_ns: int, error: Fault | None = None) -> None:
        """Close the open turn. A turn without content is dropped."""
        draft = self.open
        self.open = None
        if draft is not None:
            draft.end(ended, at_ns, error)
            if draft.is_empty:
                self.drafts.pop()
            else:
                self.over(draft)

    def owner(self, at_ns: int, response_id: str | None, call_id: str | None = None) -> T:
        """Return the turn of an item: the open one; without one the last, unless the item is of another response.

        A call of an interrupted turn comes again after its end, with another response id: it stays in its turn.
        """
        last = self.latest()
        if self.open is None and call_id is not None and call_id in self.owners:
            return self.owners[call_id]
        if self.open is None and last is not None and response_id in (None, last.response_id):
            return last
        return self.turn(at_ns)

    # Events

    def started(self, at_ns: int, _data: Data) -> None:
        self.next_turn(at_ns).runs = True

    def take_in(self, at_ns: int, data: Data) -> None:
        """Take a message that the agent got. The server's note to the agent about an interrupt is none."""
        item = as_dict(data.get("data"))
        text = text_of(as_dict(item.get("data")).get("content"))
        item_id = as_text(item.get("item_id"))
        if text.startswith(protocol.INTERRUPTED_TEXT) or not text:
            return
        draft = self.next_turn(at_ns)
        self.asks(draft, text, at_ns, item_id)
        draft.taken.append(text)

    def begin(self, at_ns: int, data: Data, *, is_again: bool = False) -> T | None:
        """Return the turn of a response that begins; None for a late copy. `is_again`: in a connect snapshot."""
        id_ = as_text(as_dict(data.get("response")).get("id"))
        last = self.latest()
        if self.open is None and last is not None and id_ is not None and id_ == last.response_id:
            return None
        if self.open is not None and id_ is not None and self.open.response_id not in (None, id_):
            if self.open.midway or self.open.interrupted or is_again:
                self.close("unfinished", at_ns)  # its end is missing
            else:
                self.open.attempts += 1
                self.open.waiting_for.clear()  # its open calls and questions are lost
                self.again(self.open, at_ns)
        draft = self.next_turn(at_ns)
        draft.runs = True
        draft.response_id = id_ or draft.response_id
        return draft

    def end(self, at_ns: int, data: Data, type_: str) -> T:
        """Return the turn that an event of `protocol.ENDS` ends, or has ended."""
        response = as_dict(data.get("response"))
        ended = protocol.ENDS[type_]
        id_ = as_text(response.get("id"))
        last = self.latest()
        is_response = type_ in protocol.RESPONSE_ENDS
        is_late = last is not None and (
            not is_response or not last.terminal or (id_ is not None and id_ == last.response_id)
        )
        if self.open is None and last is not None and is_late:
            self._settle(last, response, id_, is_response=is_response)
            is_worse = ended == "failed" and last.ended == "completed" and not is_response
            is_told = last.rested and not last.interrupted and ended != "completed"
            if last.ended == "unfinished" or is_worse or is_told:
                last.rested = False
                last.end(ended, at_ns, _why(last, data, ended))
                self.over(last)
            return last
        draft = self.turn(at_ns)
        self._settle(draft, response, id_, is_response=is_response)
        how: Ended = "denied" if protocol.is_denial(id_) else ended
        self.close(how, at_ns, _why(draft, data, how))
        return draft

    def _settle(self, draft: T, response: Data, id_: str | None, *, is_response: bool) -> None:
        draft.terminal = draft.terminal or is_response
        if not protocol.is_denial(id_):
            draft.response_id = draft.response_id or id_ or None
        self.settled(draft, response)

    def change(self, at_ns: int, data: Data) -> None:
        """Take a status of the session."""
        status = as_text(data.get("status"))
        draft = self.open
        before = self.status
        self.status = self.status if status is None else (status, at_ns)
        if status in ("running", "launching"):
            draft = self.next_turn(at_ns)
            draft.runs = True
            draft.waiting_for.pop(_PARKED, None)
        elif status == "waiting" and draft is not None:
            draft.waiting_for[_PARKED] = as_text(data.get("blocked_on")) or "sub-agents"
        elif status == "idle" and draft is not None and draft.runs:
            self._rest(draft, at_ns)
        elif status == "failed":
            self._fail(at_ns, fault_of(data.get("error")), was_at_rest=before is not None and before[0] == "idle")

    def _rest(self, draft: T, at_ns: int) -> None:
        """Close a turn at rest without an end event. An agent without response events ends its turns so."""
        draft.rested = True
        if draft.response_id is None or draft.interrupted:
            self.close("interrupted" if draft.interrupted else "completed", at_ns)
        else:
            self.remark(draft, "the session came to rest, and no event said how the turn ended", at_ns)
            self.close("unfinished", at_ns)

    def _fail(self, at_ns: int, error: Fault | None, *, was_at_rest: bool) -> None:
        """The failure of a session is that of its turn; of a session at rest it is a turn of its own, without a
        question. A lost runner is neither: the next message may start another one."""
        last = self.latest()
        if self.open is not None or (last is None and error is not None):
            self.turn(at_ns).error = error
            self.close("failed", at_ns, error)
        elif last is None or last.ended == "failed":
            return
        elif (error is not None and error.code == protocol.RUNNER_DISCONNECTED) or last.ended != "completed":
            self.failed_at_rest(last, error, at_ns)
        elif was_at_rest:
            self.turn(at_ns).error = error or Fault(None, "the session failed, and no reason was given")
            self.close("failed", at_ns)
        else:
            last.end("failed", at_ns, error)
            self.over(last)

    def interrupt(self, _at_ns: int, _data: Data) -> None:
        if self.open is not None and not self.open.only_asks:
            self.open.interrupted = True

    def speak(self, at_ns: int, data: Data) -> T:
        """Return the turn of a delta of text or thoughts."""
        draft = self.open or self.turn(at_ns)
        delta = data.get("delta")
        if delta and type(delta) is str:
            draft.has_content = True
        return draft

    def call(self, at_ns: int, item: Data) -> T:
        """Return the turn of a tool call."""
        call_id = call_id_of(item)
        draft = self.owner(at_ns, as_text(item.get("response_id")), as_text(item.get("call_id")))
        if call_id not in self.owners:
            draft.waiting_for[call_id] = as_text(item.get("name")) or "a tool"
        self.owners[call_id] = draft
        draft.has_content = True
        return draft

    def hand_back(self, at_ns: int, item: Data) -> T:
        """Return the turn of the output of a tool call."""
        call_id = as_text(item.get("call_id")) or "?"
        draft = self.owners.get(call_id) or self.turn(at_ns)
        draft.waiting_for.pop(call_id, None)
        draft.has_content = True
        return draft

    def raise_question(self, at_ns: int, data: Data) -> T | None:
        """Return the turn of a question to the user; None if it is known."""
        id_ = as_text(data.get("elicitation_id"))
        if id_ is None or id_ in self.owners:
            return None
        draft = self.owners[id_] = self.next_turn(at_ns)
        draft.waiting_for[id_] = APPROVAL
        draft.has_content = True
        return draft

    def item(self, at_ns: int, data: Data) -> tuple[T, Data, str] | None:
        """Return turn, fields and type of a finished item; None if other events describe it better."""
        item = as_dict(data.get("item"))
        type_ = as_text(item.get("type")) or "item"
        if type_ == "function_call_output":
            return self.hand_back(at_ns, item), item, type_
        if type_ in SILENT or not item:
            return None
        if type_ == "function_call":
            return self.call(at_ns, item), item, type_
        draft = self.owner(at_ns, as_text(item.get("response_id")), as_text(item.get("call_id")))
        if type_ == "error":
            draft.trouble = fault_of(item)
            draft.has_content = True
        elif type_ in ("message", "reasoning"):
            text = text_of(item.get("content")) or (type_ == "reasoning" and text_of(item.get("summary")))
            draft.has_content = draft.has_content or bool(text)
        return draft, item, type_

    def print_out(self, at_ns: int, data: Data) -> T:
        """Return the turn of a delta of a tool's output."""
        return self.owners.get(as_text(data.get("call_id")) or "") or self.turn(at_ns)

    def resolve(self, _at_ns: int, data: Data) -> T | None:
        """Return the turn of a question that was closed; None if the question is unknown."""
        id_ = as_text(data.get("elicitation_id")) or ""
        draft = self.owners.get(id_)
        if draft is not None:
            draft.waiting_for.pop(id_, None)
        return draft

    def stumble(self, at_ns: int, error: Any) -> T:
        """Return the turn of an error that did not end it, or of a retry."""
        draft = self.turn(at_ns)
        draft.trouble = fault_of(error) or Fault(None, "")
        draft.has_content = True
        return draft


def call_id_of(item: Data) -> str:
    """Return the id of a tool call."""
    return as_text(item.get("call_id")) or as_text(item.get("id")) or "?"


def fault_of(error: Any) -> Fault | None:
    """Return an error object as a `Fault`; None if it has neither code nor message."""
    data = as_dict(error)
    code = as_text(data.get("code"))
    message = as_text(data.get("message")) or as_text(error)
    return Fault(code, message or "") if code or message else None


def _why(draft: Course, data: Data, ended: Ended) -> Fault | None:
    """Return the reason of an end."""
    response = as_dict(data.get("response"))
    reason = as_text(as_dict(response.get("incomplete_details")).get("reason"))
    found = fault_of(response.get("error")) or fault_of(data.get("error"))
    if found is None and ended == "failed":
        found = draft.trouble
    return found or (Fault(None, reason) if reason else None)
