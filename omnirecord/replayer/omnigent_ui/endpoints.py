"""Which request of a page asks for which part of a session, or for what any server has. Pure.

Answers that were made up, as frozen values; `replaying` sends them.
"""

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
"""A file of a web UI by its path below `/`; None where there is none."""


@dataclass(frozen=True, slots=True)
class MadeUp:
    """An answer that nobody recorded."""

    body: bytes
    headers: Headers
    status: int = 200


@dataclass(frozen=True, slots=True)
class Quiet:
    """A stream that nobody recorded: it is open, and nothing comes but heartbeats."""


def made(value: Any, status: int = 200) -> MadeUp:
    """JSON, as the server has it."""
    headers = (("content-type", "application/json"), ("cache-control", "no-store"))
    return MadeUp(dumps(value).encode("utf-8", "replace"), headers, status)


def not_there(message: str = "Not found.") -> MadeUp:
    return made({"error": {"code": "not_found", "message": message}}, 404)


Before = Callable[[str], float]
"""Up to where a session's playhead lets reads know what happened, in ns of recorded time."""
_LIMIT = 100
_LISTS_OF_SOME = ("pinned", "project", "agent_id", "agent_name")
_NEVER_REPLAYED = "/resources/terminals"


class Answers:
    """What a page is told of sessions. `before`: see `Before`."""

    def __init__(self, sessions: Sessions, before: Before) -> None:
        self._sessions = sessions
        self._before = before

    def state(self, target: str, answer: Timed | None) -> Any:
        """What changes as a session goes on, as it is now; None where this asks for something else. `answer`: what was
        recorded of just this, and when."""
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
        if below == _NEVER_REPLAYED:
            return OF_A_SESSION[_NEVER_REPLAYED]
        return None

    def missing(self, target: str) -> MadeUp | None:
        """What was not recorded at all; None where nothing can be said."""
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
        return self._sessions.row(name, self._before(name))

    def rows(self, names: list[str]) -> dict[str, Data]:
        """By id, of those that there are."""
        return {name: self.row(name) for name in names if self._sessions.has(name)}

    @staticmethod
    def _asked(target: str) -> list[str]:
        return [one for one in dict(parse_qsl(query_of(target))).get("session_ids", "").split(",") if one]


_ONLINE: Data = {"runner_online": True, "host_online": None, "host_version": None}


def _is_of_some(query: dict[str, str]) -> bool:
    """Whether a list is of some sessions only, which only the server can tell."""
    others = query.get("visibility", "mine") not in ("mine", "all") or query.get("kind", "default") != "default"
    return others or any(name in query for name in _LISTS_OF_SOME)


def part_of(rows: list[Data], query: dict[str, str]) -> Data:
    """The page of a list, given the oldest first, that a query asks for: `order`, `after`, `before` and `limit`."""
    ordered = rows if query.get("order") == "asc" else rows[::-1]
    ids = [row["id"] for row in ordered]
    after, until = query.get("after", ""), query.get("before", "")
    start = ids.index(after) + 1 if after in ids else 0
    end = ids.index(until) if until in ids else len(ordered)
    limit = query.get("limit", "")
    count = int(limit) if limit.isascii() and limit.isdecimal() and len(limit) < 7 else _LIMIT
    return page_of(ordered[start:end][:count]) | {"has_more": end - start > count}
