"""Reads the tables of a cassette: recordings, exchanges, messages, bodies. Never writes.

A file may hold anything. Every row passes `Tables._checked`, and a function of `checked` converts it to a value. An
invalid value raises `BrokenCassette`, never a traceback.
"""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from ...contract.judge import Contract
from ...errors import BrokenCassette, TooLarge, UsageError
from ...model import Exchange, Headers, Incident, Message, Read, Recording, Request, Response, Side, Streaming
from ...wire.content_coding import decoded as decoded_content
from ...wire.headers import header
from ...wire.limits import AN_EVENT, MORE_MEMORY, max_decoded, shown_size
from ..contracts import judge_of, of_recording
from ..files import folder_for, pieces_of, temporary
from . import checked, journal
from .checked import DAMAGED
from .connection import clear_errors, clear_writing, damaged
from .lock import recorder_is_alive
from .opening import is_aside, open_for_reading, remove_copy
from .rows import FRAMED, GIVEN_KEY, PART_KEY, size_of
from .schema import forget_key, is_named_as_now
from .stream_reads import ReadBlock, from_byte, reads

T = TypeVar("T")
_RECORDING = (
    "SELECT recording, started_at, version, contract, upstream, coalesce(recording_id, derived_id(recording)), run_id,"
    f" labels, server_version, hop, (SELECT value FROM meta WHERE key = '{GIVEN_KEY}' || recording) FROM recordings"
)
EXCHANGE = (
    "SELECT exchange, recording, kind, stream, session_id, party, request_at_ns, method, target, request_headers,"
    " response_at_ns, end_ns, status, reason, response_headers, ending,"
    f" CASE WHEN end_ns IS NULL THEN {size_of('request')} ELSE request_bytes END,"
    f" CASE WHEN end_ns IS NULL THEN {size_of('response')} ELSE response_bytes END,"
    " EXISTS (SELECT 1 FROM recordings r WHERE r.recording = x.recording),"
    f" CASE WHEN x.kind = 'sse' THEN {size_of('response')} > {FRAMED} ELSE 0 END,"
    " EXISTS (SELECT 1 FROM chunks c WHERE c.exchange = x.exchange AND c.side = 'cut'),"
    " (SELECT start FROM chunks c WHERE c.exchange = x.exchange AND c.side = 'answered_from'),"
    " EXISTS (SELECT 1 FROM chunks c WHERE c.exchange = x.exchange AND c.side = 'replaced') FROM exchanges x"
)

_BLOCKS = 8
"""How many blocks of reads one query gets. Memory holds them."""


