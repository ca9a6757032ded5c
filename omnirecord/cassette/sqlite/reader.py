"""Reads a cassette, and never writes one.

What the recorder had not got round to, or never will because it was killed, is derived here in memory: the frames
behind the stored ones, and the endings of exchanges that have none.

A file may hold anything. Every row passes `Store._checked`, and is made a value by one of the functions of `making`,
which check what they take: what does not fit is a `BrokenCassette`, never a traceback.
"""

from __future__ import annotations

import functools
import json
import logging
import sqlite3
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ...errors import BrokenCassette, TooLarge, UsageError
from ...model import (
    Columns,
    Exchange,
    Incident,
    Message,
    Read,
    Recording,
    Side,
    Streaming,
    TimedFrame,
)
from ...omnigent.contract import Contract, load
from ...omnigent.protocol import SESSION_CREATED, SESSION_STATUS
from ...wire.content_coding import decoded as decoded_content
from ...wire.headers import header
from ...wire.limits import AN_EVENT, MORE_MEMORY, max_decoded, shown_size
from ..framing import Framed, Framer
from .checked import (  # fmt: skip
    DAMAGED,
    PAGE,
    blob_of,
    count_of,
    ends_of,
    entries_of,
    exchange_of,
    family_of,
    incident_of,
    issues_of,
    limit_of,
    message_of,
    number_of,
    pair_of,
    payload_of,
    recording_of,
    streaming_of,
)
from .disk import clear_writing
from .lock import recorder_is_alive
from .rows import FRAMED, size_of
from .schema import clear_errors, is_aside, open_for_reading, remove_copy
from .stream_reads import (
    Content,
    Piece,
    Recent,
    decoded,
    from_byte,
    from_read,
    last_read_ns,
    outlined,
    portions,
    reads,
)
from .stream_rows import storable_type

log = logging.getLogger("omnirecord")
T = TypeVar("T")
_MOST_PAGES = 64
"""Whose frames are held for whoever asks for single ones."""
_LOOK = 32 << 20
"""What may be made, in the bytes that its frames cost, of all streams together to count the frames that no page has:
a list of streams takes a moment, whatever they decode to."""
_UNDECODED = "more may be recorded than is counted here: `omnirecord events` decodes all of it"


