"""Two lists of sessions: which is which on the other side, and what differs in each.

A session as it is compared: its turns as `story` tells them, and beside each turn its events as steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from ...model import Exchange, TimedFrame
from ..turns import Act, Turn, merged
from ..turns.draft import Draft
from ..turns.merge import MergedFrame, copied
from ..turns.session_builder import SessionBuilder
from .align import Difference, Kind, Pair, aligned, moved
from .normalize import Ids, Normal
from .report import Finding
from .steps import IGNORED, Step, Steps
from .turns import Happening, compare_story, compare_timing, paired

BY_THE_SERVER = ("done", "eof", "upstream_lost", "upstream_unreachable")
"""Endings of a stream that a server made; the others say what the client or the recorder did."""
_NO_EVENTS = ("comment",)


@dataclass(frozen=True, slots=True)
class HeardTurn:
    """One turn, and its events."""

    turn: Turn
    steps: list[Step]


@dataclass(frozen=True, slots=True)
class Listened:
    """What one of several clients heard otherwise than the others: types of events, and how many."""

    missed: Counter[str]
    """What came while it listened and reached only others."""
    late: Counter[str]
    """What came behind something that others heard later."""


@dataclass(frozen=True, slots=True)
class Telling:
    """One session of one recording."""

    session_id: str | None
    is_child: bool
    turns: list[HeardTurn]
    outside: list[Step]
    """Events before the first turn."""
    endings: list[str]
    """How the server ended its streams, where it did."""
    listened: list[Listened]
    """For each stream, where there are several."""
    refusals: list[tuple[str, str, str]]
    """What clients did and the server did not take: what, its text, why."""
    has_times: bool = True
    """False for an imported raw body."""
    knows_endings: bool = True
    """False where the ending of a stream is unknown."""


class _Listener:
    """Hears a session's frames, and notes which turn each belongs to."""

    def __init__(self, session_builder: SessionBuilder) -> None:
        self._session_builder = session_builder
        self.steps: dict[Draft | None, Steps] = {None: Steps()}

    def hear(self, heard: MergedFrame) -> None:
        builder, before = self._session_builder.turns, self._session_builder.turns.open
        self._session_builder.add(heard)
        if heard.in_snapshot or heard.frame.verdict in _NO_EVENTS:
            return
        draft = builder.open or before or builder.latest()
        self.steps.setdefault(draft, Steps()).hear(heard.frame)


def telling_of(
    exchanges: Sequence[Exchange], frames: Iterable[TimedFrame], acts: Iterable[Act], *, is_child: bool = False
) -> Telling:
    """A session as one recording has it. `exchanges`: all of that session and recording, at least one."""
    acts = list(acts)
    session_builder = SessionBuilder(acts, is_child=is_child)
    streams = [x for x in exchanges if x.stream is not None]
    frames = list(frames) if len(streams) > 1 else frames
    listener, line = _Listener(session_builder), merged(frames)
    listened = _listened(line, frames) if isinstance(frames, list) else []
    until = max([0, *(x.end_ns or 0 for x in streams), *(heard.at_ns for heard in line[-1:])])
    line.reverse()
    while line:  # what was heard is let go: a hundred thousand frames are much to keep for long
        listener.hear(line.pop())
    drafts = session_builder.turns.finish(until)
    session_id = exchanges[0].session_id
    turns = [
        HeardTurn(draft.freeze(exchanges[0].recording, session_id, n), listener.steps.pop(draft, Steps()).close())
        for n, draft in enumerate(drafts, 1)
    ]
    outside = [step for steps in listener.steps.values() for step in steps.close()]
    return Telling(
        session_id, is_child, turns, outside, [x.ending for x in streams if x.ending in BY_THE_SERVER],
        listened,
        [(act.kind, act.text or act.action or "", act.refused) for act in acts if act.refused],
        all(x.has_times for x in exchanges), all(x.ending != "unknown" for x in streams),
    )  # fmt: skip


def _listened(line: list[MergedFrame], frames: list[TimedFrame]) -> list[Listened]:
    """For each stream, what it brought beside what the others did."""
    raws = Counter(copied(heard.frame) for heard in line)
    places = {raw: n for n, raw in enumerate(copied(heard.frame) for heard in line) if raws[raw] == 1}
    by_stream: dict[int, list[TimedFrame]] = {}
    for frame in frames:
        by_stream.setdefault(frame.stream, []).append(frame)
    return [Listened(_missed(line, places, own), _late(places, own)) for own in by_stream.values()]


