"""Answers for Omnigent's web UI that were not recorded, or were recorded at another moment.

A page sends more requests than were recorded: it is reloaded, or the session was recorded with the terminal client.
Only requests of a browser are filled in. A client under test gets the recorded answer, or a miss. Messages and streams
always come from the recording.

`Answers` has the endpoints that a page reads, answered from the state of `sessions` as of the playhead. A server
without recorded answers has one local user, no hosts, and no features. `page` has the page and its files.

`serve_updates` serves the WebSocket `/v1/sessions/updates`, for the session list. The answer to a `watch` is a
`snapshot` of the watched sessions at the playhead, then `changed` as it moves. A `heartbeat` follows 30 s of silence.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web

from ...model import Headers
from ...omnigent.routes import below_session, is_gate, opens_session_stream, path_of, query_of, session_of
from ...server.timers import monotonic
from ...text import dumps
from ...wire.headers import header
from ...wire.strict_json import as_dict, loads
from ..player import Answering, Decision, Incoming, Miss, Player, Playing
from ..player.plan import ReplayPlan
from .page import Files, MadeUp, Shell, asks_for_page, guarded
from .sessions import Data, Sessions, Timed

Before = Callable[[str], float]
"""Returns the recorded offset up to which a read may know a session, in ns."""
_LIMIT = 100
_LISTS_OF_SOME = ("pinned", "project", "agent_id", "agent_name")
_TERMINALS = "/resources/terminals"
_ONLINE: Data = {"runner_online": True, "host_online": None, "host_version": None}
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
        self._shell = Shell(plan, files)
        self.made_up: list[str] = []

    def opens_stream(self, request: Incoming) -> bool:
        return request.is_page and opens_session_stream(request.method, request.target)

    def answer(self, request: Incoming, now: int) -> Decision | MadeUp | Quiet:
        """Return the player's decision, or for a page that reads, the answer that replaces it."""
        if request.is_page and is_gate(request.method, request.target):
            self._player.pass_over_unanswered(request)  # the page need not give up the message that a client gave up
        decision = self._player.answer(request, now)
        return self._fill(request, decision, now) if request.is_page and request.method == "GET" else decision

    def _fill(self, request: Incoming, decision: Decision, now: int) -> Decision | MadeUp | Quiet:
        if isinstance(decision, Playing):
            self._sessions.lead_on(decision)
            return decision
        if asks_for_page(request.target):
            return self._page(decision, now)
        answers = self._answers(now)
        state = answers.state(request.target, _recorded(decision)) if isinstance(decision, Answering | Miss) else None
        if state is not None:
            return decision if _is_current(decision, state) else made(state)
        return self._missing(request, answers) or decision if isinstance(decision, Miss) else decision

    @property
    def page(self) -> str:
        """The web UI that a browser gets, in words."""
        return self._shell.page_is

    def rows(self, names: list[str], now: int) -> dict[str, Any]:
        return self._answers(now).rows(names)

    def _answers(self, now: int) -> Answers:
        return Answers(self._sessions, partial(self._player.horizon, now=now))

    def _page(self, decision: Decision, now: int) -> Decision | MadeUp:
        if isinstance(decision, Answering) and (response := decision.exchange.response) is not None:
            content = decision.content
            if response.status != 200 or (content is not None and self._shell.has_all_of(content)):
                response = replace(response, headers=guarded(response.headers))
                return replace(decision, exchange=replace(decision.exchange, response=response))
        if not isinstance(decision, Answering | Miss):
            return decision
        answers = self._answers(now)
        return self._shell.page([answers.row(name) for name in self._sessions.roots()])

    def _missing(self, request: Incoming, answers: Answers) -> MadeUp | Quiet | None:
        """Return the answer to a request that was never recorded; None if there is none."""
        target = request.target
        if (file := self._shell.file(path_of(target))) is not None:
            return file
        found: MadeUp | Quiet | None = answers.missing(target)
        if found is None and opens_session_stream("GET", target) and self._sessions.has(session_of(target) or ""):
            found = Quiet()
        asked = f"{request.method} {path_of(target)}"
        if found is not None and asked not in self.made_up:
            self.made_up.append(asked)
        return found


def _recorded(decision: Decision) -> Timed | None:
    """Return the time and the JSON object of the recorded answer; None if it is no object with an id."""
    if not isinstance(decision, Answering) or decision.exchange.response is None:
        return None
    value = loads(decision.content or b"")
    return (decision.exchange.request.at_ns, value) if isinstance(value, dict) and "id" in value else None


def _is_current(decision: Decision, state: Any) -> bool:
    """Whether the recorded answer is the state at the playhead."""
    if not isinstance(decision, Answering) or decision.exchange.response is None:
        return False
    response = decision.exchange.response
    recorded = loads(decision.content or b"")
    return response.status == 304 or (response.status == 200 and recorded == state)


@dataclass(frozen=True, slots=True)
class Quiet:
    """A stream that was not recorded: it stays open, with heartbeats only."""


def made(value: Any, status: int = 200) -> MadeUp:
    headers = (("content-type", "application/json"), ("cache-control", "no-store"))
    return MadeUp(dumps(value).encode("utf-8", "replace"), headers, status)


