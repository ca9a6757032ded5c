"""Header fields: how raw ones are read, what they say, and which are for one connection only (RFC 9110). Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from .cassette import Headers

_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_UNSTORABLE = re.compile("[\r\n\0\ud800-\udfff]")


def decoded(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Header lines as text. Bytes that are no UTF-8 become surrogates, as aiohttp has it."""
    return tuple(
        (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")) for name, value in raw
    )


def section_size(first: int, raw: Iterable[tuple[bytes, bytes]]) -> int:
    """Returns the bytes of a header section: a first line of so many bytes, and each field with `: ` and CRLF."""
    return first + sum(len(name) + len(value) + 4 for name, value in raw)


def printable(headers: Headers) -> Headers:
    """The same as text that can be stored."""
    return tuple((printable_text(name), printable_text(value)) for name, value in headers)


def printable_text(text: str) -> str:
    """U+FFFD for surrogates, and for what ends a line: nothing that is stored may hold one."""
    return _UNSTORABLE.sub("\ufffd", text)


def header(headers: Headers, name: str) -> str | None:
    """The values of a header joined by commas, as RFC 9110 lets one; None if it is not there."""
    values = [value for key, value in headers if key.lower() == name]
    return ", ".join(values) if values else None


def is_event_stream(headers: Headers) -> bool:
    return (header(headers, "content-type") or "").split(";")[0].strip().lower() == "text/event-stream"


def end_to_end(headers: Headers, *, but: Iterable[str] = ()) -> Headers:
    """What a proxy passes on: all but hop-by-hop fields, those that Connection names, and `but` (lower case)."""
    return without(headers, _HOP_BY_HOP | connection_options(headers) | set(but))


def without(headers: Headers, dropped: Collection[str]) -> Headers:
    """All but the fields of these names (lower case)."""
    return tuple((name, value) for name, value in headers if name.lower() not in dropped)


def connection_options(headers: Headers) -> set[str]:
    """The tokens of the Connection field, lower case."""
    values = [value for name, value in headers if name.lower() == "connection"]
    return set(map(str.strip, ",".join(values).lower().split(",")))


def asks_for_websocket(headers: Headers) -> bool:
    upgrades = {value.strip().lower() for name, value in headers if name.lower() == "upgrade"}
    return "websocket" in upgrades and "upgrade" in connection_options(headers)
