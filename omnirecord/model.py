"""The values that a cassette holds: what the recorder writes, the player reads and every command speaks of.

All times are nanoseconds on one monotonic clock, counted from the start of their recording; a recording's
`started_at` is the wall clock at its zero. Everything here is frozen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

FORMAT_VERSION = 1
"""The version of the cassette format, in both of its forms. A newer one is refused."""

Headers = tuple[tuple[str, str], ...]
"""Header lines as they came, in order, duplicates and all."""

Kind = Literal["http", "sse", "websocket"]
Side = Literal["request", "response"]
Direction = Literal["up", "down"]
"""`up`: from the client to the server."""
CLOSE = 8
"""The opcode of a WebSocket's close frame."""

Verdict = Literal["comment", "sentinel", "truncated", "malformed", "unknown", "invalid", "valid"]
VERDICTS: tuple[Verdict, ...] = (
    "comment",
    "sentinel",
    "truncated",
    "malformed",
    "unknown",
    "invalid",
    "valid",
)

Ending = Literal[
    "done",
    "eof",
    "client_left",
    "upstream_lost",
    "recorder_stopped",
    "upstream_unreachable",
    "open",
    "recorder_killed",
    "unknown",
]
"""How an exchange ended. `unknown`: nothing recorded it, as in an imported raw body."""

KINDS: frozenset[str] = frozenset(get_args(Kind))
ENDINGS: frozenset[str] = frozenset(get_args(Ending))

LIMIT = 2**62
"""Numbers lie between minus this and this, so that SQLite takes them with an offset added too."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_TARGET = re.compile("[\r\n\0 \ud800-\udfff]")
_NOT_IN_FIELD = re.compile("[\r\n\0\ud800-\udfff]")
_YEARS = range(1970, 2263)


@dataclass(frozen=True, slots=True)
class Recording:
    """One run of the proxy."""

    recording: int
    started_at: str
    """UTC, ISO 8601: the wall clock at the recording's zero."""
    version: str
    """The omnirecord that made it."""
    contract: str
    upstream: str | None


@dataclass(frozen=True, slots=True)
class Request:
    at_ns: int
    """When its first byte was read."""
    method: str
    target: str
    """RFC 9112's origin-form, the query redacted."""
    headers: Headers


@dataclass(frozen=True, slots=True)
class Response:
    at_ns: int
    """When its header section was complete."""
    end_ns: int | None
    """When its last byte came; None while it has none."""
    status: int
    reason: str
    headers: Headers


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its response, or a WebSocket. Its bodies are fetched apart: they may be large."""

    exchange: int
    recording: int
    kind: Kind
    stream: int | None
    """The stream's number, where the response is `text/event-stream`."""
    session_id: str | None
    party: str
    """`runner`, `client`, or `client-2`… for further credentials."""
    request: Request
    response: Response | None
    ending: Ending
    request_bytes: int = 0
    response_bytes: int = 0
    end_ns: int | None = None
    """When it ended, answered or not."""

    @property
    def has_times(self) -> bool:
        """False for an imported raw body: its request, response and end are all at 0."""
        response = self.response
        return self.stream is None or response is None or (self.request.at_ns, response.at_ns, self.end_ns) != (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Streaming:
    """The little of a stream's exchange that who follows it looks at again and again."""

    stream: int
    exchange: int
    recording: int
    session_id: str | None
    is_over: bool
    has_times: bool = True
    """False for an imported raw body."""


@dataclass(frozen=True, slots=True)
class Read:
    """Bytes of a response that arrived together."""

    offset_ns: int
    sent_ns: int | None
    """When they were handed to the client's transport; None if never."""
    size: int
    """How many bytes, as they were on the wire: compressed, if the response was."""


@dataclass(frozen=True, slots=True)
class Columns:
    """A stream of which every byte was kept, and is in a frame: where in `body` its frames and its reads end, and when
    each read came, in ns."""

    body: bytes
    frame_ends: Sequence[int]
    read_ends: Sequence[int]
    times: Sequence[int]
    sizes: Sequence[int]


@dataclass(frozen=True, slots=True)
class TimedFrame:
    """One frame of a stream as it was recorded and judged."""

    stream: int
    seq: int
    """Its place among all frames of the stream, from 1."""
    offset_ns: int
    """When its last byte came from upstream."""
    sent_ns: int | None
    """When that was handed to the client's transport; the kernel buffers megabytes, so it is no proof of reading."""
    raw: bytes | None
    """None for an oversized one, and for bytes that could not be recorded."""
    length: int
    type: str | None
    verdict: Verdict
    issues: tuple[tuple[str, str], ...]
    """Path and message of what the contract objects to."""


@dataclass(frozen=True, slots=True)
class Message:
    """One WebSocket message or control frame."""

    exchange: int
    message: int
    at_ns: int
    sent_ns: int | None
    dir: Direction
    opcode: int
    """RFC 6455's: 1 text, 2 binary, 8 close, 9 ping, 10 pong."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that went wrong with the recording itself."""

    recording: int
    at_ns: int
    message: str


def wall_clock(started_at: str, offset_ns: int) -> str:
    """The UTC time of an offset, ISO 8601 with microseconds."""
    at = datetime.fromisoformat(started_at)
    with suppress(OverflowError):  # no clock shows that: say when the recording began
        at += timedelta(microseconds=offset_ns // 1000)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


# What a file may say, in whichever form: each returns its value, or raises a ValueError that says what is wrong.
# The recorder stores nothing that is refused here, whatever came over the wire: see `headers.printable_text`.


def checked_start(value: str) -> str:
    """A recording's `started_at`."""
    if datetime.fromisoformat(value).year not in _YEARS:
        raise ValueError(f"its year is not within {_YEARS[0]} and {_YEARS[-1]}")
    return value


def checked_method(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError("is no method")
    return value


def checked_target(value: str) -> str:
    """Origin-form or `*`; odd bytes are let through as the proxy lets them, but none that end a request line."""
    if value != "*" and (not value.startswith("/") or _NOT_IN_TARGET.search(value)):
        raise ValueError('is no request target, "/" and no spaces or control characters')
    return value


def checked_text(value: str) -> str:
    """A reason or the value of a header."""
    if _NOT_IN_FIELD.search(value):
        raise ValueError("holds a CR, LF, NUL or lone surrogate")
    return value


def checked_headers(value: Headers) -> Headers:
    for name, text in value:
        if not _TOKEN.fullmatch(name):
            raise ValueError("a name of the headers is no token")
        checked_text(text)
    return value


def checked_status(value: int) -> int:
    """Three digits, as servers send them; a replay refuses those that HTTP has not."""
    if not 0 <= value <= 999:
        raise ValueError("its status has more than three digits")
    return value
