"""Who may use the control path. Pure.

A browser is the way around loopback: any page may send requests to this machine, and one whose name is made to mean
this machine (DNS rebinding) may read the answers as well. So a request has to name us, may not come from a page that
is not ours, and, if it changes something, has to be one that a page cannot send unasked (Fetch, "simple" requests).
A server that is reachable from elsewhere wants a token on top of that.

A page of the same origin is ours only where a listener serves nothing but our page. A proxy serves pages of its
upstream and a replay serves recorded ones: there no request of a browser may use the control path.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..errors import UsageError
from ..model import Headers
from ..wire.headers import header

PROOF = "X-Omnirecord"
"""A header field of any value that a page of another origin can only send after asking us, which we never allow."""
SHORTEST_TOKEN = 16
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::[0-9]*)?")
_READS = ("GET", "HEAD")
_OF_BROWSERS = (
    "sec-fetch-site", "sec-fetch-dest", "sec-fetch-user", "origin", "referer", "cookie", "upgrade-insecure-requests",
    "service-worker",
)  # fmt: skip
"""Fields that browsers send and tools do not. A page can leave out `Referer`, but none of `Sec-Fetch-Site` (a browser
sends it to https and to loopback) or `Accept-Language`. `fetch` of Node sends `Sec-Fetch-Mode` alone."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a request is answered that may not pass."""

    status: int
    code: str
    message: str


class Guard:
    """Lets requests to one server's control path pass, or says why not.

    `names`: host names and addresses that are the server's, beside those of loopback. `any_address`: it listens on
    all of them, so every address is taken for its own; no page can have an address mean another machine.
    `token`: what has to come as `Authorization: Bearer`; None where none is needed. `has_pages`: every page of its
    origin is our own, and may use it.
    """

    def __init__(
        self, names: Iterable[str] = (), *, any_address: bool = False, token: str | None = None, has_pages: bool = True
    ) -> None:  # fmt: skip
        self.has_pages = has_pages
        self._names = {_plain(name) for name in names}
        self._any_address = any_address
        self._token = token

    def refusal(self, method: str, target: str, headers: Headers, *, is_public: bool = False) -> Refusal | None:
        """Why this request may not pass; None where it may. `target` is as the request line has it.

        `is_public`: it is for something that says nothing of a recording, so no token is asked for, and a link on
        another page may lead to it.
        """
        return (
            self._misnamed(target, headers)
            or (None if is_public and _is_followed_link(headers) else _from_another_page(headers))
            or (None if self.has_pages else _from_a_browser(headers))
            or (None if is_public else self._unknown(headers))
            or _simple(method, headers)
        )

    def _misnamed(self, target: str, headers: Headers) -> Refusal | None:
        hosts = [value for name, value in headers if name.lower() == "host"]
        if len(hosts) == 1 and target.startswith("/") and self._is_ours(hosts[0]):
            return None
        host = ", ".join(hosts) or "no host"
        return _forbidden(f"{host} is no name that this server was told of: ask it by the address it listens on")

    def _is_ours(self, authority: str) -> bool:
        found = _AUTHORITY.fullmatch(authority.strip())
        if found is None:
            return False
        name = _plain(found[1])
        return is_loopback(name) or name in self._names or (self._any_address and _address(name) is not None)

    def _unknown(self, headers: Headers) -> Refusal | None:
        if self._token is None:
            return None
        scheme, _, given = (header(headers, "authorization") or "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(_bytes(given.strip()), _bytes(self._token)):
            return None
        return Refusal(
            401, "unauthorized", "this needs the token that was printed when the server started, or that it was given:"
            " send it as Authorization: Bearer TOKEN",
        )  # fmt: skip


def checked_token(token: str, what: str) -> str:
    """A token that can be sent, and cannot be tried out. Raises `UsageError`."""
    if len(token) < SHORTEST_TOKEN or not _TOKEN.fullmatch(token):
        raise UsageError(
            f"{what} has to be {SHORTEST_TOKEN} letters, digits or ._~+/=- at the least, for instance what"
            " `openssl rand -hex 16` prints"
        )
    return token


def is_loopback(host: str) -> bool:
    """Whether a host name or an address means this machine to everybody who asks on it."""
    address = _address(host)
    return address.is_loopback if address is not None else host == "localhost"


def _from_a_browser(headers: Headers) -> Refusal | None:
    """A page of this origin is upstream's, or a recorded one, and so is a service worker that sends what others ask."""
    sent = next((name for name in _OF_BROWSERS if header(headers, name) is not None), None)
    if sent is None and (header(headers, "accept-language") or "*").strip() == "*":
        return None
    return _forbidden(
        f"a browser may not use this here ({sent or 'accept-language'} says it is one): the pages of this address are"
        " not omnirecord's"
    )


def _from_another_page(headers: Headers) -> Refusal | None:
    """Browsers say where a page comes from: in Origin, but not for images and the like; those are told apart by
    Sec-Fetch-Site, which is only sent to https and to loopback."""
    origin, site = header(headers, "origin"), header(headers, "sec-fetch-site")
    if origin is not None and _authority_of(origin) != (header(headers, "host") or "").strip().lower():
        return _forbidden(f"a page from {origin} may not use this")
    if site is not None and site not in ("same-origin", "none"):
        return _forbidden("a page from elsewhere may not use this")
    return None


def _is_followed_link(headers: Headers) -> bool:
    """A browser goes there and shows it by itself, so that no other page sees what comes."""
    return header(headers, "sec-fetch-mode") == "navigate" and header(headers, "sec-fetch-dest") == "document"


def _simple(method: str, headers: Headers) -> Refusal | None:
    """A request that changes something and that any page may send: a form could."""
    media_type = (header(headers, "content-type") or "").partition(";")[0].strip().lower()
    if method in _READS or media_type == "application/json" or header(headers, PROOF.lower()) is not None:
        return None
    return Refusal(
        415, "unsupported_media_type",
        f"a web page could send this unasked: add Content-Type: application/json, or the header {PROOF}: 1",
    )  # fmt: skip


def _authority_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _plain(name: str) -> str:
    """A name or address in the one form that it is compared in."""
    name = name.strip("[]").lower().removesuffix(".")
    address = _address(name)
    return name if address is None else str(address)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _forbidden(message: str) -> Refusal:
    return Refusal(403, "forbidden", message)
