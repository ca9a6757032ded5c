"""Header fields (RFC 9110): decoding, values, and the fields of one connection only. No I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from ..model import NOT_IN_FIELD, TOKEN, Headers

_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_ENDS_FIELD = re.compile("[\r\n\0]")


def decoded(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return header lines as text. Bytes that are not UTF-8 become surrogates, as in aiohttp."""
    return tuple(
        (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")) for name, value in raw
    )


def section_size(first: int, raw: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the bytes of a header section: a first line of `first` bytes, and each field with `: ` and CRLF."""
    return first + sum(len(name) + len(value) + 4 for name, value in raw)


def printable(headers: Headers) -> Headers:
    """Return the fields as text that can be stored."""
    return tuple((printable_text(name), printable_text(value)) for name, value in headers)


def printable_text(text: str) -> str:
    """Return the text with U+FFFD for surrogates, line ends and NUL, which cannot be stored."""
    return NOT_IN_FIELD.sub("\ufffd", text)


def header(headers: Headers, name: str) -> str | None:
    """Return the values of a field (lower case), joined by commas; None if there is none."""
    values = [value for key, value in headers if key.lower() == name]
    return ", ".join(values) if values else None


def is_event_stream(headers: Headers) -> bool:
    return (header(headers, "content-type") or "").split(";")[0].strip().lower() == "text/event-stream"


def end_to_end(headers: Headers, *, but: Iterable[str] = ()) -> Headers:
    """Return the fields that a proxy passes on: without hop-by-hop fields, those that Connection names, and `but`."""
    return without(headers, _HOP_BY_HOP | connection_options(headers) | set(but))


def without(headers: Headers, dropped: Collection[str]) -> Headers:
    """Return the fields without those of these names (lower case)."""
    return tuple((name, value) for name, value in headers if name.lower() not in dropped)


def connection_options(headers: Headers) -> set[str]:
    """Return the tokens of the Connection field, in lower case."""
    return set(map(str.strip, (header(headers, "connection") or "").lower().split(",")))


def asks_for_websocket(headers: Headers) -> bool:
    upgrades = {value.strip().lower() for name, value in headers if name.lower() == "upgrade"}
    return "websocket" in upgrades and "upgrade" in connection_options(headers)


def transfer_coding(headers: Headers) -> str | None:
    """Return the value of Transfer-Encoding, in lower case and stripped; None if there is none."""
    value = header(headers, "transfer-encoding")
    return None if value is None else value.strip(" \t").lower()


def announces_body(headers: Headers) -> bool:
    """Return whether a request has Transfer-Encoding, or a Content-Length other than 0."""
    lengths = (value for name, value in headers if name.lower() == "content-length")
    return transfer_coding(headers) is not None or any(length.strip(" \t0") for length in lengths)


def unsendable(reason: str, headers: Headers) -> str | None:
    """Return why this reason phrase or one of these fields cannot be sent, without its value. None if all can be sent.
    Control characters other than CR, LF and NUL end no field, so they can be sent."""
    if _ENDS_FIELD.search(reason):
        return "its reason phrase has a CR, LF or NUL"
    for name, value in headers:
        if not TOKEN.fullmatch(name):
            return "the name of a header field is no token"
        if _ENDS_FIELD.search(value):
            return f"its header field {name} has a CR, LF or NUL"
    return None
