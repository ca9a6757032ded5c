"""Moves from a delta of the client hop to the delta of the model that caused it, and back. Pure.

A client delta came from the model delta that holds its last character. If the text of the client does not hold the
text of the call, times decide: the last model delta before the client delta. A model delta after the last one of the
client has no partner.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

from ...text import same_start

By = Literal["text", "time"]
_LEAST = 16
"""Fewest characters of an equal beginning that connect two texts which differ later."""


class Piece(NamedTuple):
    """A delta. Its time is on the clock of the turn, in ns."""

    stream: int
    seq: int
    at_ns: int
    text: str


class Move(NamedTuple):
    """The partner of a delta on the other hop."""

    stream: int
    seq: int
    by: By
    gap_ns: int
    """From the model to the client."""


Place = tuple[int, int]
"""Stream and number of a delta."""


class _Text:
    """Deltas as one text."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces
        self.text = "".join(one.text for one in pieces)
        self.ends = list(accumulate(len(one.text) for one in pieces))

    def at(self, position: int) -> Piece:
        """Return the piece that holds the character at a position."""
        return self.pieces[bisect_right(self.ends, position)]


class _Span(NamedTuple):
    """A part of the client's text that equals the beginning of a text of the model."""

    begin: int
    length: int
    model: _Text


def moves(client: Sequence[Piece], calls: Iterable[Sequence[Piece]]) -> dict[Place, Move]:
    """Return the partner of each delta that has one.

    `client`: the deltas of one stream in one turn, in order. `calls`: those of each text of the model, in order.
    """
    heard, said = _Text([one for one in client if one.text]), [_Text([p for p in one if p.text]) for one in calls]
    all_said = sorted((piece for one in said for piece in one.pieces), key=lambda piece: piece.at_ns)
    if not heard.pieces or not all_said:
        return {}
    found: dict[Place, Move] = {}
    spans = _spans(heard.text, said)
    for one in spans:
        for piece, end in zip(one.model.pieces, one.model.ends, strict=True):
            if end <= one.length:
                _add(found, piece, heard.at(one.begin + end - 1), "text", piece)
    times = [piece.at_ns for piece in all_said]
    for piece, end, span in zip(heard.pieces, heard.ends, _last_with(heard.ends, spans), strict=True):
        if span is not None:
            model = span.model.at(end - 1 - span.begin)
            _add(found, piece, model, "text", model)
        else:
            model = all_said[max(0, bisect_right(times, piece.at_ns) - 1)]
            _add(found, piece, model, "time", model)
    heard_at = [piece.at_ns for piece in heard.pieces]
    for piece in all_said:
        if (piece.stream, piece.seq) not in found:
            after = bisect_left(heard_at, piece.at_ns)
            if after < len(heard_at):  # else it did not reach the client
                _add(found, piece, heard.pieces[after], "time", piece)
    return found


def _last_with(ends: Iterable[int], spans: Iterable[_Span]) -> Iterator[_Span | None]:
    """Yield the last span that holds the character before each of these places, which rise; None without one."""
    coming, begun = deque(spans), list[_Span]()
    for end in ends:
        while coming and coming[0].begin < end:
            begun.append(coming.popleft())
        while begun and begun[-1].begin + begun[-1].length < end:
            begun.pop()
        yield begun[-1] if begun else None


def _add(found: dict[Place, Move], of: Piece, to: Piece, by: By, model: Piece) -> None:
    client = to if model is of else of
    found[of.stream, of.seq] = Move(to.stream, to.seq, by, client.at_ns - model.at_ns)


def _spans(heard: str, said: Sequence[_Text]) -> list[_Span]:
    """Return the parts of the client's text that equal a text of the model, or its beginning, by their places. Those of
    a cut call and of its retry overlap: the longer one is the later one."""
    found: list[_Span] = []
    cursor = 0
    left: list[_Text] = []
    for one in said:
        at = heard.find(one.text, cursor) if one.text else -1
        at = heard.find(one.text) if one.text and at < 0 else at
        if at < 0:
            left.append(one)
        else:
            found.append(_Span(at, len(one.text), one))
            cursor = max(cursor, at + len(one.text))
    for one in left:
        span = _beginning(heard, one, found)
        if span is not None:
            found.append(span)
    return sorted(found, key=lambda span: (span.begin, span.length))


def _beginning(heard: str, one: _Text, taken: Sequence[_Span]) -> _Span | None:
    """Return the longest beginning of a text that stands in a free part of the client's text."""
    free, at = list[tuple[int, int]](), 0
    for span in sorted(taken, key=lambda span: span.begin):
        free.append((at, span.begin))
        at = max(at, span.begin + span.length)
    best: _Span | None = None
    for begin, end in [*free, (at, len(heard))]:
        if begin >= end:
            continue
        length = same_start(heard[begin : min(end, begin + len(one.text))], one.text)
        is_enough = length >= _LEAST or (length > 0 and begin + length == end) or (0 < length == len(one.text))
        if is_enough and (best is None or length > best.length):
            best = _Span(begin, length, one)
    return best
