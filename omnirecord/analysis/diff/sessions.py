"""Two lists of sessions: which is which on the other side, and what differs in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from .align import Pair, aligned, moved
from .collect import Finding
from .events import Happening, paired
from .normalize import Ids, Normal
from .session import HeardTurn, Telling
from .turns import compare_story, compare_timing
from .values import Difference, Kind

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
