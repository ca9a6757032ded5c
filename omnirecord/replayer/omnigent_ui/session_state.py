"""The state of sessions: from their streams (`SessionHistory`), and from recorded answers (`Recorded`). Pure.

Deltas are left out: a client that joins a stream gets the text of the open turn.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from ...model import Exchange, TimedFrame
from ...omnigent import protocol
from ...omnigent.routes import below_session, is_gate, query_of
from ...wire.strict_json import as_dict, as_list, loads, payload_of
from ..player.plan import ReplayPlan

Data = dict[str, Any]
_USAGE = {
    "context_tokens": "last_total_tokens", "context_window": "context_window", "total_cost_usd": "total_cost_usd",
    "usage_by_model": "usage_by_model",
}  # fmt: skip
"""Fields of usage: their names in a stream, and in a snapshot."""
Epoch = Callable[[TimedFrame], int]


@dataclass(slots=True)
class SessionHistory:
    """The changes of a session, each with its recorded offset in ns, ascending."""

    items: list[tuple[int, Data]] = field(default_factory=list)
    fields: list[tuple[int, Data]] = field(default_factory=list)
    asked: list[tuple[int, Data]] = field(default_factory=list)
    """Events that request an approval."""
    answered: list[tuple[int, str]] = field(default_factory=list)
    """Ids of answered approvals."""
    children: list[tuple[int, Data]] = field(default_factory=list)
    """Updates of the sessions of sub-agents."""

    def changed(self, after: float, before: float) -> Data:
        """Return the fields that changed between two offsets, with their last values."""
        at = [when for when, _ in self.fields]
        changed: Data = {}
        for _, one in self.fields[bisect_left(at, after) : bisect_left(at, before)]:
            changed |= one
        return changed

    def pending(self, before: float) -> list[Data]:
        """Return the approvals that are open at an offset."""
        answered = {name for at, name in self.answered if at < before}
        open_ = {data["elicitation_id"]: data for at, data in self.asked if at < before}
        return [data for name, data in open_.items() if name not in answered]


def session_history(frames: Iterable[TimedFrame], epoch: Epoch) -> SessionHistory:
    """Return the history of a session from the frames of its streams. `epoch`: a frame's time in seconds since 1970."""
    history = SessionHistory()
    for frame in sorted(frames, key=lambda frame: frame.offset_ns):
        is_told = frame.type in _FIELDS or frame.type in _OTHERS
        data = payload_of(frame) if is_told else None
        if isinstance(data, dict) and frame.type in _FIELDS:
            history.fields.append((frame.offset_ns, _FIELDS[frame.type](data)))
        elif isinstance(data, dict):
            _add(history, frame, data, epoch)
    return history


def _add(history: SessionHistory, frame: TimedFrame, data: Data, epoch: Epoch) -> None:
    """Add the item, the approval or the sub-agent of an event."""
    at, name = frame.offset_ns, data.get("elicitation_id")
    if frame.type == protocol.RESPONSE_OUTPUT_ITEM_DONE:
        history.items += ((at, item) for item in _dicts([data.get("item")]))
    elif frame.type == protocol.SESSION_CHILD_SESSION_UPDATED:
        history.children += ((at, child) for child in _dicts([data.get("child")]))
    elif frame.type == protocol.RESPONSE_ELICITATION_RESOLVED:
        history.answered.append((at, str(name)))
    elif frame.type == protocol.SESSION_INPUT_CONSUMED:
        history.items += ((at, item) for item in _message(as_dict(data.get("data")), epoch(frame)))
    elif isinstance(name, str):
        history.asked.append((at, data))


def _message(said: Data, created_at: int) -> Iterator[Data]:
    """Yield a user's message as an item."""
    name, content = said.get("item_id"), said.get("data")
    if isinstance(name, str) and isinstance(content, dict):
        item = {"id": name, "response_id": f"turn_{name}", "type": said.get("type"), "status": "completed"}
        yield item | {"created_at": created_at} | content


_OTHERS = (
    protocol.RESPONSE_OUTPUT_ITEM_DONE, protocol.SESSION_CHILD_SESSION_UPDATED, protocol.RESPONSE_ELICITATION_RESOLVED,
    protocol.SESSION_INPUT_CONSUMED, protocol.RESPONSE_ELICITATION_REQUEST,
)  # fmt: skip
"""The types that `_add` takes."""


