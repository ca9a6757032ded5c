"""Addresses of servers: host names, IP addresses, and the scheme, host and port of a URL. No I/O."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443}
"""The default port of each scheme."""


class Origin(NamedTuple):
    """A server: its scheme, host and port in normal form."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS.get(self.scheme) else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


def repeated_part(prefix: str, target: str) -> str:
    """Return the end of a path prefix with which a target begins, such as `/v1`; empty if there is none."""
    segments = prefix.strip("/").split("/")
    ends = ("/" + "/".join(segments[at:]) for at in range(len(segments)) if segments[at])
    return next((end for end in ends if target.startswith(f"{end}/")), "")


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that this text is; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Return whether a host name or an address always means this machine."""
    address = address_of(host)
    return address.is_loopback if address is not None else host == "localhost"


def origin_of(scheme: str, authority: str) -> Origin | None:
    """Return the server of `//authority`; None if this is no http server."""
    try:
        parts = urlsplit(f"{scheme}://{authority}")
        host = parts.hostname
        port = parts.port
        if host is not None and not host.isascii():
            host = host.encode("idna").decode()
    except ValueError:
        return None
    if not host or parts.scheme not in PORTS:
        return None
    address = address_of(host)
    host = host.removesuffix(".") if address is None else str(address)
    return Origin(parts.scheme, host, PORTS[parts.scheme] if port is None else port)
