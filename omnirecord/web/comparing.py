"""Two sessions of a cassette beside each other: the turns of both, and in what they differ, as `diff` finds it."""

from __future__ import annotations

import re
from typing import Any

from ..differing import Difference, compare, telling_of, turn_pairs
from ..differing.words import spans
from ..errors import UsageError
from ..gathering import gathered
from ..store import Store
from .naming import Key, key_of_exchange, read_key

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


def _telling(store: Store, key: Key) -> Any:
    for one in gathered(store, key.session_id):
        if key_of_exchange(one.exchanges[0]) == key:
            return telling_of(one.exchanges, one.frames(), one.acts, is_child=one.parent_id is not None)
    raise UsageError(f"the cassette holds no session {key}")
