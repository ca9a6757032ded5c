"""Takes a session out of a lake as a cassette, byte for byte as recorded.

The session comes with its tree: its parent, and all sub-agents below that. All recordings that hold a part of one of
them give that part. The rows are the values of the text form; a cassette is made of them as of any text form.

Recorders behind a load balancer overlap in time. The parts of a session in such recordings become one recording, on the
clock of the first one: the requests and streams then have one order, so that the session can be replayed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from heapq import merge
from typing import Any

from ..cassette.jsonl import reads_values, text
from ..errors import UsageError
from ..model import FORMAT_VERSION
from ..text import dumps
from .columns import EPOCH, Times, derived_reads, start_of
from .location import Lake
from .query import LakeQuery
from .sessions import root_of

_LISTED = 5
"""Ids that a sentence names."""
_NEAR = 0.8
"""Least similarity of a session id that an error names, as Jaro-Winkler."""
_DAYS = timedelta(days=1)
"""Time before and after the known parts in which further parts are looked for. A recorder may see a session through its
runner only, and such a part has no row in `sessions`."""

_EDGES = """
SELECT session_id, parent_session_id FROM sessions WHERE parent_session_id IS NOT NULL
UNION ALL SELECT unnest(child_session_ids), session_id FROM sessions WHERE child_session_ids IS NOT NULL
"""
_EDGE_COLUMNS = "session_id, day, parent_session_id, child_session_ids"
_RELATED = "starts_with(session_id, $name) OR parent_session_id IS NOT NULL OR child_session_ids IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Found:
    """A session in the lake."""

    session_id: str
    sessions: tuple[str, ...]
    """The ids of its tree, its own included."""
    recordings: tuple[str, ...]
    """The ids of the recordings that hold a part of the tree, in the order of their start."""


class Fetch:
    """One session of a lake; `lines` yields its text form. Raises `UsageError` for an unknown id, and `LakeError`."""

    def __init__(self, lake: Lake, session: str) -> None:
        self._opened = ExitStack()
        with self._opened:
            self._open(lake, session)
            self._opened = self._opened.pop_all()
        self.exchanges = self.events = 0

    def _open(self, lake: Lake, session: str) -> None:
        query = self._opened.enter_context(LakeQuery(lake))
        with query.narrowed() as related:  # one look at all files of the table
            related.hold(
                "sessions", _RELATED, {"name": session}, "session_id, day, parent_session_id, child_session_ids"
            )
            known, days = the_session(query, session, related)
            tree, days = _tree(query, known, days, related)
        with query.narrowed(days=days) as near:
            found = near.rows(
                "SELECT recording_id FROM exchanges WHERE session_id IN (SELECT unnest($tree)) GROUP BY 1",
                {"tree": tree},
            )
            recordings = [one for (one,) in found.rows]
        self._query = self._opened.enter_context(query.narrowed(recordings=recordings))
        self._recordings = list(self._query.rows(
            "SELECT recording_id, recording, started_at_text, version, contract, upstream, run_id, labels,"
            " server_version, hop FROM recordings WHERE recording_id IN (SELECT unnest($ids)) ORDER BY started_at, 1",
            {"ids": recordings},
        ).rows)  # fmt: skip
        self.found = Found(known, tuple(tree), tuple(one[0] for one in self._recordings))

    def close(self) -> None:
        """Close the connection to the lake."""
        self._opened.close()

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the text form."""
        return (f"{dumps(value)}\n".encode() for value in self.values())

    def values(self) -> Iterator[dict[str, Any]]:
        """Yield the values of the lines. Numbers are those of the recordings' cassettes, where they are free."""
        parts = [_Part(self._query, row, self.found.sessions) for row in self._recordings]
        last = _Numbers(0, 0, 0)
        heads, joined = [], _joined(parts)
        for some in joined:
            last = _number(some, last)
            heads.append(_head(some))
        yield {"omnirecord": FORMAT_VERSION, "recordings": heads}
        for part in parts:
            yield from part.incidents()
        for some in joined:
            for _, values in merge(*(part.exchanges() for part in some), key=lambda one: one[0]):
                for value in values:
                    self.exchanges += "request" in value
                    self.events += "seq" in value
                    yield value


Days = tuple[date, date]