class Answers:
    """The answers about the sessions of a cassette."""

    def __init__(self, sessions: Sessions, before: Before) -> None:
        self._sessions = sessions
        self._before = before

    def state(self, target: str, answer: Timed | None) -> Any:
        """Return the state of a session, or the session list, at the playhead; None if the request is for neither.
        `answer`: the recorded answer to this request, with its time."""
        name, below = session_of(target), below_session(target)
        query = dict(parse_qsl(query_of(target)))
        if path_of(target) == "/v1/sessions":
            return None if _is_of_some(query) else self._list(query)
        if name is None or not self._sessions.has(name):
            return None
        if below == "":
            return self._snapshot(name, query, answer)
        if below == "/items":
            return part_of(self._sessions.items(name, self._before(name)), query)
        if below == _TERMINALS:
            return OF_A_SESSION[_TERMINALS]
        return None

    def missing(self, target: str) -> MadeUp | None:
        """Return the answer to a request that was never recorded; None if there is none."""
        path, name, below = path_of(target), session_of(target), below_session(target)
        if path in OF_A_SERVER:
            return made(OF_A_SERVER[path])
        if path == "/v1/sessions":
            return made(page_of([]))
        if path == "/v1/agents":
            return made(page_of(list({agent["id"]: agent for agent in self._sessions.agents()}.values())))
        if path == "/health":
            asked = dict(parse_qsl(query_of(target))).get("session_ids", "").split(",")
            return made({"status": "ok", "sessions": dict.fromkeys(filter(None, asked), _ONLINE)})
        if name is None or below is None or not self._sessions.has(name):
            return None
        return self._of_a_session(name, below)

    def _of_a_session(self, name: str, below: str) -> MadeUp | None:
        if below in OF_A_SESSION:
            return made(OF_A_SESSION[below])
        if below == "/child_sessions":
            return made(page_of(self._sessions.children(name, self._before(name))))
        if below == "/agent":
            snapshot = self._sessions.snapshot(name, self._before(name))
            known = {"id": "agent_id", "name": "agent_name", "harness": "harness", "created_at": "created_at"}
            told = {key: snapshot.get(of) for key, of in known.items()}
            return made(self._sessions.agent(name, self._before(name)) or {**AGENT, **told})
        is_resource = below.startswith("/resources/")
        return made({"error": {"code": "not_found", "message": "Not found."}}, 404) if is_resource else None

    def _snapshot(self, name: str, query: dict[str, str], answer: Timed | None) -> Data:
        snapshot = self._sessions.snapshot(name, self._before(name), answer)
        if query.get("include_items") != "false":
            snapshot["items"] = self._sessions.items(name, self._before(name))
        return snapshot

    def _list(self, query: dict[str, str]) -> Data:
        rows = [self.row(name) for name in self._sessions.roots()]
        wanted = query.get("search_query", "").casefold()
        return part_of([row for row in rows if wanted in str(row.get("title") or "").casefold()][::-1], query)

    def row(self, name: str) -> Data:
        return self._sessions.row(name, self._before(name))

    def rows(self, names: list[str]) -> dict[str, Data]:
        """Return the rows of these sessions by id, without unknown ones."""
        return {name: self.row(name) for name in names if self._sessions.has(name)}


def _is_of_some(query: dict[str, str]) -> bool:
    """Whether a query selects sessions by what only the server knows."""
    others = query.get("visibility", "mine") not in ("mine", "all") or query.get("kind", "default") != "default"
    return others or any(name in query for name in _LISTS_OF_SOME)


def part_of(rows: list[Data], query: dict[str, str]) -> Data:
    """Return the page of a list, oldest first, by `order`, `after`, `before` and `limit` of a query."""
    ordered = rows if query.get("order") == "asc" else rows[::-1]
    ids = [row["id"] for row in ordered]
    after, until = query.get("after", ""), query.get("before", "")
    start = ids.index(after) + 1 if after in ids else 0
    end = ids.index(until) if until in ids else len(ordered)
    limit = query.get("limit", "")
    count = int(limit) if limit.isascii() and limit.isdecimal() and len(limit) < 7 else _LIMIT
    return page_of(ordered[start:end][:count]) | {"has_more": end - start > count}


UPDATES_HEARTBEAT_EVERY = 30.0
"""Seconds of silence before a heartbeat on `/v1/sessions/updates`."""
_LOOK_EVERY = 0.5
"""Seconds between checks of the playhead."""


Rows = Callable[[list[str]], dict[str, Any]]
"""Returns the rows of sessions in the session list, by id, as of the playhead."""


async def serve_updates(request: web.BaseRequest, rows_of: Rows) -> web.WebSocketResponse:
    """Serve `/v1/sessions/updates` to one client until it leaves."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    with suppress(ConnectionError):  # the client left
        await _serve(socket, rows_of)
    return socket


async def _serve(socket: web.WebSocketResponse, rows_of: Rows) -> None:
    watched: list[str] = []
    shown: dict[str, Any] = {}
    quiet_since = monotonic()
    while not socket.closed:
        if (message := await _message(socket)) is not None:
            watched = message
            shown = rows_of(watched)
            await socket.send_str(json.dumps({"type": "snapshot", "items": list(shown.values())}))
            quiet_since = monotonic()
            continue
        rows = rows_of(watched)
        changed = [row for name, row in rows.items() if row != shown.get(name)]
        if changed:
            await socket.send_str(json.dumps({"type": "changed", "items": changed}))
        elif monotonic() - quiet_since > UPDATES_HEARTBEAT_EVERY:
            await socket.send_str(json.dumps({"type": "heartbeat"}))
        else:
            continue
        shown, quiet_since = rows, monotonic()


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
