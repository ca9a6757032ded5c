"""The state of sessions as of a recorded moment: snapshots, rows in the session list, items. Pure.

It comes from the streams (`SessionHistory`) and from recorded answers. The last recorded answer is updated
with the later events of the streams. Deltas are left out: a client that joins a stream gets the text of the open turn.
A session without a recorded answer gets default values, and its final title, so that it can be found in the list. The
fields are those of Omnigent 0.19.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from operator import itemgetter
from typing import Any
from urllib.parse import parse_qsl

from ...model import Exchange, TimedFrame
from ...omnigent import protocol
from ...omnigent.routes import below_session, is_gate, query_of
from ...wire.strict_json import as_dict, as_list, as_text, loads, payload_of
from ..player import Playing
from ..player.plan import ReplayPlan, start_of, with_id

Data = dict[str, Any]
_USAGE = {
    "context_tokens": "last_total_tokens",
    "context_window": "context_window",
    "total_cost_usd": "total_cost_usd",
    "usage_by_model": "usage_by_model",
}
"""Fields of usage: their names in a stream, and in a snapshot."""


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
        begin, end = (bisect_left(self.fields, at, key=itemgetter(0)) for at in (after, before))
        return {name: value for _, changed in self.fields[begin:end] for name, value in changed.items()}

    def pending(self, before: float) -> list[Data]:
        """Return the approvals that are open at an offset."""
        answered = {name for at, name in self.answered if at < before}
        open_ = {data["elicitation_id"]: data for at, data in self.asked if at < before}
        return [data for name, data in open_.items() if name not in answered]


def _add(history: SessionHistory, frame: TimedFrame, data: Data, epoch: Callable[[TimedFrame], int]) -> None:
    """Add an event of the types in `_OTHERS`. `epoch` returns a frame's time in seconds since 1970."""
    at = frame.offset_ns
    name = data.get("elicitation_id")
    if frame.type == protocol.RESPONSE_OUTPUT_ITEM_DONE:
        history.items += ((at, item) for item in with_id([data.get("item")]))
    elif frame.type == protocol.SESSION_CHILD_SESSION_UPDATED:
        history.children += ((at, child) for child in with_id([data.get("child")]))
    elif frame.type == protocol.RESPONSE_ELICITATION_RESOLVED:
        history.answered.append((at, str(name)))
    elif frame.type == protocol.SESSION_INPUT_CONSUMED:
        history.items += ((at, item) for item in _message(as_dict(data.get("data")), epoch(frame)))
    elif isinstance(name, str):
        history.asked.append((at, data))


def _message(said: Data, created_at: int) -> Iterator[Data]:
    name = said.get("item_id")
    content = said.get("data")
    if isinstance(name, str) and isinstance(content, dict):
        item = {"id": name, "response_id": f"turn_{name}", "type": said.get("type"), "status": "completed"}
        yield item | {"created_at": created_at} | content


_OTHERS = (
    protocol.RESPONSE_OUTPUT_ITEM_DONE,
    protocol.SESSION_CHILD_SESSION_UPDATED,
    protocol.RESPONSE_ELICITATION_RESOLVED,
    protocol.SESSION_INPUT_CONSUMED,
    protocol.RESPONSE_ELICITATION_REQUEST,
)


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