def the_session(query: LakeQuery, name: str, held: LakeQuery | None = None) -> tuple[str, Days]:
    """Return the session id that equals `name` or begins with it, and the days of its recordings: the first, the last.

    `held` has the sessions that begin with `name` in memory. Raises `UsageError`.
    """
    known = "SELECT DISTINCT session_id FROM sessions WHERE session_id IS NOT NULL"
    given = {"name": name}
    sql = "SELECT session_id, min(day), max(day) FROM sessions WHERE starts_with(session_id, $name) GROUP BY 1"
    days = {one: (first, last) for one, first, last in (held or query).rows(sql, given).rows}
    found = [name] if name in days else sorted(days)
    if len(found) == 1:
        return found[0], days[found[0]]
    if found:
        raise UsageError(f"several sessions begin with {name!r}: there are {_listed(found)}; give more of the id")
    near = [one for (one,) in query.rows(
        f"FROM ({known}) SELECT session_id WHERE jaro_winkler_similarity(session_id[:length($name)], $name) >= {_NEAR}"
        f" ORDER BY jaro_winkler_similarity(session_id[:length($name)], $name) DESC, 1 LIMIT {_LISTED}", given,
    ).rows]  # fmt: skip
    if near:
        are = "is" if len(near) == 1 else "are"
        raise UsageError(f"no session begins with {name!r}: the nearest {are} {_listed(near)}")
    some = [one for (one,) in query.rows(f"{known} ORDER BY 1 LIMIT {_LISTED + 1}").rows]
    raise UsageError(f"no session begins with {name!r}: there are {_listed(some)}")


def _listed(names: Sequence[str]) -> str:
    return (", ".join(names[:_LISTED]) or "none") + (", …" if len(names) > _LISTED else "")


def _tree(query: LakeQuery, session: str, days: Days, held: LakeQuery) -> tuple[list[str], Days]:
    """Return the ids of the session's tree, and the first and the last day on which a part of it may have begun.

    `held` has the sessions with a parent or children in memory.
    """
    parents, children = dict[str, str](), defaultdict[str, set[str]](set)
    for child, parent in held.rows(_EDGES).rows:
        parents[child] = parent
        children[parent].add(child)
    tree, left = set[str](), [root_of(session, parents)]
    while left:
        if (one := left.pop()) not in tree:
            tree.add(one)
            left += children.get(one, ())
    if len(tree) > 1:
        sql = "SELECT min(day), max(day) FROM sessions WHERE session_id IN (SELECT unnest($tree))"
        (days,) = query.rows(sql, {"tree": sorted(tree)}).rows
    first, last = days
    return sorted(tree), (first - _DAYS, last + _DAYS)


def _head(parts: Sequence[_Part]) -> dict[str, Any]:
    """Return the recording of these parts: that of the first one, with the labels that all of them have."""
    first = parts[0]
    recording_id, _, started_at, version, contract, upstream, run_id, _, server_version, hop = first.row
    labels = set.intersection(*(set((part.row[7] or {}).items()) for part in parts))
    return {
        "recording": first.recording, "started_at": started_at, "version": version, "contract": contract,
        "upstream": upstream, "recording_id": recording_id,
        **({} if run_id is None else {"run_id": run_id}),
        **({"labels": dict(sorted(labels))} if labels else {}),
        **({} if server_version is None else {"server_version": server_version}),
        **({} if hop is None else {"hop": hop}),
    }  # fmt: skip


def _joined(parts: Sequence[_Part]) -> list[list[_Part]]:
    """Return the parts in the order of their recordings, those together whose recordings overlap in time."""
    joined: list[list[_Part]] = []
    until = 0
    for part in sorted(parts, key=lambda one: one.span):
        begins, ends = part.span
        if joined and begins < until:
            joined[-1].append(part)
        else:
            joined.append([part])
        until = max(until, ends)
    return joined


