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
from ...wire.strict_json import as_list, loads, payload_of
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
        reader = _READERS.get(frame.type or "")
        data = payload_of(frame) if reader is not None else None
        if reader is not None and isinstance(data, dict):
            reader(history, frame, data, epoch)
    return history


Reader = Callable[[SessionHistory, TimedFrame, Data, Epoch], None]


def _item(history: SessionHistory, frame: TimedFrame, data: Data, _: Epoch) -> None:
    item = data.get("item")
    if isinstance(item, dict) and isinstance(item.get("id"), str):
        history.items.append((frame.offset_ns, item))


def _consumed(history: SessionHistory, frame: TimedFrame, data: Data, epoch: Epoch) -> None:
    """Add a user's message as an item."""
    said = data.get("data")
    name, content = (said.get("item_id"), said.get("data")) if isinstance(said, dict) else (None, None)
    if isinstance(said, dict) and isinstance(name, str) and isinstance(content, dict):
        item = {"id": name, "response_id": f"turn_{name}", "type": said.get("type"), "status": "completed"}
        history.items.append((frame.offset_ns, item | {"created_at": epoch(frame)} | content))


def _asks(history: SessionHistory, frame: TimedFrame, data: Data, _: Epoch) -> None:
    if isinstance(data.get("elicitation_id"), str):
        history.asked.append((frame.offset_ns, data))


def _answers(history: SessionHistory, frame: TimedFrame, data: Data, _: Epoch) -> None:
    history.answered.append((frame.offset_ns, str(data.get("elicitation_id"))))


def _child(history: SessionHistory, frame: TimedFrame, data: Data, _: Epoch) -> None:
    child = data.get("child")
    if isinstance(child, dict) and isinstance(child.get("id"), str):
        history.children.append((frame.offset_ns, child))


def _status(history: SessionHistory, frame: TimedFrame, data: Data, _: Epoch) -> None:
    error = data.get("error") if data.get("status") == "failed" else None
    history.fields.append((frame.offset_ns, {"status": data.get("status"), "last_task_error": error}))


def _usage(history: SessionHistory, frame: TimedFrame, data: Data, _: Epoch) -> None:
    fields = {ours: data[name] for name, ours in _USAGE.items() if data.get(name) is not None}
    history.fields.append((frame.offset_ns, fields))


def _begins(history: SessionHistory, frame: TimedFrame, data: Data, _: Epoch) -> None:
    response = data.get("response")
    name = response.get("id") if isinstance(response, dict) else None
    history.fields.append((frame.offset_ns, {"active_response_id": name}))


def _ends(history: SessionHistory, frame: TimedFrame, _data: Data, _: Epoch) -> None:
    history.fields.append((frame.offset_ns, {"active_response_id": None}))


def _same(name: str, *fields: str) -> dict[str, Reader]:
    """Return a reader of fields that have the same name in the event and in the session."""

    def read(history: SessionHistory, frame: TimedFrame, data: Data, _: Epoch) -> None:
        history.fields.append((frame.offset_ns, {one: data[one] for one in fields if one in data}))

    return {name: read}


def _model(history: SessionHistory, frame: TimedFrame, data: Data, _: Epoch) -> None:
    history.fields.append((frame.offset_ns, {"llm_model": data.get("model")}))


_READERS: dict[str, Reader] = {
    protocol.RESPONSE_OUTPUT_ITEM_DONE: _item,
    protocol.SESSION_INPUT_CONSUMED: _consumed,
    protocol.RESPONSE_ELICITATION_REQUEST: _asks,
    protocol.RESPONSE_ELICITATION_RESOLVED: _answers,
    protocol.SESSION_CHILD_SESSION_UPDATED: _child,
    protocol.SESSION_STATUS: _status,
    protocol.SESSION_USAGE: _usage,
    protocol.SESSION_MODEL: _model,
    protocol.RESPONSE_CREATED: _begins,
    protocol.RESPONSE_IN_PROGRESS: _begins,
    **dict.fromkeys(protocol.RESPONSE_ENDS, _ends),
    **_same(protocol.SESSION_TITLE, "title"),
    **_same(protocol.SESSION_TODOS, "todos"),
    **_same(protocol.SESSION_AGENT_CHANGED, "agent_id", "agent_name"),
    **_same(protocol.SESSION_REASONING_EFFORT, "reasoning_effort"),
}


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
