"""The environment variables by which clients of model APIs find their server (`docs/run.md`).

To add a variable, add it to `SERVICES` and to the table of `docs/run.md`, and try it with the real client.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..errors import UsageError


@dataclass(frozen=True, slots=True)
class Service:
    """A model API and its clients.

    `variables`: the variables that hold the URL of the server, each with the path that its clients want behind `url`.
    `rare`: variables that are replaced only if they were set before,
    since they change what other clients do. `url`: the server without a variable; None if there is none. `path`: what a
    URL in a variable may end with; this part of it is in the recorded paths. `base`: matches the path of a request; its
    group is the path of the URL. `keys`: the variables of the API key. `scheme`: that of a value without one.
    `is_common`: it is recorded also if no variable is set.
    """

    name: str
    variables: Mapping[str, str]
    url: str | None
    base: re.Pattern[str]
    keys: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()
    path: str = ""
    scheme: str | None = None
    is_common: bool = False

    def set_in(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the variables to set, as `variables`."""
        return {**self.variables, **{name: "" for name in self.rare if environment.get(name)}}

    def end_of(self, url: str) -> str:
        """Return the end of a URL that is in the recorded paths."""
        return self.path if url.rstrip("/").endswith(self.path) else ""


SERVICES = (
    Service(
        "openai",
        {"OPENAI_BASE_URL": ""},
        "https://api.openai.com/v1",
        re.compile(r"(|/.*?)/(?:responses|chat/completions|completions|embeddings)"),
        keys=("OPENAI_API_KEY",),
        rare=("OPENAI_API_BASE",),
        path="/v1",
        is_common=True,
    ),
    Service(
        "anthropic",
        {"ANTHROPIC_BASE_URL": ""},
        "https://api.anthropic.com",
        re.compile(r"(|/.*?)/v1/messages(?:/.*)?"),
        keys=("ANTHROPIC_API_KEY",),
        rare=("ANTHROPIC_API_BASE",),
        path="/v1",
        is_common=True,
    ),
    Service(
        "google",
        {"GOOGLE_GEMINI_BASE_URL": "", "GEMINI_API_BASE": "/v1beta"},
        "https://generativelanguage.googleapis.com",
        re.compile(r"(|/.*?)/v1(?:alpha|beta)?/models/[^/]+"),
        keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        path="/v1beta",
        is_common=True,
    ),
    Service(
        "azure",
        {"AZURE_OPENAI_ENDPOINT": "", "AZURE_API_BASE": ""},
        None,
        re.compile(r"(|/.*?)/openai/(?:deployments|v1|responses)(?:/.*)?"),
        keys=("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
    ),
    Service(
        "ollama",
        {"OLLAMA_HOST": "", "OLLAMA_API_BASE": ""},
        "http://127.0.0.1:11434",
        re.compile(r"(|/.*?)/api/(?:chat|generate|embed|embeddings)"),
        scheme="http",
        is_common=True,
    ),
    Service(
        "groq",
        {"GROQ_BASE_URL": ""},
        "https://api.groq.com",
        re.compile(r"(|/.*?)/openai/v1/(?:chat/completions|responses)"),
        keys=("GROQ_API_KEY",),
    ),
    Service(
        "cohere",
        {"CO_API_URL": ""},
        "https://api.cohere.com",
        re.compile(r"(|/.*?)/v[12]/(?:chat|embed|rerank)"),
        keys=("CO_API_KEY",),
    ),
)
"""The model APIs whose clients read a variable."""


@dataclass(frozen=True, slots=True)
class Route:
    """An upstream of a run. `paths`: the variables that hold its address, each with the path behind the address.
    `service`: the name of the model API; empty for another server."""

    hop: str
    upstream: str
    paths: Mapping[str, str]
    service: str = ""


def routes_of(environment: Mapping[str, str], others: Iterable[str] = ()) -> list[Route]:
    """Return the upstreams for these variables: the servers that clients would use now. `others`: further variables
    that hold a URL.

    Variables with one server share an upstream. Raises `UsageError` for a value that is no URL.
    """
    routes = [route for service in SERVICES for route in _routes_of(service, environment)]
    for name in others:
        if not (url := environment.get(name)):
            raise UsageError(f"--env {name}: the variable is not set: set it to the URL of the server")
        routes.append(Route(hop_of(name), checked_url(name, url), {name: ""}))
    return routes


def _routes_of(service: Service, environment: Mapping[str, str]) -> list[Route]:
    is_used = service.is_common or any(map(environment.get, (*service.variables, *service.keys)))
    paths: dict[str, dict[str, str]] = {}
    for name, behind in service.set_in(environment).items() if is_used else ():
        default = None if service.url is None else f"{service.url}{behind}"
        if (url := environment.get(name) or default) is not None:
            whole = checked_url(name, url, scheme=service.scheme)
            path = service.end_of(whole)
            paths.setdefault(whole.removesuffix(path), {})[name] = path
    numbered = enumerate(paths.items(), 1)
    return [
        Route(service.name if n == 1 else f"{service.name}-{n}", url, of, service.name) for n, (url, of) in numbered
    ]


def is_trusted(url: str) -> bool:
    """Return whether a client may send its API key to the server at this URL, also if a stranger named it. It is the
    server of a service itself, or one on this machine."""
    origins = {_origin(service.url) for service in SERVICES if service.url is not None}
    return _origin(url) in origins or urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def checked_url(name: str, value: str, scheme: str | None = None) -> str:
    """Return the URL in a variable without a slash at its end. `scheme`: for a value without one, as in `host:11434`"""
    url = value if scheme is None or "://" in value else f"{scheme}://{value}"
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or parts.query or parts.fragment or parts.username is not None:
        raise UsageError(
            f"{name} is {value!r}, which cannot be recorded: write http:// or https://, a host and a path, without a"
            " user, a query or a fragment"
        )
    return url.rstrip("/")


_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,30}")