def _number(parts: Sequence[_Part], last: _Numbers) -> _Numbers:
    """Choose the numbers of these parts, and their clock; return the greatest numbers."""
    if len(parts) == 1:
        return parts[0].number(last)
    zero = parts[0].began_ns
    for part in parts:
        part.zero, part.recording = part.began_ns - zero, last.recording + 1
    exchange, stream = last.exchange, last.stream
    for part, row in merge(*(part.ordered() for part in parts), key=lambda one: one[1][5] + one[0].zero):
        part.numbers[row[0]] = exchange = exchange + 1
        if row[2] is not None:
            part.streams[row[2]] = stream = stream + 1
    return _Numbers(last.recording + 1, exchange, stream)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The greatest numbers in use so far."""

    recording: int
    exchange: int
    stream: int


_EXCHANGES = """
SELECT exchange, kind, stream, session_id, party, request_at_ns, method, target, request_headers, request_body,
  response_at_ns, status, reason, response_headers, response_body, end_ns, ending, max_decoded, derives_reads
FROM exchanges WHERE recording_id = $recording AND session_id IN (SELECT unnest($sessions))
ORDER BY request_at_ns, exchange
"""
_OF_EXCHANGES = """
FROM {table} t JOIN (SELECT unnest($exchanges) AS exchange, generate_subscripts($exchanges, 1) AS place) o
  USING (exchange)
SELECT {columns} WHERE recording_id = $recording ORDER BY place, {order}
"""
_EVENTS = "exchange, seq, raw, raw_bytes, length, offset_ns, sent_ns"
_READS = "exchange, n, offset_ns, sent_ns, size, is_lost"
_MESSAGES = "exchange, message, at_ns, sent_ns, dir, opcode, data"
Row = tuple[Any, ...]


class _Rows:
    """The rows of a table by exchange, to be asked for in their order."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def of(self, exchange: int) -> Iterator[Row]:
        """Yield the rows of an exchange, without its number."""
        while self._next is not None and self._next[0] == exchange:
            yield self._next[1:]
            self._next = next(self._rows, None)


