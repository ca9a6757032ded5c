"""The parts of a session tree, each of one recording of a lake, as values of the text form.

Recorders behind a load balancer overlap in time. The parts of a session in such recordings become one recording, on the
clock of the first one: the requests and streams then have one order, so that the session can be replayed.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from heapq import merge
from itertools import islice, repeat
from operator import gt
from typing import Any

from ..cassette.jsonl import exchange_value, message_value, reads_values, recording_value
from ..model import Exchange, Message, Recording, Request, Response
from ..wire.json_bytes import bytes_to_json
from .event_rows import Times, derived_reads
from .layout import EPOCH, start_of
from .query import LakeQuery
from .scan import tuples

COLUMNS = (
    "recording_id",
    "recording",
    "started_at_text",
    "version",
    "contract",
    "upstream",
    "run_id",
    "labels",
    "server_version",
    "hop",
    "exchanges",
    "contract_given",
)
"""The columns of `recordings` that a part needs."""


def head_of(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the recording of these parts: that of the first one, with the labels that all of them have."""
    first = parts[0]
    recording_id, _, started_at, version, contract, upstream, run_id, _, *more = first.row
    server_version, hop, exchanges, given = more
    labels = dict(set.intersection(*(set(part.row[7] or ()) for part in parts)))
    values = started_at, version, contract, upstream, recording_id, run_id, labels, server_version, hop, given
    made = Recording(first.recording, *values)
    return recording_value(made, is_part=len(parts) > 1 or len(first.numbers) < exchanges)


def joined(parts: Sequence[Part]) -> list[list[Part]]:
    """Return the parts in the order of their recordings, those of one hop together that overlap in time."""
    made: list[list[Part]] = []
    newest: dict[str | None, tuple[list[Part], int]] = {}
    for part in sorted(parts, key=lambda one: (one.began_ns, one.row[1], one.span)):
        begins, ends = part.span
        hop = part.row[9]  # the name of the upstream
        of_hop, until = newest.get(hop, ([], 0))
        if not of_hop or begins >= until:
            of_hop = []
            made.append(of_hop)
        of_hop.append(part)
        newest[hop] = of_hop, max(until, ends)
    return made


def numbered(parts: Sequence[Part], used: Numbers) -> None:
    """Choose the numbers of these parts, and their clock; add the numbers to `used`."""
    if len(parts) == 1:
        parts[0].number(used)
    else:
        zero = parts[0].began_ns
        exchange, stream = used.last()
        for part in parts:
            part.zero = part.began_ns - zero
            part.recording = used.recording + 1
            part.is_joined = True
        of_parts = (zip(repeat(part), part.rows) for part in parts)
        for part, row in merge(*of_parts, key=lambda one: one[1][5] + one[0].zero):
            part.numbers[row[0]] = exchange = exchange + 1
            if row[2] is not None:
                part.streams[row[2]] = stream = stream + 1
    used.recording = parts[0].recording
    for part in parts:
        used.exchanges.update(part.numbers.values())
        used.streams.update(part.streams.values())


@dataclass(slots=True)
class Numbers:
    """The numbers in use so far."""

    recording: int = 0
    """The greatest one."""
    exchanges: set[int] = field(default_factory=set)
    streams: set[int] = field(default_factory=set)

    def last(self) -> tuple[int, int]:
        """Return the greatest numbers of an exchange and of a stream."""
        return max(self.exchanges, default=0), max(self.streams, default=0)


_EXCHANGES = (
    "exchange",
    "kind",
    "stream",
    "session_id",
    "party",
    "request_at_ns",
    "method",
    "target",
    "request_headers",
    "request_body",
    "response_at_ns",
    "status",
    "reason",
    "response_headers",
    "response_body",
    "end_ns",
    "ending",
    "max_decoded",
    "derives_reads",
    "request_cut",
    "answered_from",
    "replaced",
)
_EVENTS = ("seq", "raw", "raw_bytes", "length", "offset_ns", "sent_ns")
_READS = ("n", "offset_ns", "sent_ns", "size", "is_lost")
_MESSAGES = ("message", "at_ns", "sent_ns", "dir", "opcode", "data")
Row = tuple[Any, ...]


OfExchange = Callable[[int], Iterator[Row]]
"""Returns the rows of an exchange, in the order of their first column."""


