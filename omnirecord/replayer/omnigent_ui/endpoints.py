"""The endpoints of Omnigent's API that a page reads, answered from the state of sessions. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from ...model import Headers
from ...omnigent.routes import below_session, path_of, query_of, session_of
from ...text import dumps
from .session_state import Data, Timed
from .sessions import AGENT, OF_A_SERVER, OF_A_SESSION, Sessions, page_of

Files = Callable[[str], "MadeUp | None"]
"""Returns a file of a web UI by its path below `/`; None if there is none."""


@dataclass(frozen=True, slots=True)
class MadeUp:
    """An answer that was not recorded."""

    body: bytes
    headers: Headers
    status: int = 200


@dataclass(frozen=True, slots=True)
class Quiet:
    """A stream that was not recorded: it stays open, with heartbeats only."""


def made(value: Any, status: int = 200) -> MadeUp:
    """Return a JSON answer."""
    headers = (("content-type", "application/json"), ("cache-control", "no-store"))
    return MadeUp(dumps(value).encode("utf-8", "replace"), headers, status)


def not_there(message: str = "Not found.") -> MadeUp:
    return made({"error": {"code": "not_found", "message": message}}, 404)


Before = Callable[[str], float]
"""Returns the recorded offset up to which a read may know a session, in ns."""
_LIMIT = 100
_LISTS_OF_SOME = ("pinned", "project", "agent_id", "agent_name")
_TERMINALS = "/resources/terminals"


class Answers:
    """The answers about the sessions of a cassette."""

    def __init__(self, sessions: Sessions, before: Before) -> None:
        self._sessions = sessions
        self._before = before

    def state(self, target: str, answer: Timed | None) -> Any:
        """Return the state of a session, or the session list, at the playhead; None if the request is for neither.

        `answer`: the recorded answer to this request, with its time.
        """
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
            return made({"status": "ok", "sessions": dict.fromkeys(self._asked(target), _ONLINE)})
        if name is None or below is None or not self._sessions.has(name):
            return None
        return self._of_a_session(name, below)

    def _of_a_session(self, name: str, below: str) -> MadeUp | None:
        if below in OF_A_SESSION:
            return made(OF_A_SESSION[below])
        if below == "/child_sessions":
            return made(page_of(self._sessions.children(name, self._before(name))))
        if below == "/agent":
            return made(self._agent(name))
        return not_there() if below.startswith("/resources/") else None

    def _agent(self, name: str) -> Data:
        snapshot = self._sessions.snapshot(name, self._before(name))
        known = {"id": "agent_id", "name": "agent_name", "harness": "harness", "created_at": "created_at"}
        told = {key: snapshot.get(of) for key, of in known.items()}
        return self._sessions.agent(name, self._before(name)) or {**AGENT, **told}

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
        """Return the row of a session in the session list."""
        return self._sessions.row(name, self._before(name))

    def rows(self, names: list[str]) -> dict[str, Data]:
        """Return the rows of these sessions by id, without unknown ones."""
        return {name: self.row(name) for name in names if self._sessions.has(name)}

    @staticmethod
    def _asked(target: str) -> list[str]:
        return [one for one in dict(parse_qsl(query_of(target))).get("session_ids", "").split(",") if one]


_ONLINE: Data = {"runner_online": True, "host_online": None, "host_version": None}


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
