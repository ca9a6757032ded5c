"""The party that sends a request, `runner` or a client, and its name for people. Pure.

Credentials tell clients apart. A tunnel token shows a runner, and so does a request that only runners send: Omnigent
0.5.1 sends the token for its tunnel alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from ..model import Exchange, Headers
from ..wire.headers import header
from .routes import is_of_client, is_of_runner

RUNNER = "runner"
_TOKEN = "x-omnigent-runner-tunnel-token"
_CLIENTS = (
    ("mozilla/", "web UI"),
    ("curl/", "curl"),
    ("python-httpx/", "Python client"),
    ("python/", "Python client"),
    ("python-requests/", "Python client"),
    ("python-urllib/", "Python client"),
    ("omnigent", "Python client"),
)
"""Beginnings of User-Agent fields, in lower case, and the names of these clients."""
_LONGEST = 30
"""Length of an unknown product's name, in characters."""

Credentials = tuple[tuple[str, str], ...]


class Parties:
    """The parties of one recorder. `credentials` returns those of a request; they stay in memory."""

    def __init__(self, credentials: Callable[[Headers], Credentials]) -> None:
        self._credentials = credentials
        self._names: dict[Credentials, str] = {}
        self._runners: set[Credentials] = set()
        self._clients: set[Credentials] = set()

    def of(self, method: str, target: str, headers: Headers) -> str:
        """Return the party of a request: `runner`, `client`, or `client-N` for further credentials.

        After a request that only runners send, all with the same credentials are the runner's, unless a client has
        them too.
        """
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
        return self._names.setdefault(own, f"client-{len(self._names) + 1}" if self._names else "client")


def is_by_runner(method: str, target: str, headers: Headers) -> bool:
    """Return whether a request by itself shows that a runner sends it."""
    return has_token(headers) or is_of_runner(method, target)


def has_token(headers: Headers) -> bool:
    """Return whether a request has the token of a runner's tunnel."""
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
    known = next((name for begin, name in _CLIENTS if lower.startswith(begin)), None)
    product = user_agent.split("/", 1)[0].split(" ", 1)[0]
    return known or product[:_LONGEST] or "client"
