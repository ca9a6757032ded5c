"""Answers for Omnigent's web UI that were not recorded, or were recorded at another moment.

A page sends more requests than were recorded: it is reloaded, or the session was recorded with the terminal client.
Only requests of a browser are filled in. A client under test gets the recorded answer, or a miss. Messages and streams
always come from the recording.

The endpoints that a page reads are answered from the state of `sessions` as of the playhead. A server without recorded
answers has one local user, no hosts, and no features. `page` has the page and its files.

`serve_updates` serves the WebSocket `/v1/sessions/updates`, for the session list. The answer to a `watch` is a
`snapshot` of the watched sessions at the playhead, then `changed` as it moves. A `heartbeat` follows 30 s of silence.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web

from ...model import Headers
from ...omnigent.routes import below_session, opens_session_stream, path_of, query_of, session_of
from ...server.timers import monotonic
from ...text import dumps
from ...wire.headers import header
from ...wire.strict_json import as_dict, loads
from ..player import Answering, Decision, Incoming, Miss, Player, Playing
from ..player.plan import ReplayPlan
from .page import Files, MadeUp, Shell, asks_for_page, guarded
from .sessions import Data, Sessions, Timed

_LIMIT = 100
_ONLINE: Data = {"runner_online": True, "host_online": None, "host_version": None}
AGENT: Data = {
    "id": None,
    "object": "agent",
    "name": None,
    "version": 1,
    "description": None,
    "created_at": 0,
    "updated_at": None,
    "harness": None,
    "mcp_servers": [],
    "mcp_servers_editable": False,
    "mcp_registry_editable": False,
    "policies": [],
    "skills": [],
    "terminals": [],
    "builtin": False,
}
_INFO: Data = {
    "accounts_enabled": False,
    "single_user": True,
    "login_url": None,
    "needs_setup": False,
    "databricks_features": False,
    "managed_sandboxes_enabled": False,
    "durable_initial_input": False,
    "sandbox_provider": None,
    "sandbox_providers": [],
    "sandbox_provider_capabilities": {},
    "enabled_connections": [],
    "sharing_mode": "off",
    "public_sharing_enabled": False,
    "public_sharing_max_level": "read",
    "server_version": "0.19.1",
    "smart_routing_enabled": False,
    "smart_routing_sources": {"external": False, "oss": False},
    "features": {},
    "harness_install_enabled": False,
    "installable_harnesses": [],
    "dictation_available": False,
    "archive_worktree_cleanup": False,
    "request_managed_sandbox_host_id": False,
    "agent_install": False,
    "agent_detail": False,
    "agent_config_edit": False,
    "branding": {
        "app_name": None,
        "heading": None,
        "logos": {"main": None, "loading": None, "favicon": None},
        "powered_by": True,
    },
}
_GITHUB: Data = {
    "object": "session.github.info",
    "available": False,
    "reason": "not_a_git_repo",
    "provider": "github",
    "auth": None,
    "capabilities": {},
    "prs": [],
    "tracking_available": False,
}


def page_of(rows: list[Data]) -> Data:
    ids = [row.get("id") for row in rows]
    return {
        "object": "list",
        "data": rows,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
        "has_more": False,
    }


OF_A_SERVER: dict[str, Any] = {
    "/v1/me": {"user_id": "local", "is_admin": False},
    "/v1/info": _INFO,
    "/v1/hosts": {"hosts": []},
    "/v1/harnesses": {"data": []},
    "/v1/extensions": {"object": "list", "data": []},
    "/v1/projects/order": {"sort_mode": "alphabetical", "ordered_project_ids": None},
    "/v1/sessions": page_of([]),
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


def is_page(headers: Headers) -> bool:
    """Whether a browser sent a request with these headers."""
    browser = (header(headers, "user-agent") or "").startswith("Mozilla/")
    return browser or header(headers, "sec-fetch-mode") is not None


class OmnigentUi:
    """The answers that Omnigent's web UI gets from one replay. `files`: the files of an installed web UI. `made_up`:
    the requests that were not recorded and were answered all the same."""

    def __init__(self, plan: ReplayPlan, player: Player, files: Files | None) -> None:
        self._player = player
        self._sessions = Sessions(plan)
        self.shell = Shell(plan, files)
        self.made_up: list[str] = []

    def answer(self, request: Incoming, now: int) -> Decision | MadeUp | Quiet:
        """Return the player's decision, or for a page that reads, the answer that replaces it."""
        decision = self._player.answer(request, now)
        is_read = request.is_page and request.method == "GET"
        if is_read and isinstance(decision, Playing):
            self._sessions.lead_on(decision)
        if not is_read or not isinstance(decision, Answering | Miss):
            return decision
        if asks_for_page(request.target):
            return self._page(decision, now)
        response = timed = value = None
        if isinstance(decision, Answering) and (response := decision.exchange.response) is not None:
            value = loads(decision.content or b"")
            timed = (decision.exchange.request.at_ns, value) if isinstance(value, dict) and "id" in value else None
        if (state := self._state(request.target, timed, now)) is not None:
            status = response.status if response is not None else 0
            is_current = status == 304 or (status == 200 and value == state)
            return decision if is_current else made(state)
        return self._missing(request, now) or decision if isinstance(decision, Miss) else decision

    def rows(self, names: list[str], now: int) -> dict[str, Any]:
        """Return the rows of these sessions by id, without unknown ones."""
        return {name: self._row(name, now) for name in names if self._sessions.has(name)}

    def _row(self, name: str, now: int) -> Data:
        return self._sessions.row(name, self._player.horizon(name, now))

    def _page(self, decision: Answering | Miss, now: int) -> Decision | MadeUp:
        if isinstance(decision, Answering) and (response := decision.exchange.response) is not None:
            content = decision.content
            if response.status != 200 or (content is not None and self.shell.has_all_of(content)):
                response = replace(response, headers=guarded(response.headers))
                return replace(decision, exchange=replace(decision.exchange, response=response))
        return self.shell.page([self._row(name, now) for name in self._sessions.roots()])

    def _state(self, target: str, answer: Timed | None, now: int) -> Any:
        """Return the state of a session, or the session list, at the playhead; None if the request is for neither.
        `answer`: the recorded answer to this request, with its time."""
        name = session_of(target)
        below = below_session(target)
        query = dict(parse_qsl(query_of(target)))
        if path_of(target) == "/v1/sessions":
            return self._list(query, now)
        if name is None or not self._sessions.has(name) or below not in ("", "/items", "/resources/terminals"):
            return None
        before = self._player.horizon(name, now)
        if below == "/items":
            return part_of(self._sessions.items(name, before), query)
        if below:
            return OF_A_SESSION[below]
        snapshot = self._sessions.snapshot(name, before, answer)
        if query.get("include_items") != "false":
            snapshot["items"] = self._sessions.items(name, before)
        return snapshot

    def _list(self, query: dict[str, str], now: int) -> Data | None:
        """Return the session list; None if the query selects sessions by what only the server knows."""
        others = query.get("visibility", "mine") not in ("mine", "all") or query.get("kind", "default") != "default"
        if others or any(name in query for name in ("pinned", "project", "agent_id", "agent_name")):
            return None
        rows = [self._row(name, now) for name in self._sessions.roots()]
        wanted = query.get("search_query", "").casefold()
        return part_of([row for row in rows if wanted in str(row.get("title") or "").casefold()][::-1], query)

    def _missing(self, request: Incoming, now: int) -> MadeUp | Quiet | None:
        """Return the answer to a request that was never recorded; None if there is none."""
        target = request.target
        path = path_of(request.target)
        if (file := self.shell.file(path)) is not None:
            return file
        name = session_of(target)
        found: MadeUp | Quiet | None = self._of_the_server(path, target)
        if found is None and name is not None and self._sessions.has(name):
            is_stream = opens_session_stream("GET", target)
            found = Quiet() if is_stream else self._of_a_session(name, below_session(target) or "", now)
        asked = f"{request.method} {path}"
        if found is not None and asked not in self.made_up:
            self.made_up.append(asked)
        return found

    def _of_the_server(self, path: str, target: str) -> MadeUp | None:
        if path in OF_A_SERVER:
            return made(OF_A_SERVER[path])
        if path == "/v1/agents":
            return made(page_of(list({agent["id"]: agent for agent in self._sessions.agents()}.values())))
        if path == "/health":
            asked = dict(parse_qsl(query_of(target))).get("session_ids", "").split(",")
            return made({"status": "ok", "sessions": dict.fromkeys(filter(None, asked), _ONLINE)})
        return None

    def _of_a_session(self, name: str, below: str, now: int) -> MadeUp | None:
        if below in OF_A_SESSION:
            return made(OF_A_SESSION[below])
        before = self._player.horizon(name, now)
        if below == "/child_sessions":
            return made(page_of(self._sessions.children(name, before)))
        if below == "/agent":
            snapshot = self._sessions.snapshot(name, before)
            known = {"id": "agent_id", "name": "agent_name", "harness": "harness", "created_at": "created_at"}
            told = {key: snapshot.get(of) for key, of in known.items()}
            return made(self._sessions.agent(name, before) or {**AGENT, **told})
        is_resource = below.startswith("/resources/")
        return made({"error": {"code": "not_found", "message": "Not found."}}, 404) if is_resource else None


