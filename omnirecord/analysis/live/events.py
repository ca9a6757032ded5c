"""The lines of the live view: their layout, and the line for each type of event. Other known types have no line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from ...omnigent import protocol
from ...omnigent.summary import sentence, short_id
from ...providers.answers import ERROR
from ...text import ENOUGH, cells, clip, fitting, joined, one_line, seconds, visible
from ...wire.strict_json import as_dict, as_text, text_of, written
from ..apis import summary
from ..turns.begin_and_end import Course, Courses
from ..turns.tool_output import failure_in
from ..turns.values import Ended

Kind = Literal["asked", "said", "thought", "tool", "approval", "child", "trouble", "warning", "note", "end"]
_TIME = 9
_LABEL = 10
_LEAST = 12
"""Width of a text that is cut, at least, in columns."""
_MORE = 3
"""Number of lines below a failure, at most."""
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


@dataclass(eq=False)
class LiveTurn(Course):
    said: Ended | None = None
    """The end that has a line."""


class State(Courses[LiveTurn]):
    """The state of a session in the view, so no line comes twice. `answered`: the party, by elicitation id."""

    def __init__(self, answered: dict[str, str]) -> None:
        super().__init__()
        self.answered = answered
        self.has_text = False
        """Whether the open message has come as deltas."""
        self.told: set[tuple[str, str]] = set()
        """The tool calls, questions and contract issues that have a line."""
        self.failure = ""
        """The error of the last turn."""
        self.children: dict[str, str] = {}

    def make(self, at_ns: int) -> LiveTurn:
        del self.drafts[:-1]  # earlier turns change no more
        self.owners = {id_: draft for id_, draft in self.owners.items() if draft in self.drafts}
        return LiveTurn(at_ns)

    def is_new(self, kind: str, what: str) -> bool:
        """Return whether this is new, and remember it."""
        if (kind, what) in self.told:
            return False
        self.told.add((kind, what))
        return True


def event_lines(state: State, row: Row, place: str) -> Iterator[Line]:
    """Return the lines of an event that is no delta."""
    make = partial(Line, row["offset_ns"], place=place)
    yield from objections(state, row, place)
    type_, data = row["type"] or "", as_dict(row["data"])
    if (handler := _HANDLERS.get(type_)) is not None:
        yield from filter(None, [handler(state, row, data, make)])
    elif said := sentence(type_, data):
        yield make("note", "note", text=said)


Make = Callable[..., Line]


def objections(state: State, row: Row, place: str) -> Iterator[Line]:
    """Return the contract issues of an event, once for each kind."""
    verdict, type_ = row["verdict"], row["type"] or ""
    if verdict in ("valid", "comment", "sentinel"):
        return
    path = row["issues"][0]["path"] if row["issues"] else ""
    if not state.is_new("objection", f"{verdict} {type_} {path}"):
        return
    why = "; ".join(": ".join(filter(None, (issue["path"], issue["message"]))) for issue in row["issues"][:3])
    text = why or (summary(row["type"], row["data"]) if verdict == "unknown" else "")
    kind: Kind = "warning" if verdict in ("unknown", "invalid") else "trouble"
    yield Line(row["offset_ns"], verdict, kind, type_, text, place=place)


def _asked(state: State, row: Row, data: Data, make: Make) -> Line | None:
    state.take_in(row["offset_ns"], data)
    item = as_dict(as_dict(data.get("data")).get("data"))
    text = text_of(item.get("content"))
    if not text or text.startswith(protocol.INTERRUPTED_TEXT):
        return None
    state.has_text = False
    return make("message", "asked", f"{as_text(item.get('role')) or 'user'}:", f'"{one_line(text[:ENOUGH])}"')


def _begun(state: State, row: Row, data: Data, make: Make) -> Line | None:
    state.begin(row["offset_ns"], data)
    response = as_dict(data.get("response"))
    if not state.is_new("response", as_text(response.get("id")) or ""):
        return None
    state.has_text = False
    model = as_text(response.get("model"))
    return make("turn", "note", "begins", f"with {model}" if model else "")


def _ended(state: State, row: Row, data: Data, make: Make) -> Line | None:
    id_ = as_text(as_dict(data.get("response")).get("id")) or ""
    turn = state.end(row["offset_ns"], data, row["type"])
    if turn.said == turn.ended:
        return None
    turn.said, state.has_text = turn.ended, False
    lasted = row["offset_ns"] - turn.started_ns
    how = f"{turn.ended} in {seconds(lasted)}" if lasted else turn.ended
    kind: Kind = "end" if turn.ended == "completed" else "trouble"
    if turn.ended in ("cancelled", "interrupted"):
        kind = "warning"
    text = summary(row["type"], data, ENOUGH).removeprefix(id_).removeprefix(" · ")
    state.failure = text
    return make("turn", kind, f"{how}{' ·' if text else ''}", text)


def _interrupted(state: State, row: Row, data: Data, make: Make) -> Line | None:
    state.interrupt(row["offset_ns"], data)
    state.has_text = False
    return make("turn", "warning", "interrupted by the user")


def _started(state: State, row: Row, data: Data, _make: Make) -> Line | None:
    state.started(row["offset_ns"], data)
    return None


def _status(state: State, row: Row, data: Data, make: Make) -> Line | None:
    state.change(row["offset_ns"], data)
    status = as_text(data.get("status")) or ""
    if status == "failed":
        why = summary(protocol.SESSION_STATUS, data, ENOUGH).removeprefix("failed").strip()
        return make("session", "trouble", "failed", "" if why == state.failure else why)
    if status == "waiting":
        return make("session", "note", "waits", f"for {as_text(data.get('blocked_on')) or 'sub-agents'}")
    return None


def _item(state: State, row: Row, data: Data, make: Make) -> Line | None:
    state.item(row["offset_ns"], data)
    item = as_dict(data.get("item"))
    type_, text = as_text(item.get("type")) or "", summary(row["type"], data, ENOUGH)
    if type_ == "message":
        was_told, state.has_text = state.has_text, False
        said = one_line(text_of(item.get("content"))[:ENOUGH])
        return None if was_told or not said else make(as_text(item.get("role")) or "message", "said", "", f'"{said}"')
    call = as_text(item.get("call_id")) or as_text(item.get("id")) or str(row["seq"])
    if not state.is_new(type_, call):
        return None
    failure = failure_in(written(item.get("output")), as_text(item.get("status")))
    if type_ == "function_call_output" and failure is not None:
        return make("tool", "trouble", f"-> failed, {one_line(clip(failure, 40))}:", text.removeprefix("-> "))
    if type_ in ("function_call", "function_call_output"):
        return make("tool", "tool", "", text)
    return make("note", "trouble" if type_ == "error" else "note", "", text) if text else None


def _asks(state: State, row: Row, data: Data, make: Make) -> Line | None:
    state.raise_question(row["offset_ns"], data)
    if not state.is_new("asked", as_text(data.get("elicitation_id")) or ""):
        return None
    return make("approval", "approval", "asked:", one_line(as_text(as_dict(data.get("params")).get("message")) or ""))


def _resolved(state: State, row: Row, data: Data, make: Make) -> Line | None:
    state.resolve(row["offset_ns"], data)
    id_ = as_text(data.get("elicitation_id")) or ""
    if not state.is_new("resolved", id_):
        return None
    action = as_text(data.get("action"))
    party = state.answered.get(id_)
    if action is None:
        return make("approval", "warning", "closed without an answer", as_text(data.get("reason")) or "")
    return make("approval", "approval", f"answered: {action}", f"by {party}" if party else "")


def _child(state: State, _row: Row, data: Data, make: Make) -> Line | None:
    id_, child = as_text(data.get("child_session_id")) or "", as_dict(data.get("child"))
    status = as_text(child.get("current_task_status")) or "begins"
    if state.children.get(id_) == status:
        return None
    state.children[id_] = status
    name = as_text(child.get("title")) or short_id(id_)
    said = as_text(child.get("last_message_preview"))
    kind: Kind = "trouble" if status == "failed" else "child"
    return make("sub-agent", kind, f"{one_line(name)}: {status}", f'"{one_line(said[:ENOUGH])}"' if said else "")


def _trouble(state: State, row: Row, data: Data, make: Make) -> Line | None:
    state.stumble(row["offset_ns"], data.get("error"))
    label, kind = ("retry", "warning") if "attempt" in data else ("error", "trouble")
    return make(label, kind, "", summary(row["type"], data, ENOUGH))


def _failed(state: State, row: Row, data: Data, make: Make) -> Line:
    state.close("failed", row["offset_ns"])
    return make("turn", "trouble", "failed ·", summary(row["type"], data, ENOUGH))


def _titled(label: str) -> Handler:
    return lambda _state, row, data, make: make(label, "note", "", summary(row["type"], data))


Handler = Callable[[State, Row, Data, Make], Line | None]
_HANDLERS: Mapping[str, Handler] = {
    protocol.SESSION_INPUT_CONSUMED: _asked,
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
    protocol.RESPONSE_POLICY_DENIED: lambda _state, row, data, make: make(
        "policy", "trouble", "denied", summary(row["type"], data, ENOUGH)
    ),
    protocol.TURN_STARTED: _started,
    **dict.fromkeys(protocol.ENDS, _ended),
}
