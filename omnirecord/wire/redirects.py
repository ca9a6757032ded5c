"""Redirects and cookies: the fields of a response that name the address of its server. No I/O.

A URL at an upstream's own address, in `Location` or `Content-Location` (RFC 9110), would lead clients past the
recorder. `at_own_address` moves it to the address at which clients reach this upstream. It also removes the upstream's
domain from cookies (RFC 6265), for which clients would refuse them. `leads_to` names the server of a redirect that
leads past the recorder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from ..model import Headers
from .addresses import PORTS, Origin, address_of, is_loopback, origin_of
from .headers import header

_URLS = frozenset({"location", "content-location"})
_FIELDS = _URLS | {"set-cookie"}
_DOMAIN = re.compile(r";[ \t]*domain[ \t]*=([^;]*)", re.IGNORECASE)
_REFERENCE = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(.*)", re.DOTALL)
"""Scheme, authority and path of a URL reference (RFC 3986, appendix B), and its query and fragment."""
_PARENT = re.compile(r"/(?:\.|%2e){2}(?:/|$)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Reached:
    """An upstream, and the address at which clients reach it, such as `http://127.0.0.1:6868`. `upstream` is
    None if a cassette does not name it."""

    upstream: str | None
    own: str


def client_address(request: Headers, listening: str) -> str:
    """Return the address that a client has used for its request: the `Host` field, and `https` if a load balancer
    before the recorder says so. Without a valid `Host`, it is `listening`, the URL of the listener."""
    scheme, _, _ = listening.partition("://")
    host = (header(request, "host") or "").strip()
    return f"{_forwarded(request) or scheme}://{host}" if _AUTHORITY.fullmatch(host) else listening


def address_beside(client: str, listening: str) -> str:
    """Return the address of another listener, for a client that has used the address `client`. A listener on all
    addresses has the host that the client used."""
    here = urlsplit(client)
    other = urlsplit(listening)
    if other.hostname not in ("0.0.0.0", "::"):
        return listening
    host = here.netloc.rpartition(":")[0] if here.port is not None else here.netloc
    return f"{other.scheme}://{host}:{other.port}"


def at_own_address(response: Headers, request: Headers, reached: Callable[[], Sequence[Reached]]) -> Headers:
    """Return the fields of a response for the client. URLs at an upstream are moved to the address of the client, and
    cookies lose the upstream's domain. `request`: the fields of its request. `reached` returns the upstreams; the first
    one has sent the response."""
    if not any(name.lower() in _FIELDS for name, _ in response):
        return response
    upstreams = reached()
    returned = []
    for name, value in response:
        if name.lower() in _URLS:
            returned.append((name, _moved(value, request, upstreams)))
        elif name.lower() == "set-cookie":
            returned.append((name, _without_domain(value, upstreams[0])))
        else:
            returned.append((name, value))
    return tuple(returned)


def leads_to(status: int, response: Headers, request: Headers, upstreams: Sequence[str | None]) -> str | None:
    """Return the server to which a redirect leads, such as `https://login.example.com`, if that is none of these
    upstreams; else None. The first upstream has sent the response."""
    location = header(response, "location")
    if location is None or not 300 <= status < 400:
        return None
    url = _absolute(location, upstreams[0])
    origin = None if url is None else url.origin
    if url is None or origin is None or _match(url, request, upstreams) is not None:
        return None
    own = (header(request, name) for name in ("host", "x-forwarded-host"))
    is_own = any(origin_of(origin.scheme, host.strip()) == origin for host in own if host is not None)
    return None if is_own else str(origin)


@dataclass(frozen=True, slots=True)
class _Url:
    scheme: str
    authority: str
    path: str
    rest: str
    """The query and the fragment, with `?` and `#`."""
    is_path: bool
    """Whether the field has only a path, so that the rest is of the upstream's URL."""

    @property
    def origin(self) -> Origin | None:
        return origin_of(self.scheme, self.authority)