def _missed(line: list[MergedFrame], places: dict[bytes | None, int], own: list[TimedFrame]) -> Counter[str]:
    """Between the first and the last thing that it brought: its ends are a matter of milliseconds."""
    known = [places[raw] for raw in map(copied, own) if raw in places]
    left = Counter(map(copied, own))
    missed: Counter[str] = Counter()
    for heard in line[min(known, default=0) : max(known, default=-1) + 1]:
        frame, raw = heard.frame, copied(heard.frame)
        if left[raw]:
            left[raw] -= 1
        elif not heard.in_snapshot and frame.verdict not in _NO_EVENTS and frame.type not in IGNORED:
            missed[frame.type or frame.verdict] += 1
    return missed


def _late(places: dict[bytes | None, int], own: list[TimedFrame]) -> Counter[str]:
    late: Counter[str] = Counter()
    latest = -1
    for frame in own:
        place = places.get(copied(frame), latest)
        if place < latest and frame.type not in IGNORED:
            late[frame.type or frame.verdict] += 1
        latest = max(latest, place)
    return late


TOLERANCE_S = 1.0
"""By how many seconds times may differ."""


def compare(a: Sequence[Telling], b: Sequence[Telling], *, tolerance_s: float = TOLERANCE_S) -> list[Difference]:
    """The differences, session by session, turn by turn. Of times, those that differ by more than `tolerance_s`."""
    return [one for _, found in by_session(a, b, tolerance_s=tolerance_s) for one in found]


def by_session(
    a: Sequence[Telling], b: Sequence[Telling], *, tolerance_s: float = TOLERANCE_S
) -> list[tuple[Pair, list[Difference]]]:
    """The same for each pair of sessions, with their places; None where one side has none."""
    ids = Ids()
    pairs = _sessions(a, b)
    for i, j in pairs:
        if i is not None and j is not None:
            _bind(ids, a[i].session_id, b[j].session_id)
    return [((i, j), _differences(a, b, (i, j), ids, tolerance_s)) for i, j in pairs]


def _differences(
    a: Sequence[Telling], b: Sequence[Telling], pair: Pair, ids: Ids, tolerance_s: float
) -> list[Difference]:
    i, j = pair
    one, other = None if i is None else a[i], None if j is None else b[j]
    if one is not None and other is not None:
        return _Sessions(Finding(one.session_id or other.session_id, ids), one, other, tolerance_s).compare()
    only = one or other
    assert only is not None
    path = f"sessions[{j if i is None else i}]"
    sides = (_summary(only), None) if one is not None else (None, _summary(only))
    return [Difference("content", only.session_id, path, *sides)]


def _bind(ids: Ids, a: str | None, b: str | None) -> None:
    if a is not None and b is not None:
        ids.bind(a, b)


def _sessions(a: Sequence[Telling], b: Sequence[Telling]) -> list[Pair]:
    """By what was asked first, then as they stand."""
    pairs = aligned(a, b, _asked_at_all, _asked_first)
    pairs = moved(pairs, lambda i: _asked_at_all(a[i]), lambda j: _asked_at_all(b[j]))
    left = [i for i, j in pairs if j is None], [j for i, j in pairs if i is None]
    rest = zip_longest(*left)
    return paired([pair for pair in pairs if None not in pair] + list(rest))


def _asked_at_all(one: Telling) -> str:
    return f"{one.is_child} " + "\0\0".join(_asked(turn) for turn in one.turns)


def _asked_first(one: Telling) -> str:
    return f"{one.is_child} " + (_asked(one.turns[0]) if one.turns else "")


def _asked(heard: HeardTurn) -> str:
    return "\0".join(Normal().said(asked.text) for asked in heard.turn.asked)


def _answered(heard: HeardTurn) -> str:
    tools = [(tool.name, Normal().written(tool.arguments)) for tool in heard.turn.tools]
    return f"{_asked(heard)}\0{Normal().said(heard.turn.text)}\0{tools}"


def turn_pairs(a: Telling, b: Telling) -> list[Pair]:
    """Which turn of one session is compared with which of the other, by their places, as a person reads them; None
    where one has none."""
    return _turns(a.turns, b.turns)[0]


