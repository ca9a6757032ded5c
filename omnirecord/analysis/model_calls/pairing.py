"""Which text of a model is which text on the client hop. Pure.

A text reaches the client after the model streamed it, and a call starts during its turn. So most texts are possible for
few calls only. If no call is missing, a text that is possible for one call only is a pair with it; if no text is
missing, so is a call with one possible text. A pair leaves fewer possibilities for the others.

`moves` leads from a delta of the client hop to the delta of the model that caused it, and back. A client delta came
from the model delta that holds its last character. If the text of the client does not hold the text of the call, times
decide: the last model delta before the client delta. A model delta after the last one of the client has no partner.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice
from typing import Literal, NamedTuple

from ...model import by_key
from ...text import same_start

LATEST = 10_000_000_000
"""Delay in ns of a text on its way to the client, at most."""
_STRETCH = 3_000_000_000
"""Difference in ns between the delays of the first and the last delta of a text, at most."""
_MOST = 256
"""Texts after the beginning of a call's text that are looked at."""
_NEAR = 40
"""Texts that are compared with a call, at most. With more of them, the call is ambiguous."""
_TEXTS = 1 << 40
"""Added to the index of a text, where it stands beside the indexes of calls."""


class Said(NamedTuple):
    """The text of a call: times of its first and last delta and of the call's start, in ns on one clock."""

    first_ns: int
    last_ns: int
    start_ns: int
    call: int


class Heard(NamedTuple):
    """The same text on the client hop, with the times of its turn."""

    first_ns: int
    last_ns: int
    begin_ns: int
    end_ns: int
    turn: int


def pairs(said: Sequence[Said], heard: Sequence[Heard], slack_ns: int) -> Iterator[tuple[int, list[int], bool]]:
    """Yield each call with the turns that may have its text, if there are any, and whether that is sure. `slack_ns`:
    what the clocks may differ by."""
    heard = sorted(heard)
    texts = [_possible(one, heard, slack_ns) for one in said]
    by_text: dict[int, int] = {}
    links = ((by_text.setdefault(place, call), call) for call, places in enumerate(texts) for place in places)
    for calls in Groups(len(texts), links).groups():  # the calls of a group share possible texts
        alone = _settled(calls, texts)
        is_of_one = len({heard[place].turn for call in calls for place in texts[call]}) == 1
        for call in calls:
            places = [alone[call]] if call in alone else sorted(texts[call] - set(alone.values()))
            if turns := list(dict.fromkeys(heard[place].turn for place in places)):
                yield said[call].call, turns, len(turns) == 1 and (call in alone or is_of_one)


def _possible(one: Said, heard: Sequence[Heard], slack_ns: int) -> set[int]:
    """Return the texts that may be the text of a call."""

    def fits(text: Heard) -> bool:
        first = text.first_ns - one.first_ns
        last = text.last_ns - one.last_ns
        is_during = text.begin_ns - slack_ns <= one.start_ns <= text.end_ns + slack_ns
        return is_during and last >= -slack_ns and last - first <= _STRETCH

    begin = bisect_left(heard, (one.first_ns - slack_ns,))
    end = bisect_left(heard, (one.first_ns + LATEST + 1,))
    return set(islice((n for n in range(begin, min(begin + _MOST, end)) if fits(heard[n])), _NEAR))


class Groups:
    """The numbers below `count` in groups that `links` connect."""

    def __init__(self, count: int, links: Iterable[tuple[int, int]] = ()) -> None:
        self._first = list(range(count))
        for one, other in links:
            self.join(one, other)

    def join(self, before: int, after: int) -> None:
        """Put both into one group. Its number is that of the group of `before`."""
        self._first[self.of(after)] = self.of(before)

    def of(self, number: int) -> int:
        """Return the number of a group: one of its members, the first one if the members were joined in order."""
        while self._first[number] != number:
            self._first[number] = self._first[self._first[number]]
            number = self._first[number]
        return number

    def groups(self) -> Iterable[list[int]]:
        """Return the members of each group, by their first."""
        return by_key(range(len(self._first)), self.of).values()


def _settled(calls: Sequence[int], texts: Sequence[set[int]]) -> dict[int, int]:
    """Return the only possible text of calls, by call."""
    if any(len(texts[call]) >= _NEAR for call in calls):
        return {}
    of = {call: {place + _TEXTS for place in texts[call]} for call in calls if texts[call]}
    count = len(of)
    for call in list(of):
        for text in of[call]:
            of.setdefault(text, set()).add(call)
    waits = count * 2 <= len(of), len(of) <= count * 2  # calls, and texts
    waiting = [one for one in of if waits[one >= _TEXTS]]
    settled: dict[int, int] = {}
    while waiting:
        one = waiting.pop()
        if len(of.get(one, ())) == 1:
            call, text = sorted((one, *of[one]))
            settled[call] = text - _TEXTS
            for gone in (text, call):
                for other in of.pop(gone):
                    of[other].discard(gone)
                    waiting += [other] if waits[other >= _TEXTS] else []
    return settled


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
    by: Literal["text", "time"]
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
    heard = _Text([one for one in client if one.text])
    said = [_Text([p for p in one if p.text]) for one in calls]
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


def _last_with(ends: Sequence[int], spans: Iterable[_Span]) -> list[_Span | None]:
    """Return the last span that holds the character before each of these places, which rise; None without one."""
    found: list[_Span | None] = [None] * len(ends)
    for one in spans:
        begin = bisect_right(ends, one.begin)
        end = bisect_right(ends, one.begin + one.length)
        found[begin:end] = [one] * (end - begin)
    return found


def _add(found: dict[Place, Move], of: Piece, to: Piece, by: Literal["text", "time"], model: Piece) -> None:
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
    free = list[tuple[int, int]]()
    at = 0
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
