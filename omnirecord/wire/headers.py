"""Header fields: how raw ones are read, what they say, and which are for one connection only (RFC 9110). Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from ..model import Headers

_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_UNSTORABLE = re.compile("[\r\n\0\ud800-\udfff]")
_ENDS_FIELD = re.compile("[\r\n\0]")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


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


def transfer_coding(headers: Headers) -> str | None:
    """The value of Transfer-Encoding, lower case, without blanks around it. None if the message has no such field."""
    value = header(headers, "transfer-encoding")
    return None if value is None else value.strip(" \t").lower()


def announces_body(headers: Headers) -> bool:
    """Whether the fields of a request announce a body: Transfer-Encoding, or any Content-Length but 0."""
    lengths = (value for name, value in headers if name.lower() == "content-length")
    return transfer_coding(headers) is not None or any(length.strip(" \t0") for length in lengths)


def unsendable(reason: str, headers: Headers) -> str | None:
    """Why this reason phrase or one of these fields cannot be sent, without its value. None if all can be sent.

    Other control characters than CR, LF and NUL end no field: they are sent as they are.
    """
    if _ENDS_FIELD.search(reason):
        return "its reason phrase has a CR, LF or NUL"
    for name, value in headers:
        if not _FIELD_NAME.fullmatch(name):
            return "the name of a header field is no token"
        if _ENDS_FIELD.search(value):
            return f"its header field {name} has a CR, LF or NUL"
    return None