_BOTH: Data = {
    "id": None,
    "agent_id": None,
    "agent_name": None,
    "status": "idle",
    "created_at": 0,
    "updated_at": 0,
    "title": None,
    "labels": {},
    "runner_id": None,
    "host_id": None,
    "runner_online": True,
    "host_online": None,
    "reasoning_effort": None,
    "permission_level": 4,
    "external_session_id": None,
    "workspace": None,
    "git_branch": None,
    "archived": False,
    "parent_session_id": None,
    "project_id": None,
}
ROW: Data = _BOTH | {
    "owner": "local",
    "pending_elicitations_count": 0,
    "comments_count": 0,
    "comments_updated_at": None,
    "viewer_last_seen": None,
    "viewer_unread": False,
}
SNAPSHOT: Data = _BOTH | {
    "background_task_count": None,
    "background_tasks": None,
    "runner_id": "recorded",
    "host_resumable": False,
    "items": [],
    "sub_agent_name": None,
    "kind": "default",
    "root_conversation_id": None,
    "llm_model": None,
    "harness": None,
    "model_override": None,
    "cost_control_mode_override": None,
    "subagent_routing_override": None,
    "share_workspace_files": False,
    "context_window": None,
    "last_total_tokens": None,
    "total_cost_usd": None,
    "usage_by_model": None,
    "usage_included": True,
    "last_task_error": None,
    "terminal_launch_args": None,
    "pending_elicitations": [],
    "pending_inputs": [],
    "todos": [],
    "model_options": [],
    "inference_configured": False,
    "inference_error": None,
    "terminal_pending": False,
    "sandbox_status": None,
    "mcp_startup": None,
    "active_response_id": None,
}
CHILD: Data = {
    "id": None,
    "object": "child_session",
    "parent_session_id": None,
    "title": None,
    "tool": None,
    "session_name": None,
    "kind": "sub_agent",
    "created_at": 0,
    "updated_at": 0,
    "agent_id": None,
    "agent_name": None,
    "current_task_status": None,
    "busy": False,
}
_FRESH: Data = {
    "status": "idle",
    "pending_elicitations": [],
    "pending_elicitations_count": 0,
    "pending_inputs": [],
    "last_total_tokens": None,
    "usage_by_model": None,
    "total_cost_usd": None,
    "last_task_error": None,
    "active_response_id": None,
    "todos": [],
    "items": [],
}
"""Values at an earlier moment of fields that a later answer has."""
_TITLE = 80
"""Characters of a message that serves as a title."""


