"""Access to the control path. No I/O.

A browser gets around loopback: any page may send requests to this machine, and with DNS rebinding a page may read the
responses. So a request has to name this server, and may not come from a foreign page. If it changes something, it may
not be a request that a page can send without a preflight (a "simple" request of the Fetch standard). A server that
other machines can reach asks for a token too.

A page of the same origin is ours only if the listener serves nothing else. A proxy serves pages of its upstream, and a
replay serves recorded ones. There, no request of a browser may use the control path.
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
"""A header field that a page of another origin can send only after a preflight, which is never allowed."""
SHORTEST_TOKEN = 16
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::[0-9]*)?")
_READS = ("GET", "HEAD")
_OF_BROWSERS = (
    "sec-fetch-site", "sec-fetch-dest", "sec-fetch-user", "origin", "referer", "cookie", "upgrade-insecure-requests",
    "service-worker",
)  # fmt: skip
"""Fields that browsers send and tools do not. A page can suppress `Referer`, but neither `Sec-Fetch-Site` (sent to
https and to loopback) nor `Accept-Language`. `fetch` of Node sends `Sec-Fetch-Mode` alone."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The response to a request that may not pass."""

    status: int
    code: str
    message: str


class Guard:
    """Checks requests to the control path of one server.

    `names`: host names and addresses of the server, beside those of loopback. `any_address`: it listens on all
    addresses, so every address counts as its own; DNS rebinding needs a name. `token`: required as `Authorization:
    Bearer`; None if none is needed. `has_pages`: every page of its origin is our own, and may use it.
    """

    def __init__(
        self, names: Iterable[str] = (), *, any_address: bool = False, token: str | None = None, has_pages: bool = True
    ) -> None:  # fmt: skip
        self.has_pages = has_pages
        self._names = {_plain(name) for name in names}
        self._any_address = any_address
        self._token = token

    def refusal(self, method: str, target: str, headers: Headers, *, is_public: bool = False) -> Refusal | None:
        """Return the refusal of this request; None if it may pass. `target` is that of the request line.

        `is_public`: the response says nothing of a recording, so it needs no token, and another page may link to it.
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
    """Return the token if it can be sent in a header and is long enough. Raises `UsageError`."""
    if len(token) < SHORTEST_TOKEN or not _TOKEN.fullmatch(token):
        raise UsageError(
            f"{what} has to be {SHORTEST_TOKEN} letters, digits or ._~+/=- at the least, for instance what"
            " `openssl rand -hex 16` prints"
        )
    return token


def is_loopback(host: str) -> bool:
    """Return whether a host name or an address always means this machine."""
    address = _address(host)
    return address.is_loopback if address is not None else host == "localhost"


def _from_a_browser(headers: Headers) -> Refusal | None:
    """Refuse browsers: a page or a service worker of this origin is upstream's, or a recorded one."""
    sent = next((name for name in _OF_BROWSERS if header(headers, name) is not None), None)
    if sent is None and (header(headers, "accept-language") or "*").strip() == "*":
        return None
    return _forbidden(
        f"a browser may not use this here ({sent or 'accept-language'} says it is one): the pages of this address are"
        " not omnirecord's"
    )


def _from_another_page(headers: Headers) -> Refusal | None:
    """Refuse pages of other origins. Browsers name the origin in Origin, but not for images and the like; for these
    there is Sec-Fetch-Site, to https and to loopback."""
    origin, site = header(headers, "origin"), header(headers, "sec-fetch-site")
    if origin is not None and _authority_of(origin) != (header(headers, "host") or "").strip().lower():
        return _forbidden(f"a page from {origin} may not use this")
    if site is not None and site not in ("same-origin", "none"):
        return _forbidden("a page from elsewhere may not use this")
    return None


def _is_followed_link(headers: Headers) -> bool:
    """Return whether a browser follows a link, so that no other page can read the response."""
    return header(headers, "sec-fetch-mode") == "navigate" and header(headers, "sec-fetch-dest") == "document"


def _simple(method: str, headers: Headers) -> Refusal | None:
    """Refuse a request that changes something and that any page can send, for example with a form."""
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
    """Return a name or address in its normal form, for comparison."""
    name = name.strip("[]").lower().removesuffix(".")
    address = _address(name)
    return name if address is None else str(address)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _forbidden(message: str) -> Refusal:
    return Refusal(403, "forbidden", message)