class Part:
    """The part of a session tree, or of a stream, that one recording holds: these exchanges.

    `row`: the recording's values of `COLUMNS`.
    """

    def __init__(self, query: LakeQuery, row: Row, exchanges: Sequence[int]) -> None:
        self._query = query
        self.row = row
        self._id = row[0]
        found = query.scan("exchanges", _EXCHANGES, among={"exchange": exchanges}, recordings=[self._id])
        found = found.sort_by([("request_at_ns", "ascending"), ("exchange", "ascending")])
        self.rows = list(tuples(found, *_EXCHANGES))
        """Its exchanges, by their time."""
        self.began_ns = (start_of(row[2]) - EPOCH) // timedelta(microseconds=1) * 1000
        """Start of the recording in ns since 1970."""
        self.recording = self.zero = 0
        """The number of the recording, and what is added to its times, in ns."""
        self.is_joined = False
        """Whether other parts have the same number: their requests and streams go on after the end of this one."""
        self.numbers: dict[int, int] = {}
        self.streams: dict[int, int] = {}
        """New numbers of exchanges and streams by their numbers in the recording."""

    @property
    def span(self) -> tuple[int, int]:
        """The start of the recording and the last known moment of the part, in ns since 1970."""
        return self.began_ns, self.began_ns + self._last_ns

    @cached_property
    def _last_ns(self) -> int:
        """The last known moment of the part, in ns: of its exchanges, and of the events of streams without an end."""
        times = [at for one in self.rows for at in (one[5], one[10], one[15]) if at is not None]
        if without_end := [one[0] for one in self.rows if one[2] is not None and one[15] is None]:
            among = {"exchange": without_end}
            events = self._query.scan("events", ("offset_ns",), recordings=[self._id], among=among)
            times += [at_ns for (at_ns,) in tuples(events, "offset_ns")]
        return max(times, default=0)

    def number(self, used: Numbers) -> None:
        """Choose the numbers of this part: those of its cassette if they are free, else the next ones."""
        exchanges = [one[0] for one in self.rows]
        streams = [one[2] for one in self.rows if one[2] is not None]
        is_free = self.row[1] > used.recording and used.exchanges.isdisjoint(exchanges)
        if is_free and used.streams.isdisjoint(streams):
            self.recording = self.row[1]
            plus = plus_stream = 0
        else:
            self.recording = used.recording + 1
            plus, plus_stream = used.last()
        self.numbers = {one: one + plus for one in exchanges}
        self.streams = {one: one + plus_stream for one in streams}

    def incidents(self) -> Iterator[dict[str, Any]]:
        found = self._query.scan("incidents", ("message", "at_ns"), recordings=[self._id]).sort_by("at_ns")
        for message, at_ns in tuples(found, "message", "at_ns"):
            yield {"incident": message, "recording": self.recording, "at_ns": at_ns + self.zero}

    def exchanges(self) -> Iterator[tuple[int, Iterator[dict[str, Any]]]]:
        """Yield the time of each exchange and its lines, which are to be read before the next exchange."""
        streams = [one[0] for one in self.rows if one[2] is not None]
        events = self._of("events", _EVENTS, streams)
        reads = self._of("reads", _READS, streams)
        messages = self._of("messages", _MESSAGES, [one[0] for one in self.rows if one[1] == "websocket"])
        for row in self.rows:
            yield row[5] + self.zero, self._values(row, events, reads, messages)

    def _values(
        self, row: Row, events: OfExchange, reads: OfExchange, messages: OfExchange
    ) -> Iterator[dict[str, Any]]:
        number, kind, stream = row[:3]
        sent, received = row[9], row[14]
        if received is None and kind == "http":
            received = b""
        of_reads = list(reads(number)) if stream is not None else []
        lost = [n for n, *_, is_lost in of_reads if is_lost]
        yield exchange_value(self._exchange(row), sent or b"", received, lost, row[17])
        if stream is not None:
            stored = {n: (offset_ns, sent_ns, size) for n, offset_ns, sent_ns, size, _ in of_reads}
            yield from self._stream_values(row, events(number), stored)
        if kind == "websocket":
            for message, at_ns, sent_ns, direction, opcode, data in messages(number):
                times = at_ns + self.zero, self._later(sent_ns)
                yield message_value(Message(self.numbers[number], message, *times, direction, opcode, data or b""))

    def _of(self, table: str, columns: Sequence[str], exchanges: Sequence[int]) -> OfExchange:
        if not exchanges:
            return lambda _exchange: iter(())
        rows = self._query.scan(table, ("exchange", *columns), recordings=[self._id], among={"exchange": exchanges})
        keys = list(tuples(rows, "exchange", columns[0]))
        if any(map(gt, keys, islice(keys, 1, None))):
            rows = rows.sort_by([("exchange", "ascending"), (columns[0], "ascending")])
            keys.sort()
        numbers = [exchange for exchange, _ in keys]

        def of(exchange: int) -> Iterator[Row]:
            at = bisect_left(numbers, exchange)
            return tuples(rows.slice(at, bisect_right(numbers, exchange) - at), *columns)

        return of

    def _stream_values(self, row: Row, events: Iterator[Row], stored: dict[int, Times]) -> Iterator[dict[str, Any]]:
        stream = self.streams[row[2]]
        derives_reads = row[18]
        times: list[Times] = []
        for seq, raw, raw_bytes, length, offset_ns, sent_ns in events:
            value = raw if raw is not None or raw_bytes is None else bytes_to_json(raw_bytes)
            frame = {"stream": stream, "seq": seq, "raw": value}
            yield frame if value is not None else {**frame, "length": length}
            times.append((offset_ns, sent_ns, length))
        reads = derived_reads(times, stored) if derives_reads else stored.values()
        yield from reads_values(stream, [[at + self.zero, self._later(sent), size] for at, sent, size in reads])

    def _later(self, at_ns: int | None) -> int | None:
        """Return a time on the clock of the joined recording."""
        return None if at_ns is None else at_ns + self.zero

    def _exchange(self, row: Row) -> Exchange:
        number, kind, stream, session_id, party, at_ns, method, target, headers, _ = row[:10]
        answered_ns, status, reason, answer_headers, _, end_ns, ending = row[10:17]
        is_cut, answered_from, is_replaced = row[19:]
        if end_ns is None and self.is_joined:
            end_ns = self._last_ns  # its recorder was killed
        end_ns = self._later(end_ns)
        response = None
        if status is not None:
            response = Response(
                self._later(answered_ns) or 0, end_ns, status, reason, json.loads(answer_headers or "[]")
            )
        return Exchange(
            self.numbers[number],
            self.recording,
            kind,
            None if stream is None else self.streams[stream],
            session_id,
            party,
            Request(at_ns + self.zero, method, target, json.loads(headers)),
            response,
            ending,
            end_ns=end_ns,
            request_is_cut=is_cut,
            answered_from=answered_from,
            is_replaced=is_replaced,
        )
