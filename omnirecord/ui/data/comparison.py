"""Two sessions of a cassette beside each other: the turns of both, and in what they differ, as `diff` finds it. Where
two cassettes were brought together, also which session of the one is which of the other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...analysis.diff import (
    Difference,
    Telling,
    by_session,
    compare,
    counts,
    telling_of,
    turn_pairs,
)
from ...analysis.diff.text import spans
from ...analysis.gather import Gathered, gathered
from ...cassette.sqlite import Store
from ...errors import UsageError
from .keys import Key, key_of_exchange, read_key

Row = dict[str, Any]
Places = dict[int, dict[int | None, int]]
TOLERANCE_S = 1.0


def comparison(store: Store, a: str, b: str) -> Row:
    """The differences of two sessions. `turns`: which turn stands beside which, by their places; `turn` of a difference
    is the place in that list, None where it is around the turns; `spans`: its two texts as one, where it is one of
    texts. Raises `UsageError`."""
    one, other = _telling(store, read_key(a)), _telling(store, read_key(b))
    pairs = turn_pairs(one, other)
    places = {side: {pair[side]: place for place, pair in enumerate(pairs)} for side in (0, 1)}
    found = compare([one], [other], tolerance_s=TOLERANCE_S)
    return {"a": a, "b": b, "tolerance_s": TOLERANCE_S, "turns": pairs, "found": [_row(one, places) for one in found]}


def _row(one: Difference, places: Places) -> Row:
    both = isinstance(one.a, str) and isinstance(one.b, str)
    said = [list(span) for span in spans(one.a, one.b)] if both else None
    return {**one.row(), "turn": _turn(one, places), "spans": said}


def _turn(one: Difference, places: Places) -> int | None:
    """A path counts in the first session, but for a turn that only the second one has."""
    found = re.match(r"turns\[(\d+)\](.*)", one.path, re.DOTALL)
    if found is None:
        return None
    return places[one.a is None and not found[2]][int(found[1])]


def pairs(store: Store, files: Mapping[int, str], a: str = "", b: str = "") -> list[Row]:
    """The sessions of two cassettes that were brought together, as `diff` pairs them, and how many differences each
    pair has. `files`: of which cassette a recording is; `a`, `b`: only this session of it. Raises `UsageError`."""
    names = list(dict.fromkeys(files.values()))
    if len(names) != 2:
        raise UsageError("there is one cassette: choose two of its sessions")
    sessions = list(gathered(store))
    sides = [[one for one in sessions if files[one.exchanges[0].recording] == name] for name in names]
    sides = [
        [one for one in side if key in ("", _key(one))] for side, key in zip(sides, (a, b), strict=True)
    ]  # fmt: skip
    found = by_session(*([_told(one) for one in side] for side in sides), tolerance_s=TOLERANCE_S)
    return [
        {"a": None if i is None else _key(sides[0][i]), "b": None if j is None else _key(sides[1][j]),
         "differences": len(differences), "counts": counts(differences)}
        for (i, j), differences in found
    ]  # fmt: skip


def _key(one: Gathered) -> str:
    return str(key_of_exchange(one.exchanges[0]))


def _told(one: Gathered) -> Telling:
    return telling_of(one.exchanges, one.frames(), one.acts, is_child=one.parent_id is not None)


def _telling(store: Store, key: Key) -> Telling:
    for one in gathered(store, key.session_id):
        if key_of_exchange(one.exchanges[0]) == key:
            return _told(one)
    raise UsageError(f"the cassette holds no session {key}")