class Sessions:
    """The sessions of a cassette. `before`: a recorded offset in ns; later events, and those at it, are not known."""

    def __init__(self, plan: ReplayPlan) -> None:
        self._plan = plan
        self._history = cache(self._read_history)
        self._title = cache(self._title_of)

    def roots(self) -> list[str]:
        """Return the sessions without a parent, the newest first."""
        return list(self._plan.trees)[::-1]

    def has(self, name: str) -> bool:
        return name in self._plan.sessions

    def lead_on(self, playing: Playing) -> None:
        """Let a page's stream end where the recorded client opened the next one: the page reconnects and gets that one.
        Without a next one, the stream stays open, with heartbeats."""
        x = playing.exchange
        session = self._plan.sessions.get(x.session_id or "")
        ended = x.end_ns if x.end_ns is not None else float("inf")
        later = session is not None and any(one.kind == "sse" and start_of(one) >= ended for one in session.opens)
        if later and not playing.joined and x.ending == "client_left":
            playing.exchange = replace(x, ending="eof")
        playing.is_kept_alive = True

    def snapshot(self, name: str, before: float, answer: Timed | None = None) -> Data:
        """Return a session as `GET /v1/sessions/{id}` does. `answer`: the recorded answer to this request, if any."""
        at, base = self._base(answer or _newest(self._snapshots.get(name, []), before), before)
        snapshot = base or {**SNAPSHOT, **self._own(name)}
        self._update(snapshot, name, at, before)
        snapshot["pending_elicitations"] = self._told(name, before).pending(before)
        return snapshot

    def row(self, name: str, before: float) -> Data:
        timed = _newest(self._rows.get(name, []), before)
        snapshot = self.snapshot(name, before)
        if timed is None:
            row = {**ROW, **{key: snapshot[key] for key in ROW if key in snapshot}}
        else:
            at, row = self._base(timed, before)
            self._update(row, name, at, before)
        row["pending_elicitations_count"] = len(snapshot["pending_elicitations"])
        return row

    def _update(self, value: Data, name: str, after: float, before: float) -> None:
        """Set the fields that events changed between two offsets, the id and the title."""
        changed = self._told(name, before).changed(after, before)
        value |= {key: one for key, one in changed.items() if key in value}
        value |= {"id": name, "title": value.get("title") or self._title(name)}

    def items(self, name: str, before: float) -> list[Data]:
        """Return all items of a session, the oldest first."""
        listed = [(at, 1, items) for at, items in self._item_lists.get(name, []) if at < before]
        told = [(at, 0, [item]) for at, item in self._told(name, before).items if at < before]
        return _joined(items for _, _, items in sorted(listed + told, key=lambda one: one[:2]))

    def children(self, name: str, before: float) -> list[Data]:
        """Return the rows of `GET …/child_sessions`."""
        told: dict[str, Data] = defaultdict(dict)
        for at, child in self._told(name, before).children:
            if at < before:
                told[child["id"]] |= child
        own = {"parent_session_id": name, "created_at": self._created(name), "updated_at": self._created(name)}
        return [{**CHILD, **own, **child} for child in told.values()]

    def agent(self, name: str, before: float) -> Data | None:
        """Return the answer of `GET …/agent`; None if none was recorded."""
        timed = _newest(self._agents.get(name, []), before)
        return None if timed is None else timed[1]

    def agents(self) -> Iterator[Data]:
        """Return the last recorded agent of each session."""
        return (self._agents[name][-1][1] for name in self._plan.sessions if name in self._agents)

    def _own(self, name: str) -> Data:
        """Return the known fields of a session without a recorded snapshot."""
        root = self._plan.sessions[name].root
        created = self._created(name)
        own = {"id": name, "root_conversation_id": root, "created_at": created, "updated_at": created}
        for parent, child in self._as_child(name):
            tool = child.get("tool")
            own |= {"kind": "sub_agent", "parent_session_id": parent, "agent_name": tool, "sub_agent_name": tool}
        return own

    def _as_child(self, name: str) -> Iterator[tuple[str, Data]]:
        """Yield the sessions that reported this one as a child, with the child's fields."""
        session = self._plan.sessions.get(name)
        if session is not None and session.root != name:
            for other in self._plan.trees[session.root].sessions:
                told = self._history(other.session_id).children if other.session_id != name else []
                yield from ((other.session_id, child) for _, child in told if child["id"] == name)

    def _base(self, timed: Timed | None, before: float) -> tuple[float, Data]:
        """Return the offset and the fields of an answer to start from; events after that offset update it."""
        if timed is None:
            return -1.0, {}
        at, value = timed
        if at < before:
            return at, dict(value)
        return -1.0, value | {key: fresh for key, fresh in _FRESH.items() if key in value}

    def _told(self, name: str, before: float) -> SessionHistory:
        """Return the history of a session; an empty one if no stream has begun: reading a long stream takes time."""
        opens = self._plan.sessions[name].opens if self.has(name) else []
        return self._history(name) if any(start_of(x) < before for x in opens) else SessionHistory()

    def _read_history(self, name: str) -> SessionHistory:
        opens = [x for x in self._plan.sessions[name].opens if x.kind == "sse"]
        recordings = {x.stream: x.recording for x in opens}
        frames = [frame for x in opens for frame in self._plan.frames(x)]
        history = SessionHistory()

        def epoch(frame: TimedFrame) -> int:
            return self._plan.epoch(recordings[frame.stream], frame.offset_ns)

        for frame in sorted(frames, key=lambda frame: frame.offset_ns):
            if frame.type in _FIELDS:
                history.fields.append((frame.offset_ns, _FIELDS[frame.type](as_dict(payload_of(frame)))))
            elif frame.type in _OTHERS:
                _add(history, frame, as_dict(payload_of(frame)), epoch)
        return history

    def _created(self, name: str) -> int:
        x = next(x for x in self._plan.exchanges if x.session_id == name)
        return self._plan.epoch(x.recording, x.request.at_ns)

    def _title_of(self, name: str) -> str | None:
        """Return the last title in the recording, else the first message."""
        timed = [*self._snapshots.get(name, []), *self._rows.get(name, [])]
        titles = [one.get("title") for _, one in [*self._as_child(name), *sorted(timed, key=itemgetter(0))]]
        if known := [title for title in titles if isinstance(title, str)]:
            return known[-1]
        return next(filter(None, map(_text_of, self._messages(name))), None)

    @cached_property
    def _snapshots(self) -> dict[str, list[Timed]]:
        return self._timed("")

    @cached_property
    def _agents(self) -> dict[str, list[Timed]]:
        return self._timed("/agent")

    @cached_property
    def _item_lists(self) -> dict[str, list[tuple[int, list[Data]]]]:
        """Item lists, the oldest item first."""
        lists: dict[str, list[tuple[int, list[Data]]]] = defaultdict(list)
        for x, page in self._answers("/items", "data", list):
            items = with_id(page["data"])
            is_latest_first = ("order", "desc") in parse_qsl(query_of(x.request.target))
            lists[x.session_id or ""].append((x.request.at_ns, items[::-1] if is_latest_first else items))
        for name, many in self._snapshots.items():
            lists[name] += ((at, with_id(one.get("items"))) for at, one in many)
            lists[name].sort(key=itemgetter(0))
        return lists

    @cached_property
    def _rows(self) -> dict[str, list[Timed]]:
        rows: dict[str, list[Timed]] = defaultdict(list)
        for timed in self._plan.session_rows:
            rows[timed[1]["id"]].append(timed)
        return rows

    def _messages(self, name: str) -> Iterator[Data]:
        """Yield the messages of clients in a session, in order."""
        for x in self._plan.exchanges:
            if x.session_id == name and x.party != "runner" and is_gate(x.request.method, x.request.target):
                data = as_dict(loads(self._plan.request_body(x))).get("data")
                if isinstance(data, dict):
                    yield data

    def _timed(self, below: str) -> dict[str, list[Timed]]:
        found: dict[str, list[Timed]] = defaultdict(list)
        for x, value in self._answers(below, "id", str):
            found[x.session_id or ""].append((x.request.at_ns, value))
        return found

    def _answers(self, below: str, has: str, kind: type) -> Iterator[tuple[Exchange, Data]]:
        """Yield the JSON answers of a path below a session that have a member of this type."""
        for x in self._plan.exchanges:
            is_ok = x.kind == "http" and x.response is not None and x.response.status == 200
            is_asked = x.request.method in ("GET", "PATCH") and below_session(x.request.target) == below
            if x.session_id and is_ok and is_asked:
                value = as_dict(loads(self._plan.decoded_body(x)))
                if isinstance(value.get(has), kind):
                    yield x, value


def _joined(lists: Iterable[list[Data]]) -> list[Data]:
    """Merge overlapping lists that are each in order. Items of a later list keep their neighbours there."""
    known: dict[str, Data] = {}
    order: list[str] = []
    for items in lists:
        place = next((order.index(item["id"]) for item in items if item["id"] in known), len(order))
        for item in items:
            if item["id"] in known:
                place = order.index(item["id"])
            else:
                order.insert(place, item["id"])
            known[item["id"]] = item
            place += 1
    return [known[one] for one in order]


def _newest(timed: list[Timed], before: float) -> Timed | None:
    """Return the last answer before an offset, else the first."""
    known = [one for one in timed if one[0] < before] or timed[:1]
    return known[-1] if known else None


def _text_of(item: Data) -> str | None:
    texts = (as_text(as_dict(part).get("text")) for part in as_list(item.get("content")))
    return next((text[:_TITLE] for text in texts if text is not None), None)
