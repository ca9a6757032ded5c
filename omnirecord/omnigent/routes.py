"""The meaning of Omnigent's request targets, and the parties that send requests: `runner` or a client. Pure.

A target is in origin form: `/v1/sessions/abc/stream?idle=true`.

Credentials tell clients apart. A tunnel token shows a runner, and so does a request that only runners send: Omnigent
0.5.1 sends the token for its tunnel alone.

The version of the server: `GET /v1/info`, `GET /api/version` and `GET /.well-known/omnigent.json` tell it. So does the
request in a runner's tunnel that begins a session. No header has it. `/openapi.json` has another version, that of the
API document. The `hello` of a tunnel has the version of the runner.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

from ..model import Exchange, Headers, by_key
from ..wire.headers import header

CONTROL = "/-/omnirecord/"
"""The path of the control interface of omnirecord's own servers."""
UI = f"{CONTROL}ui/"
"""The path of the page of omnirecord; its files and data are below it."""
GATE_EXAMPLE = "POST /v1/sessions/*/events"
"""A gate as a person writes it: METHOD GLOB."""
READ_EXAMPLE = "GET /v1/sessions/*"
_SESSION = re.compile(r"/v1/(?:sessions|conversations(?=/[^/]+/(?!items(?:/|$))[^/]))/([^/?]+)(/[^?]*)?")
"""`/v1/conversations/ID/stream` is of older versions. `/v1/conversations/ID` and its `/items` are OpenAI's."""
_OWN = re.compile(r"/v1/(?:sessions|runners|hosts|info)(?:/|$)|/\.well-known/omnigent\.json$")
_COLLECTIONS = frozenset({"updates", "projects", "search", "archive", "import"})
"""Path segments after `/v1/sessions/` that are no session ids."""
RUNNER = "runner"
_TOKEN = "x-omnigent-runner-tunnel-token"
_PYTHON = ("python-httpx/", "python-httpx2/", "python/", "python-requests/", "python-urllib/", "omnigent")
_CLIENTS = {
    "mozilla/": "web UI",
    "curl/": "curl",
    **dict.fromkeys(_PYTHON, "Python client"),
    **dict.fromkeys(("openai/", "asyncopenai/"), "OpenAI client"),
    **dict.fromkeys(("anthropic/", "asyncanthropic/"), "Anthropic client"),
}
"""Beginnings of User-Agent fields, in lower case, and the names of these clients."""
_LONGEST = 30
"""Length of an unknown product's name, in characters."""

Credentials = tuple[tuple[str, str], ...]
_KEPT_COOKIES = 10_000


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


@lru_cache(maxsize=512)
def below_session(target: str) -> str | None:
    """Return the path after the session id: `/stream`, `/events`…; None for a target without a session."""
    found = _SESSION.search(path_of(target))
    return (found[2] or "") if found and session_of(target) else None


SESSIONS = "/v1/sessions"
"""The target of the list of all sessions, and of a request that creates one."""
RUNNERS = "/v1/runners"
"""The target of the list of all runners."""


def session_target(session: str, below: str = "") -> str:
    """Return the target of a session, or of a path below it such as `/stream`."""
    return f"{SESSIONS}/{session}{below}"


def stream_target(session: str) -> str:
    return session_target(session, "/stream")


def lists_sessions(method: str, target: str) -> bool:
    return method == "GET" and path_of(target).endswith("/v1/sessions")


def is_of_sessions(target: str) -> bool:
    """Return whether a target belongs to the sessions API: a session, the list of all, or a search."""
    return path_of(target).startswith("/v1/sessions")


def is_of_machines(target: str) -> bool:
    """Return whether a target names a runner or a host. The web UI only probes these."""
    return path_of(target).startswith(("/v1/runners", "/v1/hosts"))


def creates_session(method: str, target: str) -> bool:
    return method == "POST" and path_of(target).endswith("/v1/sessions")


OWN_ID = ("id", "session_id")
"""The fields by which a request that creates a session chooses the id of this session."""


def deletes_session(method: str, target: str) -> bool:
    return method == "DELETE" and below_session(target) == ""


def opens_session_stream(method: str, target: str) -> bool:
    return method == "GET" and below_session(target) == "/stream"


def is_of_omnigent(target: str) -> bool:
    """Return whether only Omnigent has such a path, also below a prefix: of its sessions, machines or versions."""
    return session_of(target) is not None or _OWN.search(path_of(target)) is not None


def names_omnigent(origin: str | None) -> bool:
    """Return whether the `Origin` of a request is that of Omnigent's own clients."""
    return origin is not None and origin.startswith("omnigent://")


def is_older_stream(target: str) -> bool:
    """Return whether older versions of Omnigent have a stream at such a target."""
    return path_of(target).rstrip("/").endswith("/responses")


def is_older_path(target: str) -> bool:
    """Return whether older versions of Omnigent have such a path: that of a stream, or of a response by its id."""
    path = path_of(target).rstrip("/")
    return is_older_stream(path) or is_older_stream(path.rpartition("/")[0])


def is_gate(method: str, target: str) -> bool:
    """Return whether a request moves a session on: a message, an interrupt, or an answer to an elicitation."""
    rest = below_session(target) or ""
    return method == "POST" and (rest == "/events" or rest.endswith("/resolve"))


