"""What an Omnigent URL means. The only place that knows the server's paths; everything else works on any stream.

Targets are origin-form request targets (`/v1/sessions/abc/stream?idle=true`). Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

from ..model import Exchange

CONTROL = "/-/omnirecord/"
"""The one path that is ours: below it is what our servers have to say of themselves."""
GATE_EXAMPLE = "POST /v1/sessions/*/events"
"""A gate as a person writes it: METHOD GLOB."""
READ_EXAMPLE = "GET /v1/sessions/*"
_SESSION = re.compile(r"/v1/(?:sessions|conversations)/([^/?]+)(/[^?]*)?")
_COLLECTIONS = frozenset({"updates", "projects", "search", "archive", "import"})
"""Names below `/v1/sessions/` that are no session ids."""
_OF_MACHINES = ("/v1/runners", "/v1/hosts")


def path_of(target: str) -> str:
    return target.partition("?")[0]


def query_of(target: str) -> str:
    return target.partition("?")[2]


def session_of(target: str) -> str | None:
    """The session that a target speaks of."""
    found = _SESSION.search(path_of(target))
    name = unquote(found[1]) if found else None
    return None if name in _COLLECTIONS else name


def with_session(target: str, name: str) -> str:
    """The same target, speaking of another session; as it is where it speaks of none."""
    found = _SESSION.search(path_of(target))
    if found is None or session_of(target) is None:
        return target
    return target[: found.start(1)] + quote(name, safe="") + target[found.end(1) :]


def below_session(target: str) -> str | None:
    """What follows the session id in the path: `/stream`, `/events`…; None for a target without a session."""
    found = _SESSION.search(path_of(target))
    return (found[2] or "") if found and session_of(target) else None


def stream_target(session: str) -> str:
    """The target of a session's event stream."""
    return f"/v1/sessions/{session}/stream"


def lists_sessions(method: str, target: str) -> bool:
    return method == "GET" and path_of(target).endswith("/v1/sessions")


def is_of_sessions(target: str) -> bool:
    """Whether a target belongs to the sessions API: a session, the list of all, or a search in it."""
    return path_of(target).startswith("/v1/sessions")


def is_of_machines(target: str) -> bool:
    """Whether a target speaks of a runner or a host. The web UI only probes these."""
    return path_of(target).startswith(_OF_MACHINES)


def creates_session(method: str, target: str) -> bool:
    return method == "POST" and path_of(target).endswith("/v1/sessions")


def deletes_session(method: str, target: str) -> bool:
    return method == "DELETE" and below_session(target) == ""


def opens_session_stream(method: str, target: str) -> bool:
    return method == "GET" and below_session(target) == "/stream"


def is_gate(method: str, target: str) -> bool:
    """Whether a request moves a session on: a message, an interrupt, an answer to an elicitation."""
    rest = below_session(target) or ""
    return method == "POST" and (rest == "/events" or rest.endswith("/resolve"))


def is_of_runner(method: str, target: str) -> bool:
    """Whether runners alone send such a request, in every version of Omnigent."""
    rest = below_session(target)
    return (method == "GET" and rest == "/agent/contents") or (method == "POST" and rest == "/policies/evaluate")


def is_of_client(method: str, target: str) -> bool:
    """Whether clients alone send such a request."""
    rest = below_session(target) or ""
    return opens_session_stream(method, target) or (method == "POST" and rest.endswith("/resolve"))


def is_tunnel(target: str) -> bool:
    """A runner's or a host's tunnel: its frames start processes, so it is never replayed."""
    return path_of(target).endswith("/tunnel")


def is_session_updates(target: str) -> bool:
    return path_of(target).endswith("/v1/sessions/updates")


def is_bookkeeping(method: str, target: str) -> bool:
    """Whether a request only notes something for its user, so that a replay may say yes to it unrecorded."""
    return method == "PUT" and path_of(target).endswith(("/read-state", "/order"))


def is_session(exchanges: Iterable[Exchange]) -> bool:
    """Whether the server knew the session that all these exchanges name: not each answer was a 404."""
    return any(x.response is None or x.response.status != 404 for x in exchanges)


def unknown_sessions(exchanges: Iterable[Exchange]) -> set[str]:
    """The ids that requests named and that the server did not know."""
    named: dict[str, list[Exchange]] = {}
    for x in exchanges:
        if x.session_id is not None:
            named.setdefault(x.session_id, []).append(x)
    return {session_id for session_id, group in named.items() if not is_session(group)}
