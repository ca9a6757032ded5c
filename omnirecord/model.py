"""The values in a cassette: recordings, exchanges, frames, reads, messages and incidents.

All times are nanoseconds of one monotonic clock since the start of the recording. `started_at` is the wall-clock time
of that start. Do not change a value; most are frozen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeVar, get_args

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
Number = TypeVar("Number", int, float)
FORMAT_VERSION = 1
"""The version of the cassette format, in both forms. A newer version is refused."""

Headers = tuple[tuple[str, str], ...]
"""Header lines as received, in order, with duplicates."""

Kind = Literal["http", "sse", "websocket"]
Side = Literal["request", "response"]
Direction = Literal["up", "down"]
"""`up`: from the client to the server."""
CLOSE = 8
"""The opcode of a WebSocket close frame."""

Verdict = Literal["comment", "sentinel", "truncated", "malformed", "unknown", "invalid", "valid"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

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
"""How an exchange ended. `unknown`: the ending was not recorded, as in an imported raw body."""

KINDS: frozenset[str] = frozenset(get_args(Kind))
ENDINGS: frozenset[str] = frozenset(get_args(Ending))

LIMIT = 2**62
"""Absolute limit of every number. SQLite still stores such a number with an offset added."""

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile("[*]|/[^\r\n\0 \ud800-\udfff]*")
NOT_IN_FIELD = re.compile("[\r\n\0\ud800-\udfff]")
_YEARS = range(1970, 2263)
_UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HOP = re.compile("[A-Za-z0-9_-]{1,32}")


FORK_OF = "fork.of"
"""The label of a recording that was forked from another one: the file and the session, as the user named them."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The exchanges of one run of the proxy with one upstream."""

    recording: int
    started_at: str
    """Wall-clock time at the start of the recording: UTC, ISO 8601."""
    version: str
    """The version of omnirecord that recorded it."""
    contract: str
    upstream: str | None
    recording_id: str = ""
    """A UUID, unique in the world. A recording of an older omnirecord has one that is derived from its content."""
    run_id: str | None = None
    """A UUID that the recordings of one run of a recorder share, over all its files; None if it is not known."""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    server_version: str | None = None
    """The version of the server; None until a recorded answer or message tells it."""
    hop: str | None = None
    """The name of the upstream whose exchanges the recording has; None for the first upstream."""
    contract_given: bool | None = None
    """Whether the user chose the contract; False: it is the default. None: an older version did not say so."""


class _Unread:
    """A head whose headers are read at the first access: most questions need none."""

    __slots__ = ()

    _text: str | None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Read the headers: Python calls this for an empty slot."""
            if name != "headers":
                raise AttributeError(f"{type(self).__name__} has no {name}")
            self.headers = headers = self._read(self._text)
            return headers

    def lacks(self, name: str) -> bool:
        """Return whether the text of the headers shows that they have no such field (lower case). It is not parsed for
        that."""
        text = self._text
        return text is not None and "\\" not in text and name not in text.lower()


ReadHeaders = Callable[[str], Headers]


@dataclass(slots=True, unsafe_hash=True)
class Request(_Unread):
    """The head of a request. Treat it as immutable, like the next two: a frozen one takes three times as long to
    make."""

    at_ns: int
    """When the first byte was read."""
    method: str
    target: str
    """The request target in origin-form (RFC 9112), with secrets redacted."""
    headers: Headers
    """Those of a cassette may raise `BrokenCassette`."""
    _text: str | None = field(default=None, init=False, repr=False, compare=False)
    _read: ReadHeaders = field(init=False, repr=False, compare=False)

    @classmethod
    def unread(cls, at_ns: int, method: str, target: str, text: str, read: ReadHeaders) -> Self:
        """Return a request whose headers `read` makes of a text."""
        made = object.__new__(cls)
        made.at_ns = at_ns
        made.method = method
        made.target = target
        made._text = text
        made._read = read
        return made


@dataclass(slots=True, unsafe_hash=True)
class Response(_Unread):
    """The head of a response."""

    at_ns: int
    """When the header section was complete."""
    end_ns: int | None
    """When the last byte arrived; None until then."""
    status: int
    reason: str
    headers: Headers
    """Those of a cassette may raise `BrokenCassette`."""
    _text: str | None = field(default=None, init=False, repr=False, compare=False)
    _read: ReadHeaders = field(init=False, repr=False, compare=False)

    @classmethod
    def unread(cls, at_ns: int, end_ns: int | None, status: int, reason: str, text: str, read: ReadHeaders) -> Self:
        """Return a response whose headers `read` makes of a text."""
        made = object.__new__(cls)
        made.at_ns = at_ns
        made.end_ns = end_ns
        made.status = status
        made.reason = reason
        made._text = text
        made._read = read
        return made


@dataclass(slots=True, unsafe_hash=True)
class Exchange:
    """A request and its response, or a WebSocket. The bodies are read separately, since they may be large."""

    exchange: int
    recording: int
    kind: Kind
    stream: int | None
    """The number of the stream, if the response is `text/event-stream`."""
    session_id: str | None
    party: str
    """`runner`, `client`, or `client-2`, `client-3` and so on for further credentials."""
    request: Request
    response: Response | None
    ending: Ending
    request_bytes: int = 0
    response_bytes: int = 0
    end_ns: int | None = None
    """When the exchange ended, with or without a response."""
    request_is_cut: bool = False
    """Whether the body of the request was not read to its end, for instance since the server answered before."""
    answered_from: int | None = None
    """The number of the exchange of another cassette that is the answer; None if the upstream answered."""
    is_replaced: bool = False
    """Whether a later exchange took its place, in record mode `new_episodes`: clients need not send it any more."""

    @property
    def is_answered(self) -> bool:
        """Whether the upstream answered, or closed the connection. Else the client left, or the recorder stopped."""
        return self.response is not None or self.ending == "upstream_lost"

    @property
    def has_times(self) -> bool:
        """False for an imported raw body, whose request, response and end are all at 0 ns."""
        response = self.response
        return self.stream is None or response is None or (self.request.at_ns, response.at_ns, self.end_ns) != (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Streaming:
    """The columns of a stream's exchange that a reader polls while it follows the stream."""

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
    """When the bytes were passed to the client's transport; None if never."""
    size: int
    """Bytes on the wire: compressed, if the response was."""