def is_of_runner(method: str, target: str) -> bool:
    """Return whether only runners send such a request, in every version of Omnigent."""
    rest = below_session(target)
    return (method == "GET" and rest == "/agent/contents") or (method == "POST" and rest == "/policies/evaluate")


def is_of_client(method: str, target: str) -> bool:
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
    named = by_key(exchanges, lambda x: x.session_id)
    return {session_id for session_id, own in named.items() if session_id is not None and not is_session(own)}


class Parties:
    """The parties of one recorder. `credentials` returns those of a request; they stay in memory."""

    def __init__(self, credentials: Callable[[Headers], Credentials]) -> None:
        self._credentials = credentials
        self._names: dict[Credentials, str] = {}
        self._runners: set[Credentials] = set()
        self._clients: set[Credentials] = set()
        self._cookies: dict[tuple[Credentials, str], str] = {}
        """The parties that have these session cookies, by their other credentials and the cookie."""
        self._logged_in: set[str] = set()
        """The user agents without credentials that got a session cookie."""

    def of(self, method: str, target: str, headers: Headers) -> str:
        """Return the party of a request: `runner`, `client`, or `client-N` for further credentials. After a request
        that only runners send, all with the same credentials are the runner's, unless a client has them too."""
        if has_token(headers):
            return RUNNER
        own = self._credentials(headers)
        if is_of_client(method, target):
            self._clients.add(own)
            self._runners.discard(own)
        elif is_of_runner(method, target):
            if own not in self._clients:
                self._runners.add(own)
            return RUNNER
        if own in self._runners and (own or self._clients):
            return RUNNER
        having = {self._cookies.get(key) for key in _cookie_keys(own)}
        given = having.pop() if len(having) == 1 else None
        return given or self._names.setdefault(own, f"client-{len(self._names) + 1}" if self._names else "client")

    def answered(self, request: Headers, party: str, response: Headers) -> None:
        """Let later requests with the session cookies of this response be of the same party. Clients without
        credentials are not told apart: of those with the same user agent, only the first to get a cookie keeps its
        party."""
        sent = tuple(("cookie", value.split(";", 1)[0]) for name, value in response if name.lower() == "set-cookie")
        if not sent or party == RUNNER:
            return
        cookies = [one for one in self._credentials(sent) if one[1].partition("=")[2].strip(' "')]
        own = self._credentials(request)
        if cookies and not own:
            agent = header(request, "user-agent") or ""
            if agent in self._logged_in:
                return
            self._logged_in.add(agent)
        for key in _cookie_keys((*own, *cookies)):
            self._cookies.setdefault(key, party)
        while len(self._cookies) > _KEPT_COOKIES:
            del self._cookies[next(iter(self._cookies))]


def _cookie_keys(credentials: Credentials) -> list[tuple[Credentials, str]]:
    others = tuple(one for one in credentials if one[0] != "cookie")
    return [(others, value) for name, value in credentials if name == "cookie"]


def is_by_runner(method: str, target: str, headers: Headers) -> bool:
    """Return whether a request by itself shows that a runner sends it."""
    return has_token(headers) or is_of_runner(method, target)


def has_token(headers: Headers) -> bool:
    return any(name.lower() == _TOKEN for name, _ in headers)


def party_name(exchange: Exchange) -> str:
    """Return the name of a request's party for people: from its User-Agent, with a number if it is not the first
    client."""
    if exchange.party == RUNNER:
        return RUNNER
    name = _client(header(exchange.request.headers, "user-agent") or "")
    return name if exchange.party == "client" else f"{name} {exchange.party.removeprefix('client-')}"


@lru_cache(256)
def _client(user_agent: str) -> str:
    lower = user_agent.lower()
    known = next((name for begin, name in _CLIENTS.items() if lower.startswith(begin)), None)
    product = user_agent.split("/", 1)[0].split(" ", 1)[0]
    return known or product[:_LONGEST] or "client"


_VERSION_KEYS = {
    "/v1/info": "server_version",
    "/api/version": "version",
    "/.well-known/omnigent.json": "server_version",
}
_BEGINS = "session_init"
"""The key of a request in a tunnel that begins a session."""
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+!_-]{0,63}")


def version_key(method: str, target: str) -> str | None:
    """Return the key of the version in the answer to such a request; None if the answer tells none."""
    return _VERSION_KEYS.get(path_of(target)) if method == "GET" else None


def version_in(body: bytes, key: str) -> str | None:
    """Return the version in an answer, or None."""
    from ..wire.strict_json import as_dict, loads  # the command line imports this module, and does without the parser

    return _version(as_dict(loads(body)).get(key))


def version_in_message(data: bytes) -> str | None:
    """Return the version in a message of the server to a runner, or None. Other messages are not parsed."""
    if _BEGINS.encode() not in data:
        return None
    from ..wire.strict_json import as_dict, loads

    frame = as_dict(loads(data))
    body = frame.get("body")
    if frame.get("kind") != "request" or not isinstance(body, str):
        return None
    return _version(as_dict(as_dict(loads(body)).get(_BEGINS)).get("server_version"))


def _version(value: Any) -> str | None:
    return value if isinstance(value, str) and _VERSION.fullmatch(value) else None