_EXCHANGE = (
    "SELECT exchange, recording, kind, stream, session_id, party, request_at_ns, method, target, request_headers,"
    " response_at_ns, end_ns, status, reason, response_headers, ending,"
    f" CASE WHEN end_ns IS NULL THEN {size_of('request')} ELSE request_bytes END,"
    f" CASE WHEN end_ns IS NULL THEN {size_of('response')} ELSE response_bytes END,"
    " EXISTS (SELECT 1 FROM recordings r WHERE r.recording = x.recording),"
    f" x.kind = 'sse' AND {size_of('response')} > {FRAMED} FROM exchanges x"
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


class Behind(NamedTuple):
    """What is behind the stored frames of a stream: how many frames of which verdict, how long these are, and the last
    `session.status` among them."""

    verdicts: Counter[str]
    size: int
    status: bytes | None


class Store:
    """The content of one cassette. Numbers in, frozen values out; large things come as iterators."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None = None) -> None:
        self._connection = connection
        self._path = path
        self._closed = False
        self._pages: dict[tuple[int, int], list[TimedFrame]] = {}
        self._behind: dict[int, Behind] = {}
        self._look = _LOOK
        self._told: set[int] = set()  # streams of which it was told that not all of them is decoded
        # One snapshot for all that is asked: the recorder turns chunks into frames beneath us.
        self.is_being_recorded = path is not None and recorder_is_alive(path)
        if not connection.in_transaction:
            connection.execute("BEGIN")

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open an SQLite cassette. Raises `CassetteError`."""
        return cls(open_for_reading(path), path)

    @property
    def is_copy(self) -> bool:
        """Whether a copy of the cassette is read, or what its text says: then the file is not held open."""
        return self._path is None or is_aside(self._connection)

    def refresh(self) -> None:
        """Look at what the file holds by now: what a recorder has written since is seen from here on."""
        if self._path is None:
            return
        self.is_being_recorded = recorder_is_alive(self._path)
        self._pages.clear()
        self._behind.clear()
        self._look = _LOOK
        with clear_errors(self._path):
            self._connection.rollback()
            if is_aside(self._connection):  # nobody may write in its folder, or it is an older one
                remove_copy(self._connection)
                self._connection = open_for_reading(self._path)
            self._connection.execute("BEGIN")

    def backup(self, copy: sqlite3.Connection, named: Path) -> None:
        """Copy the whole database, its log too. Raises `CassetteError`, and `UsageError` where the copy, which errors
        call `named`, cannot be written."""
        with clear_errors(self._path or "the cassette"), clear_writing(named):
            self._connection.backup(copy)

    def pseudonym_key(self) -> bytes | None:
        """The key of its pseudonyms that an older omnirecord stored in the cassette, if there is one."""
        return self._meta("pseudonyms")

    def pseudonyms_of(self) -> tuple[bytes, bytes] | None:
        """The salt from which the key of its pseudonyms is derived, and the mark of that key; None if it has none."""
        salt, mark = self._meta("pseudonym_salt"), self._meta("pseudonym_mark")
        return None if salt is None or mark is None else (salt, mark)

    def _meta(self, key: str) -> bytes | None:
        found = list(self._rows(blob_of, "SELECT value FROM meta WHERE key = ?", key))
        return found[0] if found else None

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._path is None:
            self._connection.close()
        else:
            remove_copy(self._connection)

    def recordings(self) -> list[Recording]:
        return list(self._rows(recording_of, "SELECT * FROM recordings ORDER BY recording"))

    def recording(self, number: int) -> Recording:
        found = list(self._rows(recording_of, "SELECT * FROM recordings WHERE recording = ?", number))
        if len(found) != 1:
            raise self._damaged(f"recording {number} is not there")
        return found[0]

    def exchanges(self, where: str = "1", *values: Any) -> list[Exchange]:
        """Exchanges in the order of their requests."""
        order = " ORDER BY recording, request_at_ns, exchange"
        make = functools.partial(exchange_of, alive=self.is_being_recorded)
        found = list(self._rows(make, f"{_EXCHANGE} WHERE {where}{order}", *values))
        return [self._settled(exchange, has_unframed) for exchange, has_unframed in found]

    def newer(self, exchange: int, known: Iterable[int] = ()) -> list[Exchange]:
        """Exchanges with a higher number, and those, in the order of their numbers: as the file has them by now.

        As much work as there are of them: bytes that no frames were made of yet are not looked at.
        """
        where = "exchange > ? OR exchange IN (SELECT value FROM json_each(?)) ORDER BY exchange"
        make = functools.partial(exchange_of, alive=self.is_being_recorded)
        found = self._rows(make, f"{_EXCHANGE} WHERE {where}", exchange, json.dumps(list(known)))
        return [one for one, _ in found]

    def _settled(self, x: Exchange, has_unframed: bool) -> Exchange:
        """`[DONE]` may be among the bytes that the recorder made no frames of any more."""
        looked_at = has_unframed and x.kind == "sse" and x.ending != "done" and (x.end_ns is None or not is_coded(x))
        return replace(x, ending="done") if looked_at and "sentinel" in self._counted(x).verdicts else x

    def streams(self, session_id: str | None = None) -> list[Exchange]:
        if session_id is None:
            return self.exchanges("kind = 'sse'")
        return self.exchanges("kind = 'sse' AND session_id = ?", session_id)

    def streaming(self, after: int = 0, also: Iterable[int] = ()) -> list[Streaming]:
        """The streams with a higher number than `after`, and these, in the order of their requests: as much work as
        there are of them."""
        query = (
            "SELECT stream, exchange, recording, session_id, end_ns IS NOT NULL,"
            " (request_at_ns, response_at_ns, end_ns) IS NOT (0, 0, 0) FROM exchanges"
            " WHERE kind = 'sse' AND (stream > ? OR stream IN (SELECT value FROM json_each(?)))"
            " ORDER BY recording, request_at_ns, stream"
        )
        return list(self._rows(streaming_of, query, after, json.dumps(list(also))))

    def posted(self) -> list[int]:
        """The numbers of what clients posted, and of requests that failed, in order."""
        query = (
            "SELECT exchange FROM exchanges WHERE (method = 'POST' OR status >= 400) AND party <> 'runner'"
            " ORDER BY recording, request_at_ns, exchange"
        )
        return list(self._rows(number_of, query))

    def numbered(self, exchanges: Iterable[int]) -> list[Exchange]:
        """Those with these numbers."""
        return self.exchanges("exchange IN (SELECT value FROM json_each(?))", json.dumps(list(exchanges)))

    def reads(self, exchange: int) -> list[Read]:
        """When a stream's bytes came, in order."""
        return list(self._checked(lambda: reads(self._connection, exchange)))

    def _size(self, exchange: Exchange) -> int:
        """How many bytes of a stream were read."""
        if exchange.end_ns is not None:
            return exchange.response_bytes
        query = "SELECT start + size FROM pieces WHERE exchange = ? ORDER BY n DESC LIMIT 1"
        return next(self._rows(number_of, query, exchange.exchange), 0)

    def lost(self, exchange: int) -> list[int]:
        """The numbers, from 0, of the reads of a coded stream whose bytes could not be kept."""
        lost = (piece for piece in self._pieces(exchange) if piece.data is None)
        return [number for piece in lost for number in range(piece.n, piece.next)]

    def _pieces(self, exchange: int, byte: int = 0) -> Iterator[Piece]:
        return self._checked(lambda: from_byte(self._connection, exchange, byte))

    def last_known_ns(self, recording: int) -> int:
        """When the last thing happened that a recording holds: what has no end there lasted until then at least."""
        query = (
            "SELECT coalesce(max(max(request_at_ns, coalesce(response_at_ns, 0), coalesce(end_ns, 0))), 0)"
            " FROM exchanges WHERE recording = ? UNION ALL SELECT coalesce(max(at_ns), 0) FROM messages"
            " WHERE exchange IN (SELECT exchange FROM exchanges WHERE recording = ? AND end_ns IS NULL)"
        )
        streams = "SELECT exchange FROM exchanges WHERE recording = ? AND end_ns IS NULL AND kind = 'sse'"
        known = self._rows(number_of, query, recording, recording)
        return max([*known, *map(self._last_read_ns, self._rows(number_of, streams, recording))], default=0)

    def _last_read_ns(self, exchange: int) -> int:
        return next(self._checked(lambda: iter([last_read_ns(self._connection, exchange)])))

    def messages(self, exchange: int) -> Iterator[Message]:
        query = (
            "SELECT exchange, message, at_ns, sent_ns, dir, opcode, data FROM messages WHERE exchange = ?"
            " ORDER BY message"
        )
        return self._rows(message_of, query, exchange)

    def incidents(self) -> list[Incident]:
        return list(self._rows(incident_of, "SELECT * FROM incidents ORDER BY recording, at_ns"))

    def body(self, exchange: int, side: Side) -> bytes:
        """A body as it was on the wire, but for redaction. Only for code that passes the bytes on with their header
        fields: code that reads a body takes `decoded_body`. For a stream, see `content`. Raises `TooLarge`."""
        query = "SELECT data FROM chunks WHERE exchange = ? AND side = ? ORDER BY start"
        parts, left = [], max_decoded()  # type: list[bytes], int
        for part in self._rows(blob_of, query, exchange, side):
            parts.append(part)
            if (left := left - len(part)) < 0:
                limit = shown_size(max_decoded())
                raise TooLarge(
                    f"the {side} body of exchange {exchange} has more than {limit} (--max-decoded): give a larger limit"
                )
        return b"".join(parts)

    def decoded_body(self, x: Exchange, side: Side) -> bytes:
        """The content of a body, its content codings removed, as far as it can be decoded. Empty for a stream, whose
        content is in its frames. Raises `TooLarge`."""
        if side == "response" and (x.stream is not None or x.response is None):
            return b""
        headers = x.request.headers if side == "request" or x.response is None else x.response.headers
        return decoded_content(self.body(x.exchange, side), header(headers, "content-encoding"))

    def wire(self, exchange: Exchange) -> bytes:
        """The bytes of a stream's body as they were on the wire: compressed, if the response was."""
        if not is_coded(exchange):
            return b"".join(self.content(exchange))
        return b"".join(piece.data for piece in self._pieces(exchange.exchange) if piece.data is not None)

    def content(self, exchange: Exchange) -> Iterator[bytes]:
        """The decoded bytes of a stream: its frames' `raw` and, while it goes on, the beginning of the next frame."""
        for frame in self.frames(exchange, unfinished=True):
            if frame.raw is not None:
                yield frame.raw

    def frames(self, exchange: Exchange, *, unfinished: bool = False, after: int = 0) -> Iterator[TimedFrame]:
        """The frames of a stream. `unfinished`: with the beginning of the next one, while the stream goes on.
        `after`: only those behind that `seq`."""
        stored, length = (0, 0) if after == 0 else self._stored(exchange)
        for frame in self.stored_frames(exchange, after):
            if after == 0:
                stored, length = frame.seq, length + frame.length
            yield frame
        for frame in self._derived(exchange, stored, length, unfinished):
            if frame.seq > after:
                yield frame

    def outline(self, exchange: Exchange) -> Iterator[TimedFrame]:
        """The frames of a stream without most of its deltas: see `outlined`. Costs a fraction of `frames`."""
        seq = length = 0
        number, stream = exchange.exchange, exchange.stream or 0
        found = outlined(self._connection, stream, lambda read, start: self._sources(number, read, start)[1])
        for part in self._checked(lambda: found):
            seq, length = max(seq, part.seq), max(length, part.end)
            yield from part.frames
        yield from self._derived(exchange, seq, length, False)

    def stored_frames(self, exchange: Exchange | Streaming, after: int = 0) -> Iterator[TimedFrame]:
        """The frames behind `after` that the recorder has made, and no others: as much work as there are of them."""
        return self._checked(lambda: self._stored_frames(exchange.exchange, exchange.stream or 0, after))

    def _stored_frames(self, exchange: int, stream: int, after: int) -> Iterator[TimedFrame]:
        query = (
            f"SELECT {PAGE} FROM pages WHERE stream = ?"
            " AND seq >= (SELECT coalesce(max(seq), 0) FROM pages WHERE stream = ? AND seq <= ?) ORDER BY seq"
        )
        times, content = None, None  # type: Content | None, Content | None
        for row in self._connection.execute(query, (stream, stream, after + 1)):
            if times is None or content is None:
                times, content = self._sources(exchange, row[3], row[2])
            first, entries = entries_of(row)
            for seq, (start, end, number, type_, verdict, more) in enumerate(entries, first):
                if seq <= after:
                    continue
                raw, issues = None, ()  # type: bytes | None, tuple[tuple[str, str], ...]
                if more is None or "lost" not in more:
                    raw = content.take(start, end)
                if more is not None:
                    issues = issues_of(more)
                read = times.read(number)
                yield TimedFrame(
                    stream, seq, read.offset_ns, read.sent_ns, raw, end - start, type_, verdict, issues
                )  # fmt: skip

    def columns(self, exchange: Exchange) -> Columns | None:
        """A stream as a whole; None where it has to be asked frame by frame, since something of it was not kept, is in
        no frame yet, or is compressed."""
        if is_coded(exchange):
            return None
        return next(self._checked(lambda: iter([self._columns(exchange.exchange, exchange.stream or 0)])))

    def _columns(self, exchange: int, stream: int) -> Columns | None:
        ends, times, sizes, data = array("q"), array("q"), array("q"), []
        for row in self._connection.execute(f"SELECT {PAGE} FROM pages WHERE stream = ? ORDER BY seq", (stream,)):
            first, start, more = ends_of(row)
            if (row[0], start) != (len(ends) + 1, ends[-1] if ends else 0) or more:
                return None
            ends.extend(first)
        for piece in from_byte(self._connection, exchange, 0):
            if piece.data is None:
                return None
            times.extend(piece.offset_ns + came for came in piece.came)
            sizes.extend(piece.sizes)
            data.append(piece.data)
        body = b"".join(data)
        if len(body) != (ends[-1] if ends else 0):
            return None
        return Columns(body, ends, array("q", accumulate(sizes)), times, sizes)

    def _sources(self, exchange: int, read: int, start: int) -> tuple[Content, Content]:
        """What knows the times of its reads, and what its bytes, from a page on."""
        times = Content(from_read(self._connection, exchange, read))
        query = "SELECT 1 FROM chunks WHERE exchange = ? AND side = 'content' LIMIT 1"
        if self._connection.execute(query, (exchange,)).fetchone() is None:
            return times, times
        return times, Content(decoded(self._connection, exchange, start))

    def frames_behind(self, stream: Streaming, after: int) -> Iterator[TimedFrame]:
        """Those behind `after`, for as much work as there are of them. While a stream is being recorded, what the
        recorder has made no frames of will be there soon; of one that is over it may never come to that."""
        for frame in self.stored_frames(stream, after):
            after = frame.seq
            yield frame
        if stream.is_over or not self.is_being_recorded:
            for exchange in self.numbered([stream.exchange]):
                yield from self.frames(exchange, after=after)

    def frame(self, exchange: Exchange, seq: int) -> TimedFrame | None:
        """The frame of a stream that has this number. Those of a page that was looked at before cost nothing more."""
        for found in self._checked(lambda: self._page_of(exchange.exchange, exchange.stream or 0, seq)):
            if found.seq == seq:
                return found
        derived = next(self.frames(exchange, after=seq - 1), None)
        return derived if derived is not None and derived.seq == seq else None

    def _page_of(self, exchange: int, stream: int, seq: int) -> list[TimedFrame]:
        query = "SELECT seq, frames FROM pages WHERE stream = ? AND seq <= ? ORDER BY seq DESC LIMIT 1"
        first, frames = self._connection.execute(query, (stream, seq)).fetchone() or (0, 0)
        if not first <= seq < first + frames:
            return []
        known = self._pages.pop((stream, first), None)
        if known is None:
            known = list(islice(self._stored_frames(exchange, stream, first - 1), frames))
        self._pages[stream, first] = known  # the last one that was looked at is the last to go
        while len(self._pages) > _MOST_PAGES:
            del self._pages[next(iter(self._pages))]
        return known[seq - first : seq - first + 1]

    def last_seq(self, exchange: Exchange | Streaming) -> int:
        """The number of the last frame that the recorder has made of a stream; 0 where there is none."""
        return self._stored(exchange)[0]

    def _derived(self, exchange: Exchange, stored: int, length: int, unfinished: bool) -> Iterator[TimedFrame]:
        """The frames behind the stored ones."""
        if self._is_framed(exchange, length):
            return
        framer = self._framer(exchange, length)
        yield from self._timed(exchange, framer, stored, length, unfinished)
        if framer.stopped_at is not None:
            self._tell(exchange, framer.broken or "")

    def _is_framed(self, exchange: Exchange, length: int) -> bool:
        """Whether all frames of a stream are stored, or all that the limit leaves."""
        if not is_coded(exchange):
            return self._size(exchange) == length
        stopped_at = self.stopped_at(exchange)
        if not stopped_at or stopped_at < max_decoded():
            return stopped_at == 0
        self._tell(exchange, f"decoded up to {shown_size(stopped_at)} of events, the limit when it was recorded")
        return True

    def stopped_at(self, exchange: Exchange) -> int | None:
        """The limit at which the recorder stopped to decode a stream; 0 where it decoded all, None where nothing says
        so."""
        query = "SELECT DISTINCT data FROM chunks WHERE exchange = ? AND side = 'framed'"
        limits = list(self._rows(limit_of, query, exchange.exchange))
        return 0 if 0 in limits else max(limits, default=None)

    def _tell(self, exchange: Exchange, what: str) -> None:
        """Of a stream that is not decoded to its end, once."""
        if exchange.exchange not in self._told:
            self._told.add(exchange.exchange)
            log.warning("stream %d: %s", exchange.stream, what)

    def _counted(self, exchange: Exchange) -> Behind:
        """What is behind the stored frames, as far as that may be looked at; remembered."""
        if exchange.exchange not in self._behind:
            stored, length = self._stored(exchange)
            verdicts, size, status = Counter[str](), 0, None  # type: Counter[str], int, bytes | None
            if not self._is_framed(exchange, length):
                framer = self._framer(exchange, length, self._look)
                left = self._look
                for frame in self._timed(exchange, framer, stored, length, unfinished=False):
                    left -= AN_EVENT + frame.length
                    if left < 0:
                        break
                    verdicts[frame.verdict] += 1
                    size += frame.length
                    status = frame.raw if frame.type == SESSION_STATUS else status
                self._look = max(0, min(left, self._look - framer.cost))
                if (left < 0 or framer.stopped_at is not None) and not self.is_being_recorded:
                    self._tell(exchange, _UNDECODED)
            self._behind[exchange.exchange] = Behind(verdicts, size, status)
        return self._behind[exchange.exchange]

    def _framer(self, exchange: Exchange, length: int, limit: int | None = None) -> Framer:
        contract = self.contract_of(exchange.recording)
        return Framer(content_encoding(exchange), contract, 0 if is_coded(exchange) else length, limit)

    def _timed(
        self, exchange: Exchange, framer: Framer, stored: int, length: int, unfinished: bool
    ) -> Iterator[TimedFrame]:
        offsets = Recent()
        for seq, framed in enumerate(self._reframed(exchange, framer, stored, length, unfinished, offsets), stored + 1):
            judgement, read = framed.judgement, offsets.of(framed.read)
            issues = tuple((issue.path, issue.message) for issue in judgement.issues)
            yield TimedFrame(
                exchange.stream or 0, seq, read.offset_ns, read.sent_ns, framed.frame.raw, framed.frame.length,
                storable_type(judgement.type), judgement.verdict, issues,
            )  # fmt: skip

    def _reframed(
        self, exchange: Exchange, framer: Framer, stored: int, length: int, unfinished: bool, offsets: Recent
    ) -> Iterator[Framed]:
        skip, byte = (stored, 0) if framer.decodes else (0, length)
        end = byte
        for piece in self._pieces(exchange.exchange, byte):
            offsets.add(piece)
            end = piece.end
            for fed in portions(framer, piece):
                yield from fed[skip:]  # type: ignore[misc]  # there are no runs
                skip = max(0, skip - len(fed))
            if framer.stopped_at is not None:
                return
        if end != self._size(exchange):
            raise self._damaged(f"stream {exchange.stream} lacks some of its reads")
        if unfinished or exchange.ending != "open":
            yield from framer.close()[skip:]

    def contract_of(self, recording: int) -> Contract:
        """The contract of a recording; the built-in one where it was made by the contract of a file."""
        return contract_or_default(self.recording(recording).contract)

    def begins(self) -> dict[tuple[int, str | int], int]:
        """When the first request of each session, and of each stream without one, came: in ns of its recording. The
        keys are the recording, and the id of the session or the number of the stream."""
        query = (
            "SELECT recording, coalesce(session_id, stream), min(request_at_ns) FROM exchanges WHERE kind = 'sse'"
            " OR (party != 'runner' AND session_id IS NOT NULL) GROUP BY 1, 2"
        )
        rows = self._checked(lambda: self._connection.execute(query).fetchall())
        return {(recording, name): at_ns for recording, name, at_ns in rows}

    def parents(self) -> dict[str, str]:
        """Session id to the id of the session that spawned it, as `session.created` told."""
        created = self._landmarks(SESSION_CREATED)
        return dict(
            filter(None, self._checked(lambda: (family_of(frame.raw) for frame in created if frame.verdict == "valid")))
        )

    def _landmarks(self, type_: str) -> Iterator[TimedFrame]:
        query = (
            "SELECT x.exchange, l.stream, l.seq FROM landmarks l JOIN exchanges x USING (stream) WHERE l.type = ?"
            " ORDER BY l.stream, l.seq"
        )

        def found() -> Iterator[TimedFrame]:
            for exchange, stream, seq in self._connection.execute(query, (type_,)):
                yield from islice(self._stored_frames(exchange, stream, seq - 1), 1)

        return self._checked(found)

    def last_status(self, exchange: Exchange) -> str | None:
        """The status that the last `session.status` of a stream gave."""
        query = "SELECT coalesce(max(seq), 0) FROM landmarks WHERE type = ? AND stream = ?"
        (seq,) = self._rows(number_of, query, SESSION_STATUS, exchange.stream)
        last = [frame.raw for frame in islice(self.stored_frames(exchange, seq - 1), 1)] if seq else []
        if (behind := self._counted(exchange).status) is not None:
            last.append(behind)
        payload = next(self._checked(lambda: [payload_of(last[-1])]), {}) if last else {}
        status = payload.get("status")
        return status if isinstance(status, str) else None

    def tally(self, exchange: Exchange) -> tuple[dict[str, int], int]:
        """How many frames of a stream have which verdict, and how many bytes they have together."""
        found = self._tallies(exchange)
        verdicts = Counter({verdict: count for verdict, count, _ in found})
        size = sum(length for _, _, length in found)
        behind = self._counted(exchange)
        return dict(verdicts + behind.verdicts), size + behind.size

    def heaviest(self) -> tuple[int, int]:
        """How many frames the compressed stream has that costs most to hold, as far as these are stored, and how many
        bytes of content."""
        query = (
            "SELECT sum(frames), sum(length) FROM tallies WHERE stream IN (SELECT stream FROM exchanges"
            " WHERE response_headers LIKE '%content-encoding%') GROUP BY stream"
            f" ORDER BY sum(length) + {AN_EVENT} * sum(frames) DESC LIMIT 1"
        )
        return next(self._rows(pair_of, query), (0, 0))

    def _stored(self, exchange: Exchange | Streaming) -> tuple[int, int]:
        """How many frames of a stream are stored, and how many bytes of content these hold."""
        query = "SELECT seq + frames - 1, start + length FROM pages WHERE stream = ? ORDER BY seq DESC LIMIT 1"
        return next(self._rows(pair_of, query, exchange.stream), (0, 0))

    def _tallies(self, exchange: Exchange) -> list[tuple[str, int, int]]:
        """Verdict, number and length of a stream's stored frames. Counted, where somebody has changed what is there."""
        query = "SELECT verdict, frames, length FROM tallies WHERE stream = ? ORDER BY verdict"
        found = list(self._rows(count_of, query, exchange.stream))
        if sum(count for _, count, _ in found) == self._stored(exchange)[0]:
            return found
        counted: dict[str, tuple[int, int]] = {}
        for frame in self.stored_frames(exchange):
            count, length = counted.get(frame.verdict, (0, 0))
            counted[frame.verdict] = count + 1, length + frame.length
        return [(verdict, *both) for verdict, both in counted.items()]

    def _rows(self, make: Callable[[Any], T], query: str, *values: Any) -> Iterator[T]:
        """The values that `make` makes of the rows."""
        return self._checked(lambda: map(make, self._connection.execute(query, values)))

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
        return BrokenCassette(
            f"{self._path or 'the cassette'} is damaged ({what:.300}): restore it from a copy, or from the .jsonl it"
            " was exported to"
        )


def content_encoding(exchange: Exchange) -> str | None:
    return header(exchange.response.headers, "content-encoding") if exchange.response else None


def is_coded(exchange: Exchange) -> bool:
    """Whether the response has a content coding, so that its wire bytes are kept beside its frames."""
    return (content_encoding(exchange) or "identity").strip().lower() != "identity"
