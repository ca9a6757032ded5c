"""Where other people's readers of event streams make something else of a case than the standard does, and why.

`docs/parsers.md` tells of each cause; `tests/end_to_end/test_whatwg_clients.py` holds both against what the readers do.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.support.whatwg import Event


class Difference(NamedTuple):
    """`cause`: as the page says it; `heard`: by case, what the reader makes of it."""

    cause: str
    heard: dict[str, list[Event]]


def m(data: str, last_event_id: str = "") -> Event:
    return Event("message", data, last_event_id)


EMPTY = m("")
NO_UTF8 = Event("raises", "UnicodeDecodeError")

HTTPX_SSE = [
    Difference(
        "a frame without data is an event",
        {
            "an event without data": [Event("a", "")],
            "an event without data is over": [Event("a", ""), m("c")],
            "an id before one with a NUL": [m("", "1")],
            "an id without data": [m("", "1"), m("a", "1")],
            "an id, then one with a NUL": [m("", "1"), m("a", "1")],
            "an id, then comments and retries": [m("a", "1"), m("", "1"), m("", "1")],
            "retry": [EMPTY],
            "retry with leading zeros": [EMPTY],
            "retry of twenty digits": [EMPTY],
        },
    ),
    Difference(
        "a `retry` may have a sign, spaces, or digits of other scripts",
        {
            "retry negative": [EMPTY],
            "retry with a sign": [EMPTY],
            "retry with two spaces": [EMPTY],
            "retry in other digits": [EMPTY],
        },
    ),
    Difference("a byte order mark belongs to the first field's name", {"a BOM": []}),
]

AIOHTTP_SSE_CLIENT2 = [
    Difference(
        "only an LF ends a line",
        {
            "CR": [],
            "CR frames": [],
            "CR then CRLF": [],
            "mixed line ends": [Event("a\rdata: b", "c")],
            "blank lines at the head": [],
        },
    ),
    Difference("all spaces at the head of a value are dropped", {"two spaces": [m("x")]}),
    Difference(
        "all line feeds at the end of the data are dropped",
        {"two empty lines of data": [EMPTY], "data ends in an empty line": [m("a")]},
    ),
    Difference(
        "an `id` may hold a NUL",
        {"an id with a NUL": [m("x", "7\0")], "an id, then one with a NUL": [m("a", "2\0")]},
    ),
    Difference(
        "a `retry` of many digits raises `OverflowError`",
        {"retry of twenty digits": [Event("raises", "OverflowError")]},
    ),
    Difference("a byte order mark belongs to the first field's name", {"a BOM": []}),
    Difference(
        "bytes that are not UTF-8 raise `UnicodeDecodeError`",
        {"bytes that are no UTF-8": [NO_UTF8], "half a BOM is content": [NO_UTF8]},
    ),
]

DIFFERENCES: dict[str, list[Difference]] = {
    "httpx-sse": HTTPX_SSE,
    "aiohttp": [],
    "aiohttp-sse-client2": AIOHTTP_SSE_CLIENT2,
    "EventSource": [],
}


def heard_otherwise(client: str) -> dict[str, list[Event]]:
    """By case, what a client makes of those where it differs."""
    return {case: heard for difference in DIFFERENCES[client] for case, heard in difference.heard.items()}