def _absolute(value: str, upstream: str | None) -> _Url | None:
    """Return the URL that a field of this upstream names; None for a relative path, which leads to the same server, and
    if it is no http URL."""
    base = _split(upstream)
    found = _REFERENCE.fullmatch(value)
    assert found is not None
    scheme, authority, path, rest = found.groups()
    is_path = scheme is None and authority is None
    if base is None or (authority is None and not (is_path and path.startswith("/"))):
        return None
    return _Url(scheme or base.scheme, base.netloc if authority is None else authority, path, rest, is_path)


def _match(url: _Url, request: Headers, upstreams: Sequence[str | None]) -> tuple[int, str] | None:
    """Return the number of the upstream that has this URL, and the path that clients request; None if none has it. Of
    several, it is the first one, or else the one with the longest path prefix."""
    found = []
    for number, upstream in enumerate(upstreams):
        if (base := _split(upstream)) is None:
            continue
        path = _without_prefix(url.path, base.path.rstrip("/"))
        schemes = {base.scheme, _forwarded(request) or base.scheme}  # a server may believe X-Forwarded-Proto
        if path is not None and any(_is_same(url.origin, origin_of(scheme, base.netloc)) for scheme in schemes):
            found.append((number > 0, len(path), number, path))
    return min(found)[2:] if found else None


def _split(upstream: str | None) -> SplitResult | None:
    """Return the parts of an upstream's URL; None if it is no http URL, as in a foreign cassette."""
    try:
        parts = urlsplit(upstream or "")
    except ValueError:
        return None
    return parts if origin_of(parts.scheme, parts.netloc) is not None else None


def _without_prefix(path: str, prefix: str) -> str | None:
    """Return the path without the path prefix of an upstream; None if the path is outside of it."""
    if not prefix:
        return path
    if not (path == prefix or path.startswith(f"{prefix}/")) or _PARENT.search(path):
        return None
    return path[len(prefix) :] or "/"


def _moved(value: str, request: Headers, upstreams: Sequence[Reached]) -> str:
    """Return the value of a field with the URL at the client's address; unchanged if it is at none of the upstreams. A
    path outside of the path prefix becomes a whole URL, since the client would look for it below the prefix."""
    known = [one.upstream for one in upstreams]
    if (url := _absolute(value, known[0])) is None:
        return value
    userinfo = "".join(url.authority.rpartition("@")[:2])
    if (found := _match(url, request, known)) is None:
        return f"{url.scheme}://{url.authority}{url.path}{url.rest}" if url.is_path else value
    number, path = found
    if url.is_path and number == 0 and path[1:2] not in ("/", "\\"):  # `//` would begin the name of a server
        return f"{path}{url.rest}"
    scheme, _, authority = upstreams[number].own.partition("://")
    return f"{scheme}://{userinfo}{authority}{path}{url.rest}"


def _without_domain(cookie: str, reached: Reached) -> str:
    """Return a `Set-Cookie` without the upstream's domain, if a client at the recorder's address would refuse the
    cookie for it."""
    upstream = _split(reached.upstream)
    own = _split(reached.own)

    def kept(domain: re.Match[str]) -> str:
        name = domain[1].strip().removeprefix(".").lower()
        is_refused = upstream is not None and _has(name, upstream.hostname) and own and not _has(name, own.hostname)
        return "" if is_refused else domain[0]

    return _DOMAIN.sub(kept, cookie)


def _has(domain: str, host: str | None) -> bool:
    """Return whether a host is in the domain of a cookie. An address is in no domain but itself."""
    host = (host or "").removesuffix(".")
    return host == domain or (address_of(host) is None and host.endswith(f".{domain}"))


def _is_same(one: Origin | None, other: Origin | None) -> bool:
    """Return whether these are the same server. `localhost` stands for each loopback address."""
    if one is None or other is None or (one.scheme, one.port) != (other.scheme, other.port):
        return False
    names = {one.host, other.host}
    return len(names) == 1 or ("localhost" in names and all(map(is_loopback, names)))


def _forwarded(request: Headers) -> str | None:
    """Return the scheme that the client has used, if a load balancer before the recorder says so."""
    first, _, _ = (header(request, "x-forwarded-proto") or "").partition(",")
    scheme = first.strip().lower()
    return scheme if scheme in PORTS else None
