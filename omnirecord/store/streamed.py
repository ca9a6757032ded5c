"""The rows of a stream: its bytes as they came, and what frames they make; much to a row, since rows are what costs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, islice
from typing import Any

from ..cassette import VERDICTS
from ..framing import Framed
from .rows import Row, text_or_bytes

PIECE = 64 * 1024
"""Bytes of a stream in one row, but for a read that has more; …"""
MOST_READS = 500
"""…and reads."""
PAGE = 256 * 1024
"""Bytes of frames that one row tells of, but for a frame that has more; …"""
MOST_FRAMES = 250
"""…and frames."""
LANDMARKS = frozenset({"session.created", "session.status"})
"""The types whose events are found without looking at all of a stream's."""
_VERDICT = {verdict: number for number, verdict in enumerate(VERDICTS)}

_PIECE = "INSERT OR REPLACE INTO pieces VALUES (?, ?, ?, ?, ?, ?, ?)"
_SENT_LATE = (
    "UPDATE pieces SET reads = with_sent(reads, n, offset_ns, ?) WHERE exchange = ?"
    " AND n BETWEEN (SELECT max(n) FROM pieces WHERE exchange = ? AND n <= ?) AND ?"
)
_MASK_AGAIN = (
    "UPDATE pieces SET data = spliced(data, ? - start, ?) WHERE exchange = ?"
    " AND n = (SELECT n FROM pieces WHERE exchange = ? AND start <= ? ORDER BY n DESC LIMIT 1)"
)
_FORGET = "UPDATE pieces SET data = NULL WHERE exchange = ? AND n BETWEEN ? AND ? AND start >= ? AND start + size <= ?"
_PAGE = "INSERT INTO pages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_LANDMARK = "INSERT OR IGNORE INTO landmarks VALUES (?, ?, ?)"
_TALLY = (
    "INSERT INTO tallies VALUES (?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET frames = frames + excluded.frames, length = length + excluded.length"
)


class Pieces:
    """The reads of one stream on their way to `pieces`: several to a row, since rows are what costs.

    A row has the bytes of reads that follow each other; of those that were lost, none.
    """

    __slots__ = ("_data", "_exchange", "_first", "_offset_ns", "_reads", "n", "start")

    def __init__(self, exchange: int, n: int = 0, start: int = 0) -> None:
        self._exchange = exchange
        self.n, self.start = n, start
        """The next read, and where in the stream it begins."""
        self._begin()

    def _begin(self) -> None:
        self._data: list[bytes] | None = []
        self._first, self._offset_ns = self.start, 0
        self._reads: list[tuple[int, int | None, int]] = []

    def add(self, offset_ns: int, sent_ns: int | None, size: int, data: bytes | None, out: list[Row]) -> None:
        """The next read; `out` gets a row where one is complete without it."""
        reads, held = self._reads, self._data
        if reads and (
            self.start - self._first >= PIECE or len(reads) >= MOST_READS or (data is None) is not (held is None)
        ):
            out += self.close()
            reads, held = self._reads, self._data
        if not reads:
            self._offset_ns = offset_ns
            if data is None:
                held = self._data = None
        if held is not None and data is not None:
            held.append(data)
        base = self._offset_ns
        reads.append((offset_ns - base, None if sent_ns is None else sent_ns - base, size))
        self.n += 1
        self.start += size

    def again(self, start: int, data: bytes) -> Iterator[Row]:
        """Other bytes, as many, in the place of those at `start`."""
        if start >= self._first and self._data is not None:
            at, held = start - self._first, b"".join(self._data)
            self._data = [held[:at], data, held[at + len(data) :]]
        else:
            yield _MASK_AGAIN, (start, data, self._exchange, self._exchange, start)

    def close(self) -> list[Row]:
        """The row of what is waiting, if anything is."""
        made: list[Row] = []
        if reads := self._reads:
            data = None if self._data is None else b"".join(self._data)
            values = (
                self._exchange, self.n - len(reads), self._first, self.start - self._first, self._offset_ns,
                _list(reads), data,
            )  # fmt: skip
            made.append((_PIECE, values))
        self._begin()
        return made


def reads_sent(exchange: int, sent: list[tuple[int, int]]) -> Row:
    """When these reads, by their numbers in ascending order, were handed on: too late for their rows."""
    return _SENT_LATE, (json.dumps(sent), exchange, exchange, sent[0][0], sent[-1][0])


def storable_type(type_: str | None) -> str | None:
    """An event's type as it is kept: a lone surrogate in it, which has no UTF-8, is written as an escape."""
    return type_ and type_.encode("utf-8", "backslashreplace").decode()


def is_plain_text(data: bytes) -> bool:
    """Whether any SQLite tool can show it as text."""
    return b"\0" not in data and (data.isascii() or isinstance(text_or_bytes(data), str))


