"""Reads a cassette, and never writes one.

What the recorder had not got round to, or never will because it was killed, is derived here in memory: the frames
behind the stored ones, and the endings of exchanges that have none.

A file may hold anything. Every row passes `Store._checked`, and is made a value by one of the functions at the end,
which check what they take: what does not fit is a `BrokenCassette`, never a traceback.
"""

from __future__ import annotations

import functools
import json
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ..cassette import (
    ENDINGS,
    KINDS,
    LIMIT,
    VERDICTS,
    Ending,
    Exchange,
    Headers,
    Incident,
    Message,
    Read,
    Recording,
    Request,
    Response,
    Side,
    TimedFrame,
    checked_headers,
    checked_method,
    checked_start,
    checked_status,
    checked_target,
    checked_text,
)
from ..contract import Contract, load
from ..errors import BrokenCassette, UsageError
from ..framing import Framed, Framer
from ..headers import header
from ..sse import read_fields
from .lock import recorder_is_alive
from .schema import clear_errors, open_for_reading, remove_copy
from .sizes import size_of
from .unframed import Position, Unframed, unframed

log = logging.getLogger("omnirecord")
T = TypeVar("T")

_DAMAGED = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError)
"""What a value that does not fit raises where it is looked at."""
_VERDICTS = frozenset(VERDICTS)

_EXCHANGE = (
    "SELECT exchange, recording, kind, stream, session_id, party, request_at_ns, method, target, request_headers,"
    " response_at_ns, end_ns, status, reason, response_headers, ending,"
    f" CASE WHEN end_ns IS NULL THEN {size_of('request')} ELSE request_bytes END,"
    f" CASE WHEN end_ns IS NULL THEN {size_of('response')} ELSE response_bytes END,"
    " EXISTS (SELECT 1 FROM recordings r WHERE r.recording = x.recording),"
    " EXISTS (SELECT 1 FROM chunks c WHERE c.exchange = x.exchange AND c.side = 'response') FROM exchanges x"
)


@functools.cache
def contract_or_default(name: str) -> Contract:
    """The contract by which a cassette is judged when it is read. A file names it, so it is no path to follow."""
    if name in ("omnigent", "documented"):
        return load(name)
    log.warning(
        "this cassette was judged by %.200r, which is not read from here: verdicts are by 'omnigent'; those that are"
        " stored stay as they are",
        name,
    )
    return load("omnigent")