class TimedFrame(NamedTuple):
    """One recorded frame of a stream, with its verdict. A tuple, since it is made in a third of the time."""

    stream: int
    seq: int
    """Position among all frames of the stream, from 1."""
    offset_ns: int
    """When the last byte arrived from the upstream."""
    sent_ns: int | None
    """When that byte was passed to the client's transport. The client may read it later, as the kernel buffers."""
    raw: bytes | None
    """None if the frame was too large, or if its bytes could not be recorded."""
    length: int
    type: str | None
    verdict: Verdict
    issues: tuple[tuple[str, str], ...]
    """Path and message of each difference from the contract."""


class Missing(NamedTuple):
    """A frame whose bytes are not in the cassette: it was too large, or the recorder dropped them."""

    stream: int
    seq: int
    length: int

    def __str__(self) -> str:
        return f"stream {self.stream}, event {self.seq}: its {self.length:,} bytes are not in the cassette"


@dataclass(frozen=True, slots=True)
class Message:
    """One WebSocket message or control frame."""

    exchange: int
    message: int
    at_ns: int
    sent_ns: int | None
    dir: Direction
    opcode: int
    """Opcode of RFC 6455: 1 text, 2 binary, 8 close, 9 ping, 10 pong."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Incident:
    """A problem of the recording itself."""

    recording: int
    at_ns: int
    message: str


UNREACHED = "omnirecord could not reach the upstream "
"""Beginning of the message of a recorder to a client whose request did not reach the upstream."""
UNWRITTEN = "the file cannot be written from here on"
"""Beginning of the incident that a recorder notes if the disk is full."""
UNRECORDED = "passed unrecorded: "
"""Beginning of the incident that counts the requests that the user does not record."""
RECOVERED = "the file could not be written for"
"""Beginning of the incident that ends it: everything that waited is in the cassette."""
_OF_ONE = re.compile("(exchange|stream) [0-9]+: ")
_LOSS = re.compile("not kept|no longer kept|could not be written(?! for)")


def is_of_loss(incident: Incident) -> bool:
    """Whether an incident says that data of a recording is missing, or may be."""
    said = incident.message
    return said.startswith(UNWRITTEN) or (_LOSS.search(said) is not None and not _OF_ONE.match(said))


def tells_of_body(incident: Incident) -> bool:
    """Whether an incident says that a body of one exchange is not whole."""
    return _OF_ONE.match(incident.message) is not None and " body only the first " in incident.message


def losses(incidents: Iterable[Incident]) -> list[Incident]:
    """Return what is missing in each recording that lacks data: its last incident about that, at the time of its first
    one. Incidents of one exchange or stream are left out."""
    found: dict[int, Incident] = {}
    for one in incidents:
        before = found.get(one.recording)
        if one.message.startswith(RECOVERED):
            if before is not None and before.message.startswith(UNWRITTEN):
                del found[one.recording]
        elif is_of_loss(one):
            found[one.recording] = one if before is None else replace(one, at_ns=before.at_ns)
    return list(found.values())


def by_key(values: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Return the values by their keys: each key with all that have it, in order."""
    found: dict[K, list[T]] = {}
    for one in values:
        found.setdefault(key(one), []).append(one)
    return found


