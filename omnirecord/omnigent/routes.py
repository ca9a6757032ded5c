"""The meaning of Omnigent's request targets, in origin form: `/v1/sessions/abc/stream?idle=true`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

from ..model import Exchange

CONTROL = "/-/omnirecord/"
"""The path of the control interface of omnirecord's own servers."""
GATE_EXAMPLE = "POST /v1/sessions/*/events"
"""A gate as a person writes it: METHOD GLOB."""
READ_EXAMPLE = "GET /v1/sessions/*"
_SESSION = re.compile(r"/v1/(?:sessions|conversations)/([^/?]+)(/[^?]*)?")
_COLLECTIONS = frozenset({"updates", "projects", "search", "archive", "import"})
"""Path segments after `/v1/sessions/` that are no session ids."""
_OF_MACHINES = ("/v1/runners", "/v1/hosts")


def path_of(target: str) -> str:
    return target.partition("?")[0]


def query_of(target: str) -> str:
    return target.partition("?")[2]


def session_of(target: str) -> str | None:
    """Return the id of the session that a target names, or None."""
    found = _SESSION.search(path_of(target))
    name = unquote(found[1]) if found else None
    return None if name in _COLLECTIONS else name


def with_session(target: str, name: str) -> str:
    """Return the target with another session id; unchanged if it names no session."""
    found = _SESSION.search(path_of(target))
    if found is None or session_of(target) is None:
        return target
    return target[: found.start(1)] + quote(name, safe="") + target[found.end(1) :]


def below_session(target: str) -> str | None:
    """Return the path after the session id: `/stream`, `/events`…; None for a target without a session."""
    found = _SESSION.search(path_of(target))
    return (found[2] or "") if found and session_of(target) else None


def stream_target(session: str) -> str:
    """Return the target of a session's event stream."""
    return f"/v1/sessions/{session}/stream"


def lists_sessions(method: str, target: str) -> bool:
    return method == "GET" and path_of(target).endswith("/v1/sessions")


def is_of_sessions(target: str) -> bool:
    """Return whether a target belongs to the sessions API: a session, the list of all, or a search."""
    return path_of(target).startswith("/v1/sessions")


def is_of_machines(target: str) -> bool:
    """Return whether a target names a runner or a host. The web UI only probes these."""
    return path_of(target).startswith(_OF_MACHINES)


def creates_session(method: str, target: str) -> bool:
    return method == "POST" and path_of(target).endswith("/v1/sessions")


def deletes_session(method: str, target: str) -> bool:
    return method == "DELETE" and below_session(target) == ""


def opens_session_stream(method: str, target: str) -> bool:
    return method == "GET" and below_session(target) == "/stream"


def is_gate(method: str, target: str) -> bool:
    """Return whether a request moves a session on: a message, an interrupt, or an answer to an elicitation."""
    rest = below_session(target) or ""
    return method == "POST" and (rest == "/events" or rest.endswith("/resolve"))


def is_of_runner(method: str, target: str) -> bool:
    """Return whether only runners send such a request, in every version of Omnigent."""
    rest = below_session(target)
    return (method == "GET" and rest == "/agent/contents") or (method == "POST" and rest == "/policies/evaluate")


def is_of_client(method: str, target: str) -> bool:
    """Return whether only clients send such a request."""
    rest = below_session(target) or ""
    return opens_session_stream(method, target) or (method == "POST" and rest.endswith("/resolve"))


def is_tunnel(target: str) -> bool:
    """Return whether a target is the tunnel of a runner or a host. Its frames start processes: it is never replayed."""
    return path_of(target).endswith("/tunnel")


def is_session_updates(target: str) -> bool:
    return path_of(target).endswith("/v1/sessions/updates")


def is_bookkeeping(method: str, target: str) -> bool:
    """Return whether a request only stores a setting of its user. A replay accepts it even if it is not recorded."""
    return method == "PUT" and path_of(target).endswith(("/read-state", "/order"))


def is_session(exchanges: Iterable[Exchange]) -> bool:
    """Return whether the server knew the session of these exchanges: at least one answer is not 404."""
    return any(x.response is None or x.response.status != 404 for x in exchanges)


def unknown_sessions(exchanges: Iterable[Exchange]) -> set[str]:
    """Return the session ids that requests name and the server does not know."""
    named: dict[str, list[Exchange]] = {}
    for x in exchanges:
        if x.session_id is not None:
            named.setdefault(x.session_id, []).append(x)
    return {session_id for session_id, group in named.items() if not is_session(group)}