class Store:
    """The content of one cassette. Numbers in, frozen values out; large things come as iterators."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None = None) -> None:
        self._connection = connection
        self._path = path
        self._closed = False
        # One snapshot for all that is asked: the recorder turns chunks into frames beneath us.
        self.is_being_recorded = path is not None and recorder_is_alive(path)
        if not connection.in_transaction:
            connection.execute("BEGIN")

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open an SQLite cassette. Raises `CassetteError`."""
        return cls(open_for_reading(path), path)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._path is None:
            self._connection.close()
        else:
            remove_copy(self._connection, self._path)

    def recordings(self) -> list[Recording]:
        return list(self._rows(_recording, "SELECT * FROM recordings ORDER BY recording"))

    def recording(self, number: int) -> Recording:
        found = list(self._rows(_recording, "SELECT * FROM recordings WHERE recording = ?", number))
        if len(found) != 1:
            raise self._damaged(f"recording {number} is not there")
        return found[0]

    def exchanges(self, where: str = "1", *values: Any) -> list[Exchange]:
        """Exchanges in the order of their requests."""
        order = " ORDER BY recording, request_at_ns, exchange"
        make = functools.partial(_exchange, alive=self.is_being_recorded)
        found = list(self._rows(make, f"{_EXCHANGE} WHERE {where}{order}", *values))
        return [self._settled(exchange, has_unframed) for exchange, has_unframed in found]

    def _settled(self, x: Exchange, has_unframed: bool) -> Exchange:
        """`[DONE]` may be among the bytes that the recorder made no frames of any more."""
        looked_at = has_unframed and x.kind == "sse" and x.ending != "done" and (x.end_ns is None or not is_coded(x))
        behind = self._derived(x, *self._stored(x), unfinished=False) if looked_at else ()
        return replace(x, ending="done") if any(frame.verdict == "sentinel" for frame in behind) else x

    def streams(self, session_id: str | None = None) -> list[Exchange]:
        if session_id is None:
            return self.exchanges("kind = 'sse'")
        return self.exchanges("kind = 'sse' AND session_id = ?", session_id)

    def reads(self, exchange: int) -> list[Read]:
        """When a stream's bytes came, in order."""
        query = "SELECT offset_ns, sent_ns, size FROM reads WHERE exchange = ? ORDER BY n"
        return list(self._rows(_read, query, exchange))

    def lost(self, exchange: int) -> list[int]:
        """The numbers, from 0, of the reads of a coded stream whose bytes could not be kept."""
        return [part.read for part in self._unframed(exchange, Position()) if part.data is None]

    def messages(self, exchange: int) -> Iterator[Message]:
        query = (
            "SELECT exchange, message, at_ns, sent_ns, dir, opcode, data FROM messages WHERE exchange = ?"
            " ORDER BY message"
        )
        return self._rows(_message, query, exchange)

    def incidents(self) -> list[Incident]:
        return list(self._rows(_incident, "SELECT * FROM incidents ORDER BY recording, at_ns"))

    def body(self, exchange: int, side: Side) -> bytes:
        """A body as it was on the wire, but for redaction. For a stream, see `content`."""
        query = "SELECT data FROM chunks WHERE exchange = ? AND side = ? ORDER BY start"
        return b"".join(self._rows(_blob, query, exchange, side))

    def wire(self, exchange: Exchange) -> bytes:
        """The bytes of a stream's body as they were on the wire: compressed, if the response was."""
        return self.body(exchange.exchange, "response") if is_coded(exchange) else b"".join(self.content(exchange))

    def content(self, exchange: Exchange) -> Iterator[bytes]:
        """The decoded bytes of a stream: its frames' `raw` and, while it goes on, the beginning of the next frame."""
        for frame in self.frames(exchange, unfinished=True):
            if frame.raw is not None:
                yield frame.raw

    def frames(self, exchange: Exchange, *, unfinished: bool = False) -> Iterator[TimedFrame]:
        """The frames of a stream. `unfinished`: with the beginning of the next one, while the stream goes on."""
        assert exchange.stream is not None
        query = (
            "SELECT f.stream, f.seq, r.offset_ns, r.sent_ns, f.raw, f.length, f.type, f.verdict, f.issues FROM frames f"
            " JOIN reads r ON r.exchange = ? AND r.n = f.read WHERE f.stream = ? ORDER BY f.seq"
        )
        stored = length = 0
        for frame in self._rows(_frame, query, exchange.exchange, exchange.stream):
            stored, length = frame.seq, length + frame.length
            yield frame
        yield from self._derived(exchange, stored, length, unfinished)

    def _derived(self, exchange: Exchange, stored: int, length: int, unfinished: bool) -> Iterator[TimedFrame]:
        """The frames behind the stored ones."""
        reads = self.reads(exchange.exchange)
        if not is_coded(exchange) and sum(read.size for read in reads) == length:
            return
        for seq, framed in enumerate(self._reframed(exchange, stored, length, unfinished), stored + 1):
            if framed.read >= len(reads):
                raise self._damaged(f"stream {exchange.stream} lacks some of its reads")
            judgement, read = framed.judgement, reads[framed.read]
            issues = tuple((issue.path, issue.message) for issue in judgement.issues)
            yield TimedFrame(
                exchange.stream or 0, seq, read.offset_ns, read.sent_ns, framed.frame.raw, framed.frame.length,
                judgement.type, judgement.verdict, issues,
            )  # fmt: skip

    def _reframed(self, exchange: Exchange, stored: int, length: int, unfinished: bool) -> Iterator[Framed]:
        coded = is_coded(exchange)
        skip, position = (stored, Position()) if coded else (0, Position(byte=length))
        contract = self.contract_of(exchange.recording)
        framer = Framer(content_encoding(exchange), contract, 0 if coded else length)
        for part in self._unframed(exchange.exchange, position):
            fed = framer.skip(part.read, part.size) if part.data is None else framer.feed(part.read, part.data)
            yield from fed[skip:]
            skip = max(0, skip - len(fed))
        if unfinished or exchange.ending != "open":
            yield from framer.close()[skip:]

    def contract_of(self, recording: int) -> Contract:
        """The contract of a recording; the built-in one where it was made by the contract of a file."""
        return contract_or_default(self.recording(recording).contract)

    def parents(self) -> dict[str, str]:
        """Session id to the id of the session that spawned it, as `session.created` told."""
        query = "SELECT raw FROM frames WHERE type = 'session.created' AND verdict = 'valid'"
        return dict(filter(None, self._rows(_family, query)))

    def last_status(self, exchange: Exchange) -> str | None:
        """The status that the last `session.status` of a stream gave."""
        query = "SELECT raw FROM frames WHERE type = 'session.status' AND stream = ? ORDER BY seq DESC LIMIT 1"
        last = list(self._rows(_payload, query, exchange.stream))
        behind = self._derived(exchange, *self._stored(exchange), unfinished=False)
        last += [_payload((frame.raw,)) for frame in behind if frame.type == "session.status"]
        status = last[-1].get("status") if last else None
        return status if isinstance(status, str) else None

    def tally(self, exchange: Exchange) -> tuple[dict[str, int], int]:
        """How many frames of a stream have which verdict, and how many bytes they have together."""
        query = "SELECT verdict, count(*), sum(length) FROM frames WHERE stream = ? GROUP BY verdict ORDER BY verdict"
        found = list(self._rows(_count, query, exchange.stream))
        verdicts = Counter({verdict: count for verdict, count, _ in found})
        size = sum(length for _, _, length in found)
        for frame in self._derived(exchange, verdicts.total(), size, unfinished=False):
            verdicts[frame.verdict] += 1
            size += frame.length
        return dict(verdicts), size

    def _stored(self, exchange: Exchange) -> tuple[int, int]:
        query = "SELECT count(*), coalesce(sum(length), 0) FROM frames WHERE stream = ?"
        ((_, frames, length),) = self._rows(_count, query, exchange.stream)
        return frames, length

    def _rows(self, make: Callable[[Any], T], query: str, *values: Any) -> Iterator[T]:
        """The values that `make` makes of the rows."""
        return self._checked(lambda: map(make, self._connection.execute(query, values)))

    def _unframed(self, exchange: int, position: Position) -> Iterator[Unframed]:
        return self._checked(lambda: map(_part, unframed(self._connection, exchange, position)))

    def _checked(self, found: Callable[[], Iterable[T]]) -> Iterator[T]:
        """What comes out of the file, with a clear error for what is wrong with it."""
        values: Iterator[T] | None = None
        while True:
            try:
                if self._closed:
                    raise UsageError("this cassette is closed")
                if values is None:
                    values = iter(found())
                value = next(values)
            except StopIteration:
                return
            except (sqlite3.Error, OSError):
                with clear_errors(self._path or "the cassette"):
                    raise
            except _DAMAGED as error:
                raise self._damaged(str(error) or type(error).__name__) from error
            yield value

    def _damaged(self, what: str) -> BrokenCassette:
        return BrokenCassette(
            f"{self._path or 'the cassette'} is damaged ({what:.300}): restore it from a copy, or from the .jsonl it"
            " was exported to"
        )


