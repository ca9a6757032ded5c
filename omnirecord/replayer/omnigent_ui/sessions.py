"""A session as of a recorded moment: its snapshot, its row in the session list, its items. Pure.

The last recorded answer is updated with the later events of the streams. A session without a recorded answer gets
default values, and its final title, so that it can be found in the list. A server without recorded answers has one
local user, no hosts, and no features. The fields are those of Omnigent 0.19.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from ...wire.strict_json import as_dict, as_list, as_text
from ..player import Playing
from ..player.plan import ReplayPlan, start_of
from .session_state import Data, Recorded, SessionHistory, Timed, session_history

ROW: Data = {
    "id": None, "agent_id": None, "agent_name": None, "status": "idle", "created_at": 0, "updated_at": 0, "title": None,
    "labels": {}, "runner_id": None, "host_id": None, "runner_online": True, "host_online": None,
    "reasoning_effort": None, "permission_level": 4, "owner": "local", "external_session_id": None,
    "pending_elicitations_count": 0, "workspace": None, "git_branch": None, "archived": False, "comments_count": 0,
    "comments_updated_at": None, "viewer_last_seen": None, "viewer_unread": False, "parent_session_id": None,
    "project_id": None,
}  # fmt: skip
SNAPSHOT: Data = {
    "id": None, "agent_id": None, "agent_name": None, "status": "idle", "background_task_count": None,
    "background_tasks": None, "created_at": 0, "updated_at": 0, "title": None, "labels": {}, "runner_id": "recorded",
    "host_id": None, "runner_online": True, "host_online": None, "host_resumable": False, "reasoning_effort": None,
    "items": [], "permission_level": 4, "sub_agent_name": None, "kind": "default", "parent_session_id": None,
    "root_conversation_id": None, "llm_model": None, "harness": None, "model_override": None,
    "cost_control_mode_override": None, "subagent_routing_override": None, "share_workspace_files": False,
    "context_window": None, "last_total_tokens": None, "total_cost_usd": None, "usage_by_model": None,
    "usage_included": True, "last_task_error": None, "external_session_id": None, "terminal_launch_args": None,
    "pending_elicitations": [], "pending_inputs": [], "workspace": None, "git_branch": None, "archived": False,
    "todos": [], "model_options": [], "inference_configured": False, "inference_error": None,
    "terminal_pending": False, "sandbox_status": None, "mcp_startup": None, "active_response_id": None,
    "project_id": None,
}  # fmt: skip
CHILD: Data = {
    "id": None, "object": "child_session", "parent_session_id": None, "title": None, "tool": None,
    "session_name": None, "kind": "sub_agent", "created_at": 0, "updated_at": 0, "agent_id": None, "agent_name": None,
    "current_task_status": None, "busy": False,
}  # fmt: skip
AGENT: Data = {
    "id": None, "object": "agent", "name": None, "version": 1, "description": None, "created_at": 0,
    "updated_at": None, "harness": None, "mcp_servers": [], "mcp_servers_editable": False,
    "mcp_registry_editable": False, "policies": [], "skills": [], "terminals": [], "builtin": False,
}  # fmt: skip
_INFO: Data = {
    "accounts_enabled": False, "single_user": True, "login_url": None, "needs_setup": False,
    "databricks_features": False, "managed_sandboxes_enabled": False, "durable_initial_input": False,
    "sandbox_provider": None, "sandbox_providers": [], "sandbox_provider_capabilities": {}, "enabled_connections": [],
    "sharing_mode": "off", "public_sharing_enabled": False, "public_sharing_max_level": "read",
    "server_version": "0.19.1", "smart_routing_enabled": False,
    "smart_routing_sources": {"external": False, "oss": False}, "features": {}, "harness_install_enabled": False,
    "installable_harnesses": [], "dictation_available": False, "archive_worktree_cleanup": False,
    "request_managed_sandbox_host_id": False, "agent_install": False, "agent_detail": False,
    "agent_config_edit": False,
    "branding": {
        "app_name": None, "heading": None, "logos": {"main": None, "loading": None, "favicon": None},
        "powered_by": True,
    },
}  # fmt: skip
_GITHUB: Data = {
    "object": "session.github.info", "available": False, "reason": "not_a_git_repo", "provider": "github",
    "auth": None, "capabilities": {}, "prs": [], "tracking_available": False,
}  # fmt: skip


def page_of(rows: list[Data]) -> Data:
    """Return a list of the API with all rows in one page."""
    ids = [row.get("id") for row in rows]
    return {"object": "list", "data": rows, "first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None,
            "has_more": False}  # fmt: skip


OF_A_SERVER: dict[str, Any] = {
    "/v1/me": {"user_id": "local", "is_admin": False},
    "/v1/info": _INFO,
    "/v1/hosts": {"hosts": []},
    "/v1/harnesses": {"data": []},
    "/v1/extensions": {"object": "list", "data": []},
    "/v1/projects/order": {"sort_mode": "alphabetical", "ordered_project_ids": None},
    "/v1/sessions/projects": [],
    "/v1/policy-registry": page_of([]),
}
"""Answers of a server, by path."""
OF_A_SESSION: dict[str, Any] = {
    "/resources/terminals": page_of([]),
    "/resources/environments/default/changes": {"object": "list", "data": [], "has_more": False},
    "/resources/environments/default/filesystem": page_of([]),
    "/resources/github": _GITHUB,
    "/policies": page_of([]),
    "/comments": page_of([]),
    "/agent/mcp-servers": page_of([]),
}
"""Answers about a session, by the path below its id."""


_FRESH: Data = {
    "status": "idle", "pending_elicitations": [], "pending_elicitations_count": 0, "pending_inputs": [],
    "last_total_tokens": None, "usage_by_model": None, "total_cost_usd": None, "last_task_error": None,
    "active_response_id": None, "todos": [], "items": [],
}  # fmt: skip
"""Values at an earlier moment of fields that a later answer has."""
_TITLE = 80
"""Characters of a message that serves as a title."""


class Sessions:
    """The sessions of a cassette. `before`: a recorded offset in ns; later events, and those at it, are not known."""

    def __init__(self, plan: ReplayPlan) -> None:
        self._plan = plan
        self._recorded = Recorded(plan)
        self._history = cache(self._read_history)
        self._title = cache(self._title_of)

    def roots(self) -> list[str]:
        """Return the sessions without a parent, the newest first."""
        return list(self._plan.trees)[::-1]

    def has(self, name: str) -> bool:
        """Whether the cassette has this session."""
        return name in self._plan.sessions

    def lead_on(self, playing: Playing) -> None:
        """Let a page's stream end where the recorded client opened the next one: the page reconnects and gets that one.
        Without a next one, the stream stays open, with heartbeats."""
        x = playing.exchange
        session = self._plan.sessions.get(x.session_id or "")
        ended = x.end_ns if x.end_ns is not None else float("inf")
        later = session is not None and any(one.kind == "sse" and start_of(one) >= ended for one in session.opens)
        if later and not playing.joined and playing.ending == "client_left":
            playing.ending = "eof"
        playing.is_kept_alive = True

    def snapshot(self, name: str, before: float, answer: Timed | None = None) -> Data:
        """Return a session as `GET /v1/sessions/{id}` does. `answer`: the recorded answer to this request, with its
        time."""
        at, base = self._base(answer or _newest(self._recorded.snapshots.get(name, []), before), before)
        snapshot = base or {**SNAPSHOT, **self._own(name)}
        told = self._told(name, before)
        changed = told.changed(at, before)
        snapshot |= {key: value for key, value in changed.items() if key in snapshot}
        snapshot["id"] = name
        snapshot["title"] = snapshot.get("title") or self._title(name)
        snapshot["pending_elicitations"] = told.pending(before)
        return snapshot

    def row(self, name: str, before: float) -> Data:
        """Return the row of a session in the session list."""
        timed = _newest(self._recorded.rows.get(name, []), before)
        snapshot = self.snapshot(name, before)
        if timed is None:
            row = {**ROW, **{key: snapshot[key] for key in ROW if key in snapshot}}
        else:
            at, row = self._base(timed, before)
            changed = self._told(name, before).changed(at, before)
            row = row | {key: value for key, value in changed.items() if key in row}
        row["id"] = name
        row["title"] = row.get("title") or self._title(name)
        row["pending_elicitations_count"] = len(snapshot["pending_elicitations"])
        return row

    def items(self, name: str, before: float) -> list[Data]:
        """Return all items of a session, the oldest first."""
        listed = [(at, 1, items) for at, items in self._recorded.item_lists.get(name, []) if at < before]
        told = [(at, 0, [item]) for at, item in self._told(name, before).items if at < before]
        return _joined(items for _, _, items in sorted(listed + told, key=lambda one: one[:2]))

    def children(self, name: str, before: float) -> list[Data]:
        """Return the rows of `GET …/child_sessions`."""
        told: dict[str, Data] = {}
        for at, child in self._told(name, before).children:
            if at < before:
                told[child["id"]] = told.get(child["id"], {}) | child
        own = {"parent_session_id": name, "created_at": self._created(name), "updated_at": self._created(name)}
        return [{**CHILD, **own, **child} for child in told.values()]

    def agent(self, name: str, before: float) -> Data | None:
        """Return the answer of `GET …/agent`; None if none was recorded."""
        timed = _newest(self._recorded.agents.get(name, []), before)
        return None if timed is None else timed[1]

    def agents(self) -> Iterator[Data]:
        """Yield the last recorded agent of each session."""
        for name in self._plan.sessions:
            yield from (agent for _, agent in self._recorded.agents.get(name, [])[-1:])

    def _own(self, name: str) -> Data:
        """Return the known fields of a session without a recorded snapshot."""
        root, created = self._plan.sessions[name].root, self._created(name)
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
        opens = [x for x in self._plan.sessions[name].opens if x.kind == "sse"] if self.has(name) else []
        frames = [frame for x in opens for frame in self._plan.frames(x)]
        recordings = {x.stream: x.recording for x in opens}
        return session_history(frames, lambda frame: self._plan.epoch(recordings[frame.stream], frame.offset_ns))

    def _created(self, name: str) -> int:
        x = next(x for x in self._plan.exchanges if x.session_id == name)
        return self._plan.epoch(x.recording, x.request.at_ns)

    def _title_of(self, name: str) -> str | None:
        """Return the last title in the recording, else the first message."""
        timed = [*self._recorded.snapshots.get(name, []), *self._recorded.rows.get(name, [])]
        titles = [one.get("title") for _, one in [*self._as_child(name), *sorted(timed, key=lambda one: one[0])]]
        if known := [title for title in titles if isinstance(title, str)]:
            return known[-1]
        return next(filter(None, map(_text_of, self._recorded.messages(name))), None)


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
    known = [one for one in timed if one[0] < before]
    return known[-1] if known else timed[0] if timed else None


def _text_of(item: Data) -> str | None:
    texts = (as_text(as_dict(part).get("text")) for part in as_list(item.get("content")))
    return next((text[:_TITLE] for text in texts if text is not None), None)
