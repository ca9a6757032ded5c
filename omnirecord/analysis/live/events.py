"""The lines of the live view: their layout, and the line for each type of event. Other known types have no line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from ...omnigent import protocol
from ...omnigent.line import MergedFrame
from ...omnigent.summary import sentence, short_id
from ...providers.answers import ERROR
from ...text import ENOUGH, cells, clip, fitting, joined, one_line, seconds, visible
from ...wire.strict_json import as_dict, as_text, text_of
from ..apis import summary
from ..turns import SessionBuilder
from ..turns.begin_and_end import call_id_of
from ..turns.builder import TurnBuilder
from ..turns.draft import Draft
from ..turns.values import Child, Tool

Kind = Literal["asked", "said", "thought", "tool", "approval", "child", "trouble", "warning", "note", "end"]
_TIME = 9
_LABEL = 10
_LEAST = 12
"""Width of a text that is cut, at least, in columns."""
_MORE = 3
"""Number of lines below a failure, at most."""
_LONG = 1000
"""Length of a tool's arguments and output that are forgotten once they have their lines, in characters."""
_UNLIMITED = 400
"""Width of a text in a line without a width, in columns."""
Row = dict[str, Any]
Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One line: time, label, what happened, address. `text`, between `head` and `end`, is cut to the room left."""

    at_ns: int
    """0 if the recording has no times."""
    label: str
    kind: Kind
    head: str = ""
    text: str = ""
    end: str = ""
    place: str = ""
    """Session and address, as `04cc962c 1:34`."""
    keeps: Literal["begin", "end"] = "begin"
    """The part of a text that is shown if it is cut."""

    def lines(self, width: int | None = None) -> Iterator[str]:
        """Return the line, and below it the rest of a failure's text."""
        whole = self.line(width)
        text = visible(self.text)
        if width is None or self.kind != "trouble" or not text or text in whole:
            yield whole
            return
        indent = " " * (_TIME + _LABEL + 2)
        place = cells(visible(self.place)) + 2 if self.place else 0
        room = width - len(indent) - place - cells(visible(self.head)) - cells(visible(self.end)) - 2
        first = next(_wrapped(text, room)) if room >= _LEAST else ""
        yield replace(self, text=first).line(width)
        parts = list(_wrapped(text[len(first) :].lstrip(" "), max(width - len(indent), _LEAST)))
        for part in parts[: _MORE - 1]:
            yield f"{indent}{part}"
        if len(parts) >= _MORE:
            yield f"{indent}{cut(' '.join(parts[_MORE - 1 :]), max(width - len(indent), _LEAST))}"

    def line(self, width: int | None = None) -> str:
        """Return the line in at most `width` columns; without a width, uncut."""
        time = f"{self.at_ns / 1e9:.2f}s" if self.at_ns else "-"
        begin = f"{time:>{_TIME}} {visible(self.label):<{_LABEL}} "
        place = visible(self.place)
        if width is None:
            return f"{begin}{self._body(_UNLIMITED)}{f'  {place}' if place else ''}".rstrip()
        room = width - cells(begin)
        if not place or room - cells(place) < 2 * _LEAST:
            return cut(f"{begin}{self._body(room)}", width).rstrip()
        body = self._body(room - cells(place) - 2)
        gap = max(2, width - cells(begin) - cells(body) - cells(place))
        return f"{begin}{body}{' ' * gap}{place}"

    def _body(self, room: int) -> str:
        head, text, end = visible(self.head), visible(self.text), visible(self.end)
        fixed = cells(head) + cells(end) + bool(head) + bool(end)
        if text:
            left = max(room - fixed, _LEAST)
            text = cut(text, left) if self.keeps == "begin" else cut(text[::-1], left)[::-1]
        return cut(joined([head, text, end]), room)


def _wrapped(text: str, room: int) -> Iterator[str]:
    """Return a text in lines of `room` columns, cut between words if possible."""
    while text:
        head = fitting(text, room) if cells(text) > room else text
        if len(head) < len(text) and (space := head.rfind(" ")) > 0:
            head = head[:space]
        yield head
        text = text[len(head) :].lstrip(" ")


def cut(text: str, room: int) -> str:
    """Return the beginning of a text, in at most `room` columns."""
    return text if cells(text) <= room else fitting(text, max(room - 1, 0)) + "…"


class LiveSession:
    """One session in the view: its turns are those of `show`, without the texts that are complete."""

    def __init__(self) -> None:
        self._builder = SessionBuilder(is_child=False)
        self.objections: set[str] = set()
        """The contract issues that have a line."""
        self.failure = ""
        """The error of the last turn."""

    @property
    def turns(self) -> TurnBuilder:
        return self._builder.turns

    def add(self, heard: MergedFrame, data: Data) -> None:
        self._builder.add(heard, data)