def content_encoding(exchange: Exchange) -> str | None:
    return header(exchange.response.headers, "content-encoding") if exchange.response else None


def is_coded(exchange: Exchange) -> bool:
    """Whether the response has a content coding, so that its wire bytes are kept beside its frames."""
    return (content_encoding(exchange) or "identity").strip().lower() != "identity"


def _recording(row: Any) -> Recording:
    number, started_at, version, contract, upstream = row
    return Recording(
        _int(number, "a recording's number"), checked_start(_str(started_at, "started_at")),
        _str(version, "version"), _str(contract, "contract"), _str_or_none(upstream, "upstream"),
    )  # fmt: skip


def _exchange(row: Any, alive: bool) -> tuple[Exchange, bool]:
    """An exchange, and whether bytes of its response are in no frame."""
    (number, recording, kind, stream, session_id, party, at_ns, method, target, headers) = row[:10]
    (response_at, end_ns, status, reason, response_headers, ending, sent, received, is_recorded, has_unframed) = row[
        10:
    ]
    if not is_recorded:
        raise ValueError(f"the recording of exchange {number} is not there")
    if kind not in KINDS or (kind == "sse") is not (stream is not None) or (kind == "sse" and status is None):
        raise ValueError(f"exchange {number} is neither a stream nor anything else")
    if ending is not None and ending not in ENDINGS:
        raise ValueError(f"exchange {number} has an ending that is none")
    end_ns = _int_or_none(end_ns, "end_ns")
    request = Request(
        _int(at_ns, "request_at_ns"), checked_method(_str(method, "method")), checked_target(_str(target, "target")),
        _headers(headers),
    )  # fmt: skip
    response = None
    if status is not None:
        response = Response(
            _int(response_at, "response_at_ns"), end_ns, checked_status(_int(status, "status")),
            checked_text(_str(reason, "reason")), _headers(response_headers),
        )  # fmt: skip
    unfinished: Ending = "open" if alive else "recorder_killed"
    exchange = Exchange(
        _int(number, "an exchange's number"), _int(recording, "recording"), kind, _int_or_none(stream, "stream"),
        _str_or_none(session_id, "session_id"), _str(party, "party"), request, response, ending or unfinished,
        _size(sent, "request_bytes"), _size(received, "response_bytes"), end_ns,
    )  # fmt: skip
    return exchange, bool(has_unframed)