def _status(data: Data) -> Data:
    error = data.get("error") if data.get("status") == "failed" else None
    return {"status": data.get("status"), "last_task_error": error}


def _begins(data: Data) -> Data:
    return {"active_response_id": as_dict(data.get("response")).get("id")}


def _same(*fields: str) -> Callable[[Data], Data]:
    """Return a reader of fields that have the same name in the event and in the session."""
    return lambda data: {one: data[one] for one in fields if one in data}


_FIELDS: dict[str | None, Callable[[Data], Data]] = {
    protocol.SESSION_STATUS: _status,
    protocol.SESSION_USAGE: lambda data: {ours: data[x] for x, ours in _USAGE.items() if data.get(x) is not None},
    protocol.SESSION_MODEL: lambda data: {"llm_model": data.get("model")},
    protocol.RESPONSE_CREATED: _begins,
    protocol.RESPONSE_IN_PROGRESS: _begins,
    **dict.fromkeys(protocol.RESPONSE_ENDS, lambda _: {"active_response_id": None}),
    protocol.SESSION_TITLE: _same("title"),
    protocol.SESSION_TODOS: _same("todos"),
    protocol.SESSION_AGENT_CHANGED: _same("agent_id", "agent_name"),
    protocol.SESSION_REASONING_EFFORT: _same("reasoning_effort"),
}
"""Returns the fields of a session that an event of this type changes, with their new values."""


Timed = tuple[int, Data]
"""The recorded offset of a request, in ns, and its answer."""


class Recorded:
    """The recorded answers about sessions, by session id, each list in order of time."""

    def __init__(self, plan: ReplayPlan) -> None:
        self._plan = plan

    @cached_property
    def snapshots(self) -> dict[str, list[Timed]]:
        return self._timed("")

    @cached_property
    def agents(self) -> dict[str, list[Timed]]:
        return self._timed("/agent")

    @cached_property
    def item_lists(self) -> dict[str, list[tuple[int, list[Data]]]]:
        """Item lists, the oldest item first."""
        lists: dict[str, list[tuple[int, list[Data]]]] = defaultdict(list)
        for x, page in self._answers("/items", "data", list):
            items, is_latest_first = _dicts(page["data"]), ("order", "desc") in parse_qsl(query_of(x.request.target))
            lists[x.session_id or ""].append((x.request.at_ns, items[::-1] if is_latest_first else items))
        for name, many in self.snapshots.items():
            lists[name] += ((at, _dicts(one.get("items"))) for at, one in many)
            lists[name].sort(key=lambda timed: timed[0])
        return lists

    @cached_property
    def rows(self) -> dict[str, list[Timed]]:
        rows: dict[str, list[Timed]] = defaultdict(list)
        for at_ns, row in self._plan.session_rows():
            rows[row["id"]].append((at_ns, row))
        return rows

    def messages(self, name: str) -> Iterator[Data]:
        """Yield the messages of clients in a session, in order."""
        for x in self._plan.exchanges:
            if x.session_id == name and x.party != "runner" and is_gate(x.request.method, x.request.target):
                value = loads(self._plan.request_body(x))
                if isinstance(value, dict) and isinstance(value.get("data"), dict):
                    yield value["data"]

    def _timed(self, below: str) -> dict[str, list[Timed]]:
        found: dict[str, list[Timed]] = defaultdict(list)
        for x, value in self._answers(below, "id", str):
            found[x.session_id or ""].append((x.request.at_ns, value))
        return found

    def _answers(self, below: str, has: str, kind: type) -> Iterator[tuple[Exchange, Data]]:
        """Yield the JSON answers of a path below a session that have a member of this type."""
        for x in self._plan.exchanges:
            if x.session_id and x.request.method in ("GET", "PATCH") and below_session(x.request.target) == below:
                value = self.json(x)
                if isinstance(value, dict) and isinstance(value.get(has), kind):
                    yield x, value

    def json(self, exchange: Exchange) -> Any:
        """Return the JSON answer of an exchange; None if it is no JSON, or no 200."""
        response = exchange.response
        if exchange.kind != "http" or response is None or response.status != 200:
            return None
        return loads(self._plan.decoded_body(exchange))


def _dicts(value: Any) -> list[Data]:
    return [item for item in as_list(value) if isinstance(item, dict) and isinstance(item.get("id"), str)]