def event_lines(session: LiveSession, heard: MergedFrame, row: Row, place: str) -> Iterator[Line]:
    """Add an event to its session, and return the lines of what it changes.

    The end of a turn comes first, then a new message, then the line of the event's type.
    """
    make = partial(Line, row["offset_ns"], place=place)
    type_ = row["type"] or ""
    data = as_dict(row["data"])
    turns = session.turns
    before = turns.latest()
    ended = "unfinished" if before is None else before.ended
    asked, midway = (0, 0) if before is None else (len(before.asked), len(before.midway))

    def add() -> None:
        session.add(heard, data)

    line: Line | None = None
    if heard.in_snapshot and type_ not in protocol.RESENT:
        add()
    elif (handler := _HANDLERS.get(type_)) is not None:
        line = handler(session, row, data, make, add)
    else:
        add()
        said = sentence(type_, data)
        line = make("note", "note", text=said) if said else None
    after = turns.latest()
    for turn, how in ((before, ended), (after if after is not before else None, "unfinished")):
        if turn is not None and turn.ended not in (how, "unfinished") and turn in turns.drafts:
            yield _end_line(session, turn, row, data, make)
    if after is not None:
        new = after.asked + after.midway if after is not before else after.asked[asked:] + after.midway[midway:]
        for one in new:
            yield make("message", "asked", f"{one.by}:", f'"{one_line(one.text[:ENOUGH])}"')
        after.forget()
    if len(turns.drafts) > 1:
        turns.forget_earlier()
    if line is not None:
        yield line


Make = Callable[..., Line]


def objections(session: LiveSession, row: Row, place: str) -> Iterator[Line]:
    """Return the contract issues of an event, once for each kind."""
    verdict = row["verdict"]
    type_ = row["type"] or ""
    if verdict in ("valid", "comment", "sentinel"):
        return
    path = row["issues"][0]["path"] if row["issues"] else ""
    if (kind := f"{verdict} {type_} {path}") in session.objections:
        return
    session.objections.add(kind)
    why = "; ".join(": ".join(filter(None, (issue["path"], issue["message"]))) for issue in row["issues"][:3])
    text = why or (summary(row["type"], row["data"]) if verdict == "unknown" else "")
    how: Kind = "warning" if verdict in ("unknown", "invalid") else "trouble"
    yield Line(row["offset_ns"], verdict, how, type_, text, place=place)


def _end_line(session: LiveSession, turn: Draft, row: Row, data: Data, make: Make) -> Line:
    """Return the line of the end of a turn, which an event of its own, the session's rest or the next turn tells."""
    text = "" if turn.error is None else turn.error.why
    if row["type"] in protocol.ENDS:
        id_ = as_text(as_dict(data.get("response")).get("id")) or ""
        text = summary(row["type"], data, ENOUGH).removeprefix(id_).removeprefix(" · ")
    lasted = (turn.ended_ns or 0) - min([turn.started_ns, *(one.at_ns for one in turn.asked)])
    how = f"{turn.ended} in {seconds(lasted)}" if lasted > 0 else turn.ended
    kind: Kind = "end" if turn.ended == "completed" else "trouble"
    if turn.ended in ("cancelled", "interrupted"):
        kind = "warning"
    session.failure = text
    return make("turn", kind, f"{how}{' ·' if text else ''}", one_line(text))


Add = Callable[[], None]


def _begun(session: LiveSession, _row: Row, data: Data, make: Make, add: Add) -> Line | None:
    before = session.turns.latest()
    response_id = None if before is None else before.response_id
    add()
    if before is session.turns.latest() and before is not None and before.response_id == response_id:
        return None
    model = as_text(as_dict(data.get("response")).get("model"))
    return make("turn", "note", "begins", f"with {model}" if model else "")


def _interrupted(_session: LiveSession, _row: Row, _data: Data, make: Make, add: Add) -> Line | None:
    add()
    return make("turn", "warning", "interrupted by the user")


def _status(session: LiveSession, _row: Row, data: Data, make: Make, add: Add) -> Line | None:
    was_open = session.turns.open is not None
    add()
    status = as_text(data.get("status")) or ""
    if status == "failed" and not was_open:  # the failure of an open turn has the line of its end
        why = summary(protocol.SESSION_STATUS, data, ENOUGH).removeprefix("failed").strip()
        return make("session", "trouble", "failed", "" if why == session.failure else why)
    if status == "waiting":
        return make("session", "note", "waits", f"for {as_text(data.get('blocked_on')) or 'sub-agents'}")
    return None


def _item(session: LiveSession, row: Row, data: Data, make: Make, add: Add) -> Line | None:
    item = as_dict(data.get("item"))
    type_ = as_text(item.get("type")) or ""
    text = summary(row["type"], data, ENOUGH)
    if type_ in ("function_call", "function_call_output"):
        return _tool(session, item, text, make, add)
    latest = session.turns.latest()
    block = latest.messages[-1] if latest is not None and latest.messages else None
    content = text_of(item.get("content"))
    is_told = block is not None and (not block.closed or content in (block.text, block.stored))
    add()
    if type_ == "message":
        said = one_line(content[:ENOUGH])
        return None if is_told or not said else make(as_text(item.get("role")) or "message", "said", "", f'"{said}"')
    return make("note", "trouble" if type_ == "error" else "note", "", text) if text else None