def total(values: Iterable[Number | None]) -> Number | None:
    """Return the sum of the known values; None without any."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def root_of(session_id: str, parents: Mapping[str, str]) -> str:
    """Return the id of the session that began a tree of sub-agents. Damaged data may have parents in a circle."""
    seen = {session_id}
    while (parent := parents.get(session_id)) is not None and parent not in seen:
        seen.add(parent)
        session_id = parent
    return session_id


def children_of(parents: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the sub-agents of each session that has some."""
    found: dict[str, list[str]] = {}
    for child, parent in parents.items():
        found.setdefault(parent, []).append(child)
    return found


def reached(names: Iterable[str], edges: Mapping[str, Iterable[str]]) -> set[str]:
    """Return these names, and all that `edges` lead to."""
    found = set[str]()
    left = list(names)
    while left:
        if (one := left.pop()) not in found:
            found.add(one)
            left += edges.get(one, ())
    return found


def clocks(recordings: Iterable[Recording]) -> dict[int, int]:
    """Return, for each recording, the number of the first one with the same clock.

    The recordings of one run, one for each hop, begin together.
    """
    first: dict[object, int] = {}
    return {
        one.recording: first.setdefault((one.run_id, one.started_at) if one.run_id else one.recording, one.recording)
        for one in recordings
    }


def moment_of(text: str) -> datetime:
    """Return a time in ISO 8601; UTC if it has no zone. Raises `ValueError`."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def since_1970(started_at: str) -> int:
    """Return a time in ns since 1970."""
    at = datetime.fromisoformat(started_at)
    return (at - datetime(1970, 1, 1, tzinfo=at.tzinfo)) // timedelta(microseconds=1) * 1000


def starts_of(recordings: Iterable[Recording]) -> dict[int, int]:
    """Return when each recording started, in ns since 1970."""
    return {one.recording: since_1970(one.started_at) for one in recordings}


def wall_clock(started_at: str, offset_ns: int) -> str:
    """Return the UTC time of an offset in ns, in ISO 8601 with microseconds."""
    at = datetime.fromisoformat(started_at)
    with suppress(OverflowError):  # beyond the last date: fall back to the start of the recording
        at += timedelta(microseconds=offset_ns // 1000)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _checked(fits: Callable[[T], object], problem: str) -> Callable[[T], T]:
    def check(value: T) -> T:
        if not fits(value):
            raise ValueError(problem)
        return value

    return check


# Checks for values that are read from a file. Each returns its value, or raises a ValueError that names the problem.
# The recorder stores no value that these checks refuse: see `wire.headers.printable_text`.

checked_start: Callable[[str], str] = _checked(
    lambda value: datetime.fromisoformat(value).year in _YEARS, f"its year is not within {_YEARS[0]} and {_YEARS[-1]}"
)
checked_uuid = lru_cache(maxsize=1024)(_checked(_UUID.fullmatch, "is no UUID in lower case"))
"""Raises `TypeError` for another type."""
checked_hop = _checked(_HOP.fullmatch, "is no name of a hop: take letters, digits, - and _, at most 32 characters")
"""Raises `TypeError` for another type."""
checked_method = _checked(TOKEN.fullmatch, "is no method")
checked_target: Callable[[str], str] = _checked(
    _TARGET.fullmatch, 'is no request target, "/" and no spaces or control characters'
)
checked_text: Callable[[str], str] = _checked(
    lambda value: not NOT_IN_FIELD.search(value), "holds a CR, LF, NUL or lone surrogate"
)
"""A reason phrase, or the value of a header."""
checked_status: Callable[[int], int] = _checked(lambda n: 0 <= n <= 999, "its status has more than three digits")
"""From 0 to 999. A replay refuses those that HTTP does not allow."""


def checked_headers(value: Headers) -> Headers:
    """Return headers whose names are tokens and whose values pass `checked_text`."""
    _checked_names(tuple([name for name, _ in value]))
    checked_text("".join([text for _, text in value]))
    return value


@lru_cache(maxsize=256)  # a server sends the same fields with each response
def _checked_names(names: tuple[str, ...]) -> None:
    if not all(map(TOKEN.fullmatch, names)):
        raise ValueError("a name of the headers is no token")
