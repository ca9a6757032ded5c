"""Two sessions of a cassette beside each other: the turns of both, and in what they differ, as `diff` finds it."""

from __future__ import annotations

from typing import Any

from ..differing import Difference, compare, telling_of
from ..differing.words import spans
from ..errors import UsageError
from ..gathering import gathered
from ..store import Store
from .naming import Key, key_of_exchange, read_key

Row = dict[str, Any]
TOLERANCE_S = 1.0


def comparison(store: Store, a: str, b: str) -> Row:
    """The differences of two sessions; each with its two texts as one, in `spans`, where it is one of texts. Raises
    `UsageError`."""
    found = compare([_telling(store, read_key(a))], [_telling(store, read_key(b))], tolerance_s=TOLERANCE_S)
    return {"a": a, "b": b, "tolerance_s": TOLERANCE_S, "found": [_row(one) for one in found]}


def _row(one: Difference) -> Row:
    both = isinstance(one.a, str) and isinstance(one.b, str)
    return {**one.row(), "spans": [list(span) for span in spans(one.a, one.b)] if both else None}


def _telling(store: Store, key: Key) -> Any:
    for one in gathered(store, key.session_id):
        if key_of_exchange(one.exchanges[0]) == key:
            return telling_of(one.exchanges, one.frames(), one.acts, is_child=one.parent_id is not None)
    raise UsageError(f"the cassette holds no session {key}")