class _Part:
    """The part of a session tree that one recording holds."""

    def __init__(self, query: LakeQuery, row: Row, sessions: Sequence[str]) -> None:
        self._query, self.row, self._id = query, row, row[0]
        given = {"recording": self._id, "sessions": list(sessions)}
        self._exchanges = list(query.rows(_EXCHANGES, given).rows)
        self.began_ns = (start_of(row[2]) - EPOCH) // timedelta(microseconds=1) * 1000
        """Start of the recording in ns since 1970."""
        self.recording = self.zero = 0
        """The number of the recording, and what is added to its times, in ns."""
        self.numbers: dict[int, int] = {}
        self.streams: dict[int, int] = {}
        """New numbers of exchanges and streams by their numbers in the recording."""

    @property
    def span(self) -> tuple[int, int]:
        """The start of the recording and the last known moment of the part, in ns since 1970."""
        times = [at for one in self._exchanges for at in (one[5], one[10], one[15]) if at is not None]
        return self.began_ns, self.began_ns + max(times, default=0)

    def ordered(self) -> Iterator[tuple[_Part, Row]]:
        """Yield the rows of the exchanges by time."""
        return ((self, one) for one in self._exchanges)

    def number(self, last: _Numbers) -> _Numbers:
        """Choose the numbers of this part: those of its cassette if they follow the last ones, else the next ones."""
        exchanges = [one[0] for one in self._exchanges]
        streams = [one[2] for one in self._exchanges if one[2] is not None]
        is_free = self.row[1] > last.recording and min(exchanges, default=1) > last.exchange
        if is_free and min(streams, default=last.stream + 1) > last.stream:
            self.recording, plus, plus_stream = self.row[1], 0, 0
        else:
            self.recording, plus, plus_stream = last.recording + 1, last.exchange, last.stream
        self.numbers = {one: one + plus for one in exchanges}
        self.streams = {one: one + plus_stream for one in streams}
        return _Numbers(
            self.recording, max(exchanges, default=0) + plus,
            max(streams, default=0) + plus_stream if streams else last.stream,
        )  # fmt: skip

    def incidents(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of the recording's incidents."""
        found = self._query.rows(
            "SELECT message, at_ns FROM incidents WHERE recording_id = $recording ORDER BY at_ns",
            {"recording": self._id},
        )
        for message, at_ns in found.rows:
            yield {"incident": message, "recording": self.recording, "at_ns": at_ns + self.zero}

    def exchanges(self) -> Iterator[tuple[int, Iterator[dict[str, Any]]]]:
        """Yield the time of each exchange and its lines, which are to be read before the next exchange."""
        events = self._of("events", _EVENTS, "seq", [one for one in self._exchanges if one[2] is not None])
        reads = self._of("reads", _READS, "n", [one for one in self._exchanges if one[2] is not None])
        messages = self._of("messages", _MESSAGES, "message", [one for one in self._exchanges if one[1] == "websocket"])
        for row in self._exchanges:
            yield row[5] + self.zero, self._values(row, events, reads, messages)

    def _values(self, row: Row, events: _Rows, reads: _Rows, messages: _Rows) -> Iterator[dict[str, Any]]:
        number, kind, stream = row[:3]
        of_reads = list(reads.of(number)) if stream is not None else []
        yield self._exchange_value(row, [n for n, *_, is_lost in of_reads if is_lost])
        if stream is not None:
            stored = {n: (offset_ns, sent_ns, size) for n, offset_ns, sent_ns, size, _ in of_reads}
            yield from self._stream_values(row, events.of(number), stored)
        if kind == "websocket":
            yield from (self._message(number, *one) for one in messages.of(number))

    def _of(self, table: str, columns: str, order: str, exchanges: Sequence[Row]) -> _Rows:
        if not exchanges:
            return _Rows(iter(()))
        sql = _OF_EXCHANGES.format(table=table, columns=columns, order=order)
        return _Rows(self._query.rows(sql, {"recording": self._id, "exchanges": [one[0] for one in exchanges]}).rows)

    def _exchange_value(self, row: Row, lost: list[int]) -> dict[str, Any]:
        number, kind, stream, session_id, party, at_ns, method, target, headers, body = row[:10]
        return {
            "exchange": self.numbers[number], "recording": self.recording, "kind": kind,
            "stream": None if stream is None else self.streams[stream], "session_id": session_id, "party": party,
            "request": {
                "at_ns": at_ns + self.zero, "method": method, "target": target, "headers": json.loads(headers),
                "body": text(body or b""),
            },
            "response": self._response(row, lost), "ending": row[16],
        }  # fmt: skip

    def _stream_values(self, row: Row, events: Iterator[Row], stored: dict[int, Times]) -> Iterator[dict[str, Any]]:
        stream, derives_reads = self.streams[row[2]], row[18]
        times: list[Times] = []
        for seq, raw, raw_bytes, length, offset_ns, sent_ns in events:
            value = raw if raw is not None or raw_bytes is None else text(raw_bytes)
            frame = {"stream": stream, "seq": seq, "raw": value}
            yield frame if value is not None else {**frame, "length": length}
            times.append((offset_ns, sent_ns, length))
        reads = derived_reads(times, stored) if derives_reads else stored.values()
        yield from reads_values(stream, [[at + self.zero, self._later(sent), size] for at, sent, size in reads])

    def _later(self, at_ns: int | None) -> int | None:
        """Return a time on the clock of the joined recording."""
        return None if at_ns is None else at_ns + self.zero

    def _response(self, row: Row, lost: list[int]) -> dict[str, Any] | None:
        """Return the response as the text form has it: None for an open exchange without one."""
        at_ns, status, reason, headers, body, end_ns = row[10:16]
        at_ns, end_ns, max_decoded = self._later(at_ns), self._later(end_ns), row[17]
        if status is None:
            nothing: dict[str, Any] = {"at_ns": None, "end_ns": end_ns, "status": None, "reason": None, "headers": []}
            return None if end_ns is None else {**nothing, "body": None}
        return {
            "at_ns": at_ns, "end_ns": end_ns, "status": status, "reason": reason,
            "headers": json.loads(headers or "[]"),
            "body": text(body or b"") if row[1] == "http" or body is not None else None,
            **({"lost": lost} if lost else {}),
            **({"max_decoded": max_decoded} if max_decoded else {}),
        }  # fmt: skip

    def _message(
        self,
        exchange: int,
        message: int,
        at_ns: int,
        sent_ns: int | None,
        direction: str,
        opcode: int,
        data: bytes | None,
    ) -> dict[str, Any]:
        return {
            "exchange": self.numbers[exchange], "message": message, "at_ns": at_ns + self.zero,
            "sent_ns": self._later(sent_ns),
            "dir": direction, "opcode": opcode, "data": text(data or b""),
        }  # fmt: skip