class Pages:
    """The frames of one stream on their way to `pages`: an entry of a row each, with where its bytes are.

    `came` tells when a read came. `seq`: of the next frame; `start`: where in the content it begins; `read`: in which
    read at the earliest.
    """

    def __init__(self, stream: int, came: Callable[[int], int], seq: int = 1, start: int = 0, read: int = 0) -> None:
        self._stream, self._came = stream, came
        self._seq, self._start, self._read = seq, start, read

    def page(self, framed: list[Framed]) -> Iterator[Row]:
        """The rows of one page. Its columns are lists, so that each is made at once."""
        frames, judgements, reads = zip(*framed, strict=True)
        types = [judgement.type for judgement in judgements]
        verdicts = [judgement.verdict for judgement in judgements]
        names = list(dict.fromkeys(types))
        ends = list(accumulate([frame.length for frame in frames]))
        came = {read: self._came(read) for read in set(reads)}  # many frames come with one read
        times = list(map(came.__getitem__, reads))
        yield _PAGE, (
            self._stream, self._seq, len(ends), self._start, ends[-1], self._read, times[0], _list(ends),
            _list([read - self._read for read in reads]), _list([at - times[0] for at in times]),
            _list(list(map(storable_type, names))),
            None if len(names) == 1 else _list(list(map(names.index, types))),
            None if verdicts.count("valid") == len(ends) else _list([_VERDICT[verdict] for verdict in verdicts]),
            _more(framed),
        )  # fmt: skip
        for type_ in LANDMARKS.intersection(names):
            numbers = (seq for seq, one in enumerate(types, self._seq) if one == type_)
            yield from ((_LANDMARK, (type_, self._stream, seq)) for seq in numbers)
        self._seq, self._start, self._read = self._seq + len(ends), self._start + ends[-1], reads[-1]


_list = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def _more(framed: list[Framed]) -> str | None:
    """What few frames have, by their place in the page: no bytes, issues, or bytes that are no text."""
    raws = [one.frame.raw for one in framed]
    issues = [one.judgement.issues for one in framed]
    if not any(issues) and None not in raws:
        whole = b"".join(raws)  # type: ignore[arg-type]
        if whole.isascii() and b"\0" not in whole:  # nearly always
            return None
    found: dict[int, dict[str, Any]] = {}
    for place, (frame, judgement, _) in enumerate(framed):
        raw = frame.raw
        if raw is not None and not judgement.issues and raw.isascii() and b"\0" not in raw:
            continue
        more: dict[str, Any] = {} if raw is not None else {"lost": 1}
        if raw is not None and not is_plain_text(raw):
            more["binary"] = 1
        if judgement.issues:
            more["issues"] = [[issue.path, issue.message] for issue in judgement.issues]
        if more:
            found[place] = more
    return _list(found) if found else None


def _paged(framed: Iterable[Framed]) -> Iterator[list[Framed]]:
    """As many as make a page, again and again."""
    source = iter(framed)
    while some := list(islice(source, MOST_FRAMES)):
        if sum([one.frame.length for one in some]) <= PAGE:
            yield some
        else:
            yield from _by_length(some)


def _by_length(framed: list[Framed]) -> Iterator[list[Framed]]:
    some: list[Framed] = []
    length = 0
    for one in framed:
        some.append(one)
        length += one.frame.length
        if length >= PAGE:
            yield some
            some, length = [], 0
    if some:
        yield some


def pages(
    stream: int, framed: Iterable[Framed], came: Callable[[int], int], seq: int = 1, start: int = 0, read: int = 0
) -> Iterator[Row]:
    """The rows of these frames, which follow each other, one at a time: what is judged is larger than its bytes."""
    made, tally = Pages(stream, came, seq, start, read), Tally()
    for some in _paged(framed):
        tally.add(some)
        yield from made.page(some)
    yield from tally.rows(stream)


def forgotten(exchange: int, between: tuple[int, int], start: int, length: int) -> Row:
    """The bytes of a frame that was too large to be kept, which came with these reads; what shares a row with its
    neighbours stays."""
    return _FORGET, (exchange, *between, start, start + length)


class Tally:
    """How many frames of a stream there are of each verdict, and how long they are together."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, int]] = {}

    def add(self, framed: list[Framed]) -> None:
        counts = Counter([one.judgement.verdict for one in framed])
        for verdict, count in counts.items():
            frames, length = self._found.get(verdict, (0, 0))
            of = framed if count == len(framed) else [one for one in framed if one.judgement.verdict == verdict]
            self._found[verdict] = frames + count, length + sum([one.frame.length for one in of])

    def rows(self, stream: int) -> list[Row]:
        return [(_TALLY, (stream, verdict, *found)) for verdict, found in self._found.items()]