def hop_of(variable: str) -> str:
    """Return the name of the hop whose address is in a variable that a user names."""
    return variable[-32:]


def variable_of(hop: str) -> str | None:
    """Return the variable in which clients of a hop find its address; None if no variable was named. A longer name is
    not known."""
    return hop if _VARIABLE.fullmatch(hop) else None


@dataclass(frozen=True, slots=True)
class Replayed:
    """Where a replay answers the requests of a service. `path`: the path of the URL behind the address of the hop.
    `is_recorded`: whether the recording has such requests."""

    service: Service
    hop: str | None
    path: str
    is_recorded: bool

    def variables(self, environment: Mapping[str, str], address: str) -> dict[str, str]:
        """Return the variables for a replay of this hop at an address. Of a recorded service, an API key is made up
        if none is set: without one, its clients send no request."""
        made = {}
        for name, behind in self.service.set_in(environment).items():
            end = behind or self.service.end_of(environment.get(name) or "")
            made[name] = f"{address}{self.path}{'' if self.path.endswith(end) else end}"
        if self.is_recorded and self.service.keys and not any(map(environment.get, self.service.keys)):
            made[self.service.keys[0]] = "none"
        return made


def replayed(recorded: Mapping[str | None, Iterable[str]]) -> list[Replayed]:
    """Return where a replay answers each service. `recorded`: the paths of the requests of each hop.

    A service without requests in the recording gets the first hop: its requests match nothing, and reach no server.
    """
    return [_replayed(service, recorded) for service in SERVICES]


def _replayed(service: Service, recorded: Mapping[str | None, Iterable[str]]) -> Replayed:
    for hop in sorted(recorded, key=lambda hop: hop != service.name):
        for path in recorded[hop]:
            if (found := service.base.fullmatch(path)) is not None:
                return Replayed(service, hop, found[1], is_recorded=True)
    hop = service.name if service.name in recorded else next(iter(recorded))
    return Replayed(service, hop, service.end_of(service.url or ""), is_recorded=False)