def _tool(session: LiveSession, item: Data, text: str, make: Make, add: Add) -> Line | None:
    """Return the line of a call, or of its output, once."""
    call_id = call_id_of(item)
    before = _tool_of(session, call_id)
    add()
    after = _tool_of(session, call_id)
    if after is None:
        return None
    if item.get("type") == "function_call":
        return None if before is not None else make("tool", "tool", "", text)
    if before is not None and before[1].returned_ns is not None:
        return None
    turn, tool = after
    if len(tool.arguments) + len(tool.output or "") > _LONG:
        turn.tools[call_id] = replace(tool, arguments="", output="")
    if tool.failed is not None:
        return make("tool", "trouble", f"-> failed, {one_line(clip(tool.failed, 40))}:", text.removeprefix("-> "))
    return make("tool", "tool", "", text)


def _tool_of(session: LiveSession, call_id: str) -> tuple[Draft, Tool] | None:
    """Return a tool call and its turn."""
    owner = session.turns.owners.get(call_id) or session.turns.latest()
    tool = None if owner is None else owner.tools.get(call_id)
    return None if owner is None or tool is None else (owner, tool)


def _asks(session: LiveSession, _row: Row, data: Data, make: Make, add: Add) -> Line | None:
    id_ = as_text(data.get("elicitation_id"))
    is_known = id_ is None or id_ in session.turns.owners
    add()
    message = one_line(as_text(as_dict(data.get("params")).get("message")) or "")
    return None if is_known else make("approval", "approval", "asked:", message)


def _resolved(session: LiveSession, _row: Row, data: Data, make: Make, add: Add) -> Line | None:
    id_ = as_text(data.get("elicitation_id")) or ""
    owner = session.turns.owners.get(id_)
    before = None if owner is None else owner.approvals.get(id_)
    add()
    if before is not None and before.resolved_ns is not None:
        return None
    action = as_text(data.get("action"))
    answer = session.turns.answers.get(id_)
    if action is None:
        return make("approval", "warning", "closed without an answer", as_text(data.get("reason")) or "")
    return make("approval", "approval", f"answered: {action}", f"by {answer.party}" if answer else "")


def _child(session: LiveSession, _row: Row, data: Data, make: Make, add: Add) -> Line | None:
    id_ = as_text(data.get("child_session_id")) or ""
    child = as_dict(data.get("child"))
    before = _child_of(session, id_)
    add()
    status = as_text(child.get("current_task_status"))
    if before is not None and status in (None, before.status):
        return None
    name = as_text(child.get("title")) or short_id(id_)
    said = as_text(child.get("last_message_preview"))
    kind: Kind = "trouble" if status == "failed" else "child"
    text = f'"{one_line(said[:ENOUGH])}"' if said else ""
    return make("sub-agent", kind, f"{one_line(name)}: {status or 'begins'}", text)


def _child_of(session: LiveSession, id_: str) -> Child | None:
    owner = session.turns.owners.get(id_)
    return session.turns.children.get(id_) if owner is None else owner.children.get(id_)


def _trouble(_session: LiveSession, row: Row, data: Data, make: Make, add: Add) -> Line | None:
    add()
    label, kind = ("retry", "warning") if "attempt" in data else ("error", "trouble")
    return make(label, kind, "", summary(row["type"], data, ENOUGH))


def _failed(session: LiveSession, row: Row, data: Data, make: Make, add: Add) -> Line:
    """The answer of a model failed: Omnigent has no such event."""
    add()
    session.turns.open = None
    return make("turn", "trouble", "failed ·", summary(row["type"], data, ENOUGH))


def _titled(label: str, kind: Kind = "note", head: str = "") -> Handler:
    def line(_session: LiveSession, row: Row, data: Data, make: Make, add: Add) -> Line:
        add()
        return make(label, kind, head, summary(row["type"], data))

    return line


Handler = Callable[[LiveSession, Row, Data, Make, Add], Line | None]
_HANDLERS: Mapping[str, Handler] = {
    protocol.SESSION_INTERRUPTED: _interrupted,
    protocol.SESSION_STATUS: _status,
    protocol.SESSION_CREATED: _child,
    protocol.SESSION_CHILD_SESSION_UPDATED: _child,
    protocol.SESSION_TITLE: _titled("title"),
    protocol.SESSION_TODOS: _titled("todos"),
    protocol.RESPONSE_CREATED: _begun,
    protocol.RESPONSE_IN_PROGRESS: _begun,
    protocol.RESPONSE_OUTPUT_ITEM_DONE: _item,
    protocol.RESPONSE_ELICITATION_REQUEST: _asks,
    protocol.RESPONSE_ELICITATION_RESOLVED: _resolved,
    protocol.RESPONSE_ERROR: _trouble,
    protocol.RESPONSE_RETRY: _trouble,
    ERROR: _failed,
    protocol.RESPONSE_POLICY_DENIED: _titled("policy", "trouble", "denied"),
}
