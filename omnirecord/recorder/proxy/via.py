"""The HTTP proxy between the recorder and an upstream, such as a company's: from the environment, as in curl.

`urllib` has the rules for the names of the variables, and for the names in `NO_PROXY`. `NO_PROXY` may also have ranges
of addresses, as in curl and `requests`. An upstream on a loopback address is always reached directly: an HTTP proxy on
another machine would look for it there.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp
from yarl import URL

from ...errors import UsageError
from ...wire.addresses import is_loopback

_FIELD = "Proxy-Authorization"


@dataclass(frozen=True, slots=True)
class HttpProxy:
    """An HTTP proxy. `url` has no credentials; they are in `headers`, for the proxy only."""

    url: URL
    variable: str
    """The environment variable that names it."""
    headers: dict[str, str] = field(repr=False)

    def __str__(self) -> str:
        return str(self.url)

    def refusal(self, status: int) -> str:
        """Return why the proxy made no connection, from the status of its answer."""
        phrases = {one.value: f" {one.phrase}" for one in HTTPStatus}
        says = f"the HTTP proxy {self} answered {status}{phrases.get(status, '')}"
        if status not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED):
            return f"{says}; to connect without it, use --no-proxy"
        if self.headers:
            return f"{says}: it does not accept the user and password in {self.variable}"
        return f"{says}: put a user and a password into {self.variable}, as in http://USER:PASSWORD@HOST:PORT"

    def unreachable(self, error: aiohttp.ClientOSError, reason: str) -> str:
        """Return why the upstream was not reached. `reason`: why a connection was not made, to the proxy or through
        it."""
        asked = (error.host, error.port) if isinstance(error, aiohttp.ClientConnectorError) else None
        if asked == (self.url.raw_host, self.url.port):
            return f"no connection to the HTTP proxy {self}, which {self.variable} names: {reason}"
        return f"{reason} (through the HTTP proxy {self})"


def http_proxy(upstream: URL) -> HttpProxy | None:
    """Return the HTTP proxy that the environment names for this upstream; None for a direct connection. Raises
    `UsageError`, without the value of the variable, which may have a password."""
    host = upstream.host_subcomponent or ""
    proxies = getproxies_environment()
    of = upstream.scheme if proxies.get(upstream.scheme) else "all"
    given = proxies.get(of)
    if not given or is_loopback(upstream.host or "") or proxy_bypass(f"{host}:{upstream.port}"):
        return None
    if _is_in_range(upstream.host or "", proxies.get("no", "")):
        return None
    variable = f"{of.upper()}_PROXY"
    direct = "to connect without a proxy, use --no-proxy"
    try:
        url = URL(given if "://" in given else f"http://{given}")
        if url.scheme.startswith("socks"):
            raise UsageError(f"{variable} names a SOCKS proxy, and omnirecord uses only HTTP proxies; {direct}")
        is_usable = url.scheme in ("http", "https") and url.host and url.port
    except ValueError:
        is_usable = False
    if not is_usable:
        raise UsageError(f"{variable} is no URL of an HTTP proxy, such as http://proxy.example.com:3128; {direct}")
    credentials = f"{url.user or ''}:{url.password or ''}".encode()
    headers = {} if url.raw_user is None else {_FIELD: f"Basic {base64.b64encode(credentials).decode()}"}
    return HttpProxy(url.origin(), variable, headers)


def _is_in_range(host: str, listed: str) -> bool:
    """Return whether a host is an address in a range of `NO_PROXY`, such as `10.0.0.0/8`. A name is in no range."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    ranges = (one.strip() for one in listed.split(",") if "/" in one)
    return any(_has(one, address) for one in ranges)


def _has(network: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        return address in ip_network(network, strict=False)
    except ValueError:  # no range
        return False