class Quiet:
    """A stream that was not recorded: it stays open, with heartbeats only."""


def made(value: Any, status: int = 200) -> MadeUp:
    headers = (("content-type", "application/json"), ("cache-control", "no-store"))
    return MadeUp(dumps(value).encode("utf-8", "replace"), headers, status)


def part_of(rows: list[Data], query: dict[str, str]) -> Data:
    """Return the page of a list, oldest first, by `order`, `after`, `before` and `limit` of a query."""
    ordered = rows if query.get("order") == "asc" else rows[::-1]
    ids = [row["id"] for row in ordered]
    after = query.get("after", "")
    until = query.get("before", "")
    start = ids.index(after) + 1 if after in ids else 0
    end = ids.index(until) if until in ids else len(ordered)
    limit = query.get("limit", "")
    count = int(limit) if limit.isascii() and limit.isdecimal() and len(limit) < 7 else _LIMIT
    return page_of(ordered[start:end][:count]) | {"has_more": end - start > count}


UPDATES_HEARTBEAT_EVERY = 30.0
"""Seconds of silence before a heartbeat on `/v1/sessions/updates`."""
_LOOK_EVERY = 0.5
"""Seconds between checks of the playhead."""


async def serve_updates(
    request: web.BaseRequest, rows_of: Callable[[list[str]], dict[str, Any]]
) -> web.WebSocketResponse:
    """Serve `/v1/sessions/updates` to one client until it leaves. `rows_of`: returns the rows of sessions in the
    session list, by id, as of the playhead."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    watched: list[str] = []
    shown: dict[str, Any] = {}
    quiet_since = monotonic()
    with suppress(ConnectionError):  # the client left
        while not socket.closed:
            if (message := await _message(socket)) is not None:
                watched = message
                shown = rows_of(message)
                said = {"type": "snapshot", "items": list(shown.values())}
            else:
                before = shown
                shown = rows_of(watched)
                changed = [row for name, row in shown.items() if row != before.get(name)]
                if not changed and monotonic() - quiet_since <= UPDATES_HEARTBEAT_EVERY:
                    continue
                said = {"type": "changed", "items": changed} if changed else {"type": "heartbeat"}
            await socket.send_str(json.dumps(said))
            quiet_since = monotonic()
    return socket


async def _message(socket: web.WebSocketResponse) -> list[str] | None:
    """Return the session ids of the next `watch`; None if none came in time."""
    try:
        message = await socket.receive(timeout=_LOOK_EVERY)
    except TimeoutError:
        return None
    if message.type is not WSMsgType.TEXT:
        return None
    value = as_dict(loads(message.data))
    ids = value.get("session_ids") if value.get("type") == "watch" else None
    return [one for one in ids if isinstance(one, str)] if isinstance(ids, list) else None