def _headers(text: Any) -> Headers:
    return checked_headers(_pairs(text, "headers"))


def _pairs(text: Any, what: str) -> tuple[tuple[str, str], ...]:
    value = json.loads(_str(text, what))
    if type(value) is not list:
        raise ValueError(f"{what}: no list")
    for pair in value:
        if type(pair) is not list or len(pair) != 2 or type(pair[0]) is not str or type(pair[1]) is not str:
            raise ValueError(f"{what}: no list of pairs of text")
    return tuple((one, other) for one, other in value)


def _read(row: Any) -> Read:
    offset, sent, size = row
    return Read(_int(offset, "offset_ns"), _int_or_none(sent, "sent_ns"), _size(size, "a read's size"))


def _part(part: Unframed) -> Unframed:
    _size(part.read, "a read's number")
    _size(part.size, "a read's size")
    if part.data is not None:
        _blob((part.data,))
    return part


def _frame(row: Any) -> TimedFrame:
    stream, seq, offset, sent, raw, length, type_, verdict, issues = row
    if type(seq) is not int or type(verdict) is not str or verdict not in _VERDICTS:
        raise ValueError("a frame's seq or verdict is none")
    return TimedFrame(
        stream, seq, _int(offset, "offset_ns"), None if sent is None else _int(sent, "sent_ns"),
        None if raw is None else _bytes(raw), _size(length, "a frame's length"),
        _str_or_none(type_, "a frame's type"), verdict, _pairs(issues, "issues") if issues else (),
    )  # fmt: skip


def _message(row: Any) -> Message:
    exchange, number, at_ns, sent_ns, dir, opcode, data = row
    if dir not in ("up", "down"):
        raise ValueError("a message's dir is neither up nor down")
    return Message(
        exchange, _int(number, "a message's number"), _int(at_ns, "at_ns"), _int_or_none(sent_ns, "sent_ns"),
        dir, _size(opcode, "opcode"), b"" if data is None else _bytes(data),
    )  # fmt: skip


def _incident(row: Any) -> Incident:
    recording, at_ns, message = row
    return Incident(_int(recording, "recording"), _int(at_ns, "at_ns"), _str(message, "an incident's message"))


def _count(row: Any) -> tuple[str, int, int]:
    """How many frames, and how long they are together; before that, of which verdict."""
    verdict, count, length = row if len(row) == 3 else ("valid", *row)
    if verdict not in _VERDICTS:
        raise ValueError("a frame's verdict is none")
    return verdict, _size(count, "frames"), _size(length, "the length of frames")


def _blob(row: Any) -> bytes:
    (data,) = row
    if type(data) is not bytes:
        raise TypeError(f"a body's bytes: a {type(data).__name__}")
    return data


def _int(value: Any, what: str) -> int:
    if type(value) is not int or not -LIMIT < value < LIMIT:
        raise TypeError(f"{what}: no number, or too large a one")
    return value


def _size(value: Any, what: str) -> int:
    if type(value) is not int or not 0 <= value < LIMIT:
        raise TypeError(f"{what}: no size")
    return value


def _int_or_none(value: Any, what: str) -> int | None:
    return None if value is None else _int(value, what)


def _str(value: Any, what: str) -> str:
    if type(value) is not str:
        raise TypeError(f"{what}: no text")
    return value


def _str_or_none(value: Any, what: str) -> str | None:
    return None if value is None else _str(value, what)


def _bytes(value: Any) -> bytes:
    if type(value) is str:
        return value.encode()
    if type(value) is not bytes:
        raise TypeError(f"bytes: a {type(value).__name__}")
    return value


def _payload(row: Any) -> dict[str, Any]:
    """The JSON object in the `raw` that is the one value of a row."""
    (raw,) = row
    data = None if raw is None else read_fields(_bytes(raw)).data
    payload = json.loads(data) if data else None
    return payload if isinstance(payload, dict) else {}


def _family(row: Any) -> tuple[str, str] | None:
    payload = _payload(row)
    child, parent = payload.get("child_session_id"), payload.get("conversation_id")
    return (child, parent) if isinstance(child, str) and isinstance(parent, str) else None