def _turns(a: Sequence[HeardTurn], b: Sequence[HeardTurn]) -> tuple[list[Pair], list[Pair]]:
    """All pairs, and those of them that stand in another order."""
    pairs = aligned(a, b, _answered, _asked, lambda heard: heard.turn.text or "\0")
    together = moved(pairs, lambda i: _asked(a[i]), lambda j: _asked(b[j]))
    return _rest(together), list(set(together) - set(pairs))


def _summary(one: Telling) -> dict[str, Any]:
    """What is told of a session that only one side has."""
    asked = [asked.text for heard in one.turns for asked in heard.turn.asked]
    return {"session_id": one.session_id, "turns": len(one.turns), "asked": asked}


def _turn_summary(heard: HeardTurn) -> dict[str, Any]:
    turn = heard.turn
    return {
        "asked": [asked.text for asked in turn.asked], "text": turn.text, "tools": [tool.name for tool in turn.tools],
        "ended": turn.ended,
    }  # fmt: skip


class _Sessions:
    """One session and what it is on the other side."""

    def __init__(self, find: Finding, a: Telling, b: Telling, tolerance_s: float) -> None:
        self._find, self._a, self._b, self._tolerance_s = find, a, b, tolerance_s

    def compare(self) -> list[Difference]:
        self._outside()
        for i, j in self._turns():
            self._find.next_turn()
            if i is not None and j is not None:
                self._turn(i, self._a.turns[i], self._b.turns[j])
            elif i is not None:
                self._find.add("content", f"turns[{i}]", _turn_summary(self._a.turns[i]), None)
            elif j is not None:
                self._find.add("content", f"turns[{j}]", None, _turn_summary(self._b.turns[j]))
        self._find.next_turn()
        self._around()
        return self._find.found

    def _outside(self) -> None:
        Happening(self._find, "", self._a.outside, self._b.outside).tell()

    def _turns(self) -> list[Pair]:
        pairs, strays = _turns(self._a.turns, self._b.turns)
        for i, j in paired(strays):
            self._find.add("order", f"turns[{i}]", i, j)
        return paired(pairs)

    def _turn(self, number: int, a: HeardTurn, b: HeardTurn) -> None:
        path = f"turns[{number}]"
        happening = Happening(self._find, path, a.steps, b.steps)
        compare_story(self._find, path, a.turn, b.turn)
        happening.tell()
        if self._a.has_times and self._b.has_times:
            compare_timing(self._find, path, a.turn, b.turn, self._tolerance_s)

    def _around(self) -> None:
        """What is of the session, and of no turn."""
        for n, (one, other) in enumerate(zip_longest(self._a.endings, self._b.endings)):
            if one != other and self._a.knows_endings and self._b.knows_endings:
                self._find.add("content", f"endings[{n}]", one, other)
        for n, (heard, too) in enumerate(zip_longest(self._a.listened, self._b.listened)):
            self._counted(
                "content", f"streams[{n}].missed", heard.missed if heard else None, too.missed if too else None
            )
            self._counted("order", f"streams[{n}].late", heard.late if heard else None, too.late if too else None)
        refused = self._a.refusals, self._b.refusals
        for i, j in aligned(*refused, lambda refusal: repr((refusal[0], Normal().said(refusal[1]), refusal[2]))):
            if i is None or j is None:
                one, other = (
                    None if n is None else dict(zip(("what", "text", "why"), side[n], strict=True))
                    for n, side in zip((i, j), refused, strict=True)
                )
                self._find.add("content", f"refusals[{j if i is None else i}]", one, other)

    def _counted(self, kind: Kind, path: str, a: Counter[str] | None, b: Counter[str] | None) -> None:
        if (a or {}) != (b or {}):
            self._find.add(kind, path, dict(a or {}) or None, dict(b or {}) or None)


def _rest(pairs: list[Pair]) -> list[Pair]:
    """What is left between two turns that are known is paired as it stands."""
    made: list[Pair] = []
    waiting: tuple[list[int], list[int]] = ([], [])
    for i, j in [*pairs, (-1, -1)]:
        if i is not None and j is not None:
            made += list(zip_longest(*waiting))
            waiting = ([], [])
            made += [(i, j)] if i >= 0 else []
        else:
            waiting[0].extend([] if i is None else [i])
            waiting[1].extend([] if j is None else [j])
    return made