class Tables:
    """The tables of one cassette, read in one transaction. All returned values are frozen."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None = None, *, follows: bool = False) -> None:
        self._connection = connection
        self._path = path
        self._follows = follows
        self._closed = False
        self._known_recordings: dict[int, Recording] = {}
        self._all_recordings: list[Recording] | None = None
        self.is_being_recorded = path is not None and recorder_is_alive(path)
        self._begin()

    @classmethod
    def open(cls, path: Path, *, follows: bool = False) -> Self:
        """Open an SQLite cassette. `follows`: while it is recorded, a `Tail` reads the journal. Raises
        `CassetteError`."""
        return cls(open_for_reading(path), path, follows=follows)

    def refresh(self) -> None:
        """Begin a new transaction, which sees the rows that a recorder has written since. Raises `CassetteError`."""
        self._known_recordings.clear()
        self._all_recordings = None
        if self._path is None:
            return
        self.is_being_recorded = recorder_is_alive(self._path)
        with clear_errors(self._path):
            self._connection.rollback()
            if is_aside(self._connection) or is_named_as_now(self._connection):  # read-only folder, or older format
                remove_copy(self._connection)
                self._connection = open_for_reading(self._path)
        self._begin()

    def _begin(self) -> None:
        """Begin a transaction, in which all queries see the reads that are in the journal only."""
        connection = self._connection
        is_begun = connection.in_transaction
        has_journal = next(self._checked(lambda: [journal.has_entries(connection)]))  # leaves the file unlocked
        if not is_begun:
            connection.execute("BEGIN")
        if has_journal and not (self._follows and self.is_being_recorded):
            for _ in self._checked(lambda: journal.join(connection)):
                pass

    def close(self) -> None:
        """Close the cassette; later calls raise `UsageError`."""
        if self._closed:
            return
        self._closed = True
        remove_copy(self._connection)

    @property
    def is_copy(self) -> bool:
        """Whether the data is a copy in memory or elsewhere, so that the file itself is not open."""
        return self._path is None or is_aside(self._connection)

    def database_bytes(self, output: Path | None) -> Iterator[bytes]:
        """Yield the bytes of the cassette as one database file without a log. The copy is made beside `output`, or in
        the temporary folder. Raises `CassetteError`, and `UsageError` if no copy can be made."""
        named = temporary() if output is None else output
        with folder_for(output, "packed") as folder:
            made = Path(folder) / "copy.db"
            with (
                closing(sqlite3.connect(made, isolation_level=None)) as copy,
                clear_errors(self._path or "the cassette"),
                clear_writing(named),
            ):
                self._connection.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE").fetchone()
                forget_key(copy)
            yield from pieces_of(made)

    def pseudonym_key(self) -> bytes | None:
        """Return the pseudonym key that an older omnirecord stored in the cassette, or None."""
        return self._meta("pseudonyms")

    def pseudonyms_of(self) -> tuple[bytes, bytes] | None:
        """Return the salt of the pseudonym key and the mark of that key, or None."""
        salt = self._meta("pseudonym_salt")
        mark = self._meta("pseudonym_mark")
        return None if salt is None or mark is None else (salt, mark)

    def is_part(self, recording: int) -> bool:
        """Whether exchanges of the recorded recording are left out here, as in an exported session."""
        return bool(list(self._rows(checked.number_of, "SELECT 1 FROM meta WHERE key = ?", f"{PART_KEY}{recording}")))

    def _meta(self, key: str) -> bytes | None:
        return next(self._rows(checked.blob_of, "SELECT value FROM meta WHERE key = ?", key), None)

    def recordings(self) -> list[Recording]:
        """Return all recordings, by number, read once."""
        if self._all_recordings is None:
            self._all_recordings = list(self._rows(checked.recording_of, f"{_RECORDING} ORDER BY recording"))
        return list(self._all_recordings)

    def recording(self, number: int) -> Recording:
        """Return the recording with this number, read once. Raises `BrokenCassette` if it is missing."""
        if number not in self._known_recordings:
            found = list(self._rows(checked.recording_of, f"{_RECORDING} WHERE recording = ?", number))
            if len(found) != 1:
                raise self._damaged(f"recording {number} is missing")
            self._known_recordings[number] = found[0]
        return self._known_recordings[number]

    def derived_id(self, number: int) -> str:
        """Return the id of a recording that follows from its content. Raises `BrokenCassette` if it is missing."""
        return next(self._rows(checked.text_of, "SELECT derived_id(?)", number))

    def contract_of(self, recording: int) -> Contract:
        """Return the contract of a recording. `Contract.of` returns that of one exchange."""
        return of_recording(self.recording(recording))

    def judge_of(self, x: Exchange) -> Contract:
        """Return the contract that judges an exchange."""
        return judge_of(self.recording(x.recording), x)

    def newer(self, exchange: int, known: Iterable[int] = ()) -> list[Exchange]:
        """Return the exchanges after number `exchange`, and the `known` ones, by number, in their current state. The
        work is proportional to the number of these exchanges: bytes without frames are not parsed."""
        where = "exchange > ? OR exchange IN (SELECT value FROM json_each(?)) ORDER BY exchange"
        found = self._exchange_rows(where, exchange, json.dumps(list(known)))
        return [one for one, _ in found]

    def _exchange_rows(self, where: str, *values: Any) -> Iterator[tuple[Exchange, bool]]:
        """Yield the exchanges, each with whether some bytes of its response are in no frame."""
        make = functools.partial(checked.exchange_of, alive=self.is_being_recorded, headers=self._headers_of)
        return self._rows(make, f"{EXCHANGE} WHERE {where}", *values)

    def _headers_of(self, text: str) -> Headers:
        """Return the headers in a text of the file. Raises `BrokenCassette`, even after `close`."""
        try:
            return checked.headers_of(text)
        except DAMAGED as error:
            raise self._damaged(str(error)) from error

    def ended(self, what: Literal["exchange", "stream"], numbers: Iterable[int]) -> list[int]:
        """Return those of these exchanges or streams that have ended."""
        query = f"SELECT {what} FROM exchanges WHERE end_ns IS NOT NULL AND {what} IN (SELECT value FROM json_each(?))"
        return list(self._rows(checked.number_of, query, json.dumps(list(numbers))))

    def newest(self) -> int:
        """Return the highest number of an exchange; 0 if there is none."""
        return next(self._rows(checked.number_of, "SELECT coalesce(max(exchange), 0) FROM exchanges"), 0)

    def open_at(self, recording: int, at_ns: int) -> set[int]:
        """Return the numbers of a recording's exchanges that begin or end at `at_ns` or later, in ns."""
        query = "SELECT exchange FROM exchanges WHERE recording = ? AND (request_at_ns >= ? OR end_ns >= ?)"
        return set(self._rows(checked.number_of, query, recording, at_ns, at_ns))

    def streaming(self, after: int = 0, also: Iterable[int] = ()) -> list[Streaming]:
        """Return the streams after number `after`, and those in `also`, in the order of their requests. The work is
        proportional to the number of these streams."""
        query = (
            "SELECT stream, exchange, recording, session_id, end_ns IS NOT NULL,"
            " (request_at_ns, response_at_ns, end_ns) IS NOT (0, 0, 0) FROM exchanges"
            " WHERE kind = 'sse' AND (stream > ? OR stream IN (SELECT value FROM json_each(?)))"
            " ORDER BY recording, request_at_ns, stream"
        )
        return list(self._rows(checked.streaming_of, query, after, json.dumps(list(also))))

    def posted(self) -> list[int]:
        """Return the numbers of the POST requests and failed requests of clients, in order."""
        query = (
            "SELECT exchange FROM exchanges WHERE (method = 'POST' OR status >= 400) AND party <> 'runner'"
            " ORDER BY recording, request_at_ns, exchange"
        )
        return list(self._rows(checked.number_of, query))

    def reads(self, exchange: int) -> list[Read]:
        """Return the reads of a stream, in order."""
        return list(self._checked(lambda: reads(self._connection, exchange)))

    def _size(self, exchange: Exchange) -> int:
        if exchange.end_ns is not None:
            return exchange.response_bytes
        query = "SELECT start + size FROM read_blocks WHERE exchange = ? ORDER BY n DESC LIMIT 1"
        return next(self._rows(checked.number_of, query, exchange.exchange), 0)

    def lost(self, exchange: int) -> list[int]:
        """Return the numbers, from 0, of the reads of a coded stream whose bytes are lost."""
        lost = (block for block in self._blocks(exchange) if block.data is None)
        return [number for block in lost for number in range(block.n, block.next)]

    def _blocks(self, exchange: int, byte: int = 0) -> Iterator[ReadBlock]:
        """Yield the reads after the first `byte` bytes. No query is open in between, so that a reader may `refresh`
        while it goes through a stream."""
        row = None
        while some := self._some_blocks(exchange, byte, row):
            yield from some
            byte = some[-1].end
            row = some[-1].next

    def _some_blocks(self, exchange: int, byte: int, row: int | None) -> list[ReadBlock]:
        """Return the next few blocks; `row` as in `from_byte`."""
        found = self._checked(lambda: from_byte(self._connection, exchange, byte, row))
        return list(islice(found, _BLOCKS))

    def last_known_ns(self, recording: int) -> int:
        """Return the time of the last event in a recording, in ns. Open exchanges lasted at least until then."""
        query = (
            "SELECT coalesce(max(at_ns), 0) FROM messages"
            " WHERE exchange IN (SELECT exchange FROM exchanges WHERE recording = ? AND end_ns IS NULL)"
        )
        last = (
            "SELECT r.n, r.start, r.size, r.offset_ns, r.reads, NULL FROM exchanges x JOIN read_blocks r"
            " ON r.exchange = x.exchange AND r.n = (SELECT max(n) FROM read_blocks WHERE exchange = x.exchange)"
            " WHERE x.recording = ? AND x.end_ns IS NULL AND x.kind = 'sse'"
        )
        messages = self._rows(checked.number_of, query, recording)
        reads = self._rows(checked.last_arrival_of, last, recording)
        return max([self.last_exchange_ns(recording), *messages, *reads])

    def last_exchange_ns(self, recording: int) -> int:
        """Return the last time in the exchanges of a recording, in ns; at least 0."""
        query = (
            "SELECT max(0, coalesce(max(max(request_at_ns, coalesce(response_at_ns, 0), coalesce(end_ns, 0))), 0))"
            " FROM exchanges WHERE recording = ?"
        )
        return next(self._rows(checked.number_of, query, recording))

    def messages(self, exchange: int) -> Iterator[Message]:
        """Yield the messages of a WebSocket, in order."""
        query = (
            "SELECT exchange, message, at_ns, sent_ns, dir, opcode, data FROM messages WHERE exchange = ?"
            " ORDER BY message"
        )
        return self._rows(checked.message_of, query, exchange)

    def incidents(self) -> list[Incident]:
        """Return the incidents, by recording and time."""
        return list(self._rows(checked.incident_of, "SELECT * FROM incidents ORDER BY recording, at_ns"))

    def body(self, exchange: int, side: Side) -> bytes:
        """Return a body as it was on the wire, with secrets redacted. Raises `TooLarge`. Only for code that passes the
        bytes on with their headers: code that reads a body calls `decoded_body`. For a stream, call `content`."""
        query = "SELECT data FROM chunks WHERE exchange = ? AND side = ? ORDER BY start"
        parts: list[bytes] = []
        left = max_decoded()
        for part in self._rows(checked.blob_of, query, exchange, side):
            parts.append(part)
            if (left := left - len(part)) < 0:
                limit = shown_size(max_decoded())
                what = f"the {side} body of exchange {exchange}"
                raise TooLarge(f"{what} has more than {limit} (--max-decoded): give a larger limit")
        return b"".join(parts)

    def decoded_body(self, x: Exchange, side: Side) -> bytes:
        """Return a body without its content codings, as far as it can be decoded. Raises `TooLarge`. It is empty for a
        stream, whose content is in its frames."""
        if side == "response" and (x.stream is not None or x.response is None):
            return b""
        head = x.request if side == "request" or x.response is None else x.response
        return decoded_content(self.body(x.exchange, side), _coding_of(head))

    def begins(self) -> dict[tuple[int, str | int], int]:
        """Return the first request of each session, and of each stream without a session, in ns of its recording. The
        keys are the recording, and the id of the session or the number of the stream."""
        query = (
            "SELECT recording, coalesce(session_id, stream), min(request_at_ns) FROM exchanges WHERE kind = 'sse'"
            " OR (party != 'runner' AND session_id IS NOT NULL) GROUP BY 1, 2"
        )
        return {(recording, name): at_ns for recording, name, at_ns in self._rows(tuple, query)}

    def heaviest(self) -> tuple[int, int]:
        """Return the stored frames and content bytes of the compressed stream that needs the most memory."""
        query = (
            "SELECT sum(frames), sum(length) FROM tallies WHERE stream IN (SELECT stream FROM exchanges"
            " WHERE response_headers LIKE '%content-encoding%') GROUP BY stream"
            f" ORDER BY sum(length) + {AN_EVENT} * sum(frames) DESC LIMIT 1"
        )
        return next(self._rows(checked.pair_of, query), (0, 0))

    def _rows(self, make: Callable[[Any], T], query: str, *values: Any) -> Iterator[T]:
        return self._checked(lambda: map(make, self._connection.execute(query, values)))

    def _checked(self, found: Callable[[], Iterable[T]]) -> Iterator[T]:
        """Yield the values from the file. Raises `CassetteError` or `UsageError` instead of low-level errors."""
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
            except (sqlite3.Error, OSError, MemoryError, *DAMAGED) as error:
                raise self._clear(error) from error
            yield value

    def _clear(self, error: Exception) -> Exception:
        if isinstance(error, MemoryError):
            return TooLarge(f"there is not enough memory to read {self._path or 'the cassette'}: {MORE_MEMORY}")
        if not isinstance(error, (sqlite3.Error, OSError)):
            return self._damaged(str(error) or type(error).__name__)
        try:
            with clear_errors(self._path or "the cassette"):
                raise error
        except Exception as clear:
            return clear

    def _damaged(self, what: str) -> BrokenCassette:
        return damaged(self._path, what[:300])


def content_encoding(exchange: Exchange) -> str | None:
    return None if exchange.response is None else _coding_of(exchange.response)


def _coding_of(head: Request | Response) -> str | None:
    return None if head.lacks("content-encoding") else header(head.headers, "content-encoding")


def is_coded(exchange: Exchange) -> bool:
    """Whether the response has a content coding. Its wire bytes are then stored beside its frames."""
    return (content_encoding(exchange) or "identity").strip().lower() != "identity"
